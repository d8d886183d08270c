//! The layout of an arena: where each buffer stands, so that buffers alive at the same time never overlap.
//!
//! Greedy by size, as in TFLite's planner (Pisarchyk & Lee, 2020): the largest buffer is placed first, each at the
//! lowest offset where it fits between those placed before that live at the same time.

/// When a buffer is in use, in steps, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Number of elements.
    pub len: usize,
    /// First step that uses the buffer.
    pub first: usize,
    /// Last step that uses it.
    pub last: usize,
}

/// Where the buffers stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Offset of each buffer in elements, in the order of the lifetimes.
    pub offsets: Vec<usize>,
    /// Elements of the whole arena.
    pub len: usize,
}

/// Lays out buffers, each at a multiple of `alignment` elements. `None` if the arena would exceed memory's
/// addresses.
pub fn layout(buffers: &[Lifetime], alignment: usize) -> Option<Layout> {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(buffers[index].len), index));
    let mut layout = Layout { offsets: vec![0; buffers.len()], len: 0 };
    // Placed buffers in the order of their offsets.
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    for index in order {
        let buffer = buffers[index];
        let mut offset = 0usize;
        for &other in &placed {
            let neighbour = buffers[other];
            if neighbour.last < buffer.first || buffer.last < neighbour.first {
                continue;
            }
            if offset.checked_add(buffer.len)? <= layout.offsets[other] {
                break;
            }
            let behind = (layout.offsets[other] + neighbour.len).checked_next_multiple_of(alignment)?;
            offset = offset.max(behind);
        }
        layout.offsets[index] = offset;
        layout.len = layout.len.max(offset.checked_add(buffer.len)?);
        let at = placed.partition_point(|&other| layout.offsets[other] <= offset);
        placed.insert(at, index);
    }
    Some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer(len: usize, first: usize, last: usize) -> Lifetime {
        Lifetime { len, first, last }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let chain = [buffer(64, 0, 1), buffer(128, 1, 2), buffer(64, 2, 3), buffer(16, 3, 4)];
        assert_eq!(layout(&chain, 16).map(|layout| layout.len), Some(192));
    }

    #[test]
    fn an_impossible_arena_is_refused() {
        assert_eq!(layout(&[buffer(usize::MAX, 0, 0), buffer(1, 0, 0)], 16), None);
    }

    proptest! {
        #[test]
        fn live_buffers_never_overlap(
            buffers in prop::collection::vec((0usize..100, 0usize..12, 0usize..6), 0..40),
            alignment in prop::sample::select(vec![1usize, 16, 64]),
        ) {
            let buffers: Vec<_> =
                buffers.into_iter().map(|(len, first, more)| buffer(len, first, first + more)).collect();
            let Layout { offsets, len } = layout(&buffers, alignment).expect("small");
            for (a, at) in buffers.iter().zip(&offsets) {
                prop_assert!(at % alignment == 0 && at + a.len <= len);
            }
            for (i, a) in buffers.iter().enumerate() {
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                    prop_assert!(!together || apart || a.len == 0 || b.len == 0);
                }
            }
        }
    }
}
