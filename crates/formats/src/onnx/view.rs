//! How the axes that an ONNX model speaks of lie in the tensors of the graph.
//!
//! A graph's images are `[N,H,W,C]`, those of ONNX mostly `[N,C,H,W]`. A [`View`] tells for each axis of the ONNX value
//! which axes of the tensor it is made of, so that transpositions, flattening and added or dropped sizes of 1 only change
//! the view, and no node stands for them.

use taper_graph::{Dim, Shape};

/// For each axis of a value, the axes of the tensor that it is made of, outermost first.
///
/// Each axis of the tensor whose size is not 1 stands once; those of size 1 stand nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View(Vec<Vec<usize>>);

/// What a reshape leaves to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reshaped {
    /// The new view.
    pub(super) view: View,
    /// Dimensions that the tensor must first be given, if axes of it are cut.
    pub(super) cut: Option<Vec<Dim>>,
}

const ONE: Dim = Dim::Fixed(1);

/// Order of the axes of `[N,C,H,W]` in `[N,H,W,C]`.
pub(super) const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];

impl View {
    /// The view of a tensor of this shape whose axis `k` is the value's axis `order[k]`.
    pub(super) fn ordered(shape: &Shape, order: &[usize]) -> Self {
        let mut axes = vec![Vec::new(); order.len()];
        for (position, (&axis, &dim)) in order.iter().zip(shape.dims()).enumerate() {
            if dim != ONE {
                axes[axis].push(position);
            }
        }
        Self(axes)
    }

    /// The number of the value's axes.
    pub(super) fn rank(&self) -> usize {
        self.0.len()
    }

    /// The tensor's axes that the value's axis is made of.
    pub(super) fn axes(&self, axis: usize) -> &[usize] {
        &self.0[axis]
    }

    /// The size of the value's axis; `None` if the batch is a part of it, but not the whole.
    pub(super) fn dim(&self, shape: &Shape, axis: usize) -> Option<Dim> {
        match self.0[axis][..] {
            [] => Some(ONE),
            [only] => Some(shape.dims()[only]),
            ref several => several
                .iter()
                .try_fold(1usize, |product, &axis| match shape.dims()[axis] {
                    Dim::Fixed(size) => product.checked_mul(size),
                    Dim::Batch(_) => None,
                })
                .map(Dim::Fixed),
        }
    }

    /// The value's dimensions; `None` if the batch is mixed with others.
    pub(super) fn dims(&self, shape: &Shape) -> Option<Vec<Dim>> {
        (0..self.rank()).map(|axis| self.dim(shape, axis)).collect()
    }

    /// The view after a transposition: axis `k` is what was axis `axes[k]`.
    pub(super) fn transposed(&self, axes: &[usize]) -> Self {
        Self(axes.iter().map(|&axis| self.0[axis].clone()).collect())
    }

    /// The view whose last axis is made of other axes of another tensor.
    pub(super) fn with_last(&self, axes: Vec<usize>) -> Self {
        let kept = self.0.len().saturating_sub(1);
        Self(self.0[..kept].iter().cloned().chain(std::iter::once(axes)).collect())
    }

    /// The view of a tensor in which these axes of the value have become 1.
    pub(super) fn reduced(&self, axes: &[usize]) -> Self {
        let reduced = |(axis, of): (usize, &Vec<usize>)| match axes.contains(&axis) {
            true => Vec::new(),
            false => of.clone(),
        };
        Self(self.0.iter().enumerate().map(reduced).collect())
    }

    /// The view with axes of size 1 left out.
    pub(super) fn squeezed(&self, dropped: &[usize]) -> Self {
        let kept = (0..self.rank()).filter(|axis| !dropped.contains(axis));
        Self(kept.map(|axis| self.0[axis].clone()).collect())
    }

    /// The view with axes of size 1 at these positions of the outcome.
    pub(super) fn unsqueezed(&self, added: &[usize]) -> Self {
        let mut own = self.0.iter();
        let axes = (0..self.rank() + added.len()).map(|axis| match added.contains(&axis) {
            true => Vec::new(),
            false => own.next().cloned().unwrap_or_default(),
        });
        Self(axes.collect())
    }

    /// The view with other dimensions of the same elements in the same order; `None` if no such view exists: the batch
    /// would be cut, or an axis be made of parts of two.
    pub(super) fn reshaped(&self, shape: &Shape, target: &[Dim]) -> Option<Reshaped> {
        // Each axis of the tensor is cut into parts; the value's axes are made of those.
        let mut parts: Vec<Vec<Dim>> = vec![Vec::new(); shape.rank()];
        let mut axes: Vec<Vec<(usize, usize)>> = Vec::with_capacity(target.len());
        let mut old = self.0.iter().flatten().copied();
        let mut left: Option<(usize, usize)> = None;
        for &dim in target {
            let mut made_of = Vec::new();
            let mut wanted = match dim {
                Dim::Fixed(size) => size,
                Dim::Batch(_) => {
                    let axis = old.next().filter(|&axis| left.is_none() && shape.dims()[axis] == dim)?;
                    parts[axis].push(dim);
                    axes.push(vec![(axis, 0)]);
                    continue;
                }
            };
            while wanted != 1 {
                let (axis, size) = match left.take() {
                    Some(rest) => rest,
                    None => {
                        let axis = old.next()?;
                        match shape.dims()[axis] {
                            Dim::Fixed(size) => (axis, size),
                            Dim::Batch(_) => return None,
                        }
                    }
                };
                let taken = if size != 0 && wanted.is_multiple_of(size) {
                    size
                } else if wanted != 0 && size.is_multiple_of(wanted) {
                    wanted
                } else {
                    return None;
                };
                made_of.push((axis, parts[axis].len()));
                parts[axis].push(Dim::Fixed(taken));
                wanted /= taken;
                left = (size != taken).then(|| (axis, size / taken));
            }
            axes.push(made_of);
        }
        if left.is_some() || old.next().is_some() {
            return None;
        }
        if parts.iter().all(|parts| parts.len() <= 1) {
            let axes = axes.into_iter().map(|axes| axes.into_iter().map(|(axis, _)| axis).collect());
            return Some(Reshaped { view: Self(axes.collect()), cut: None });
        }
        // Axes of size 1 have no parts but keep their place.
        for (parts, &dim) in parts.iter_mut().zip(shape.dims()) {
            if parts.is_empty() {
                parts.push(dim);
            }
        }
        let start = |axis: usize| parts[..axis].iter().map(Vec::len).sum::<usize>();
        let axes =
            axes.iter().map(|axes| axes.iter().map(|&(axis, part)| start(axis) + part).collect()).collect();
        Some(Reshaped { view: Self(axes), cut: Some(parts.concat()) })
    }

    /// Whether axis `k` of the tensor is the value's axis `order[k]`, for all of them.
    pub(super) fn is_ordered(&self, shape: &Shape, order: &[usize]) -> bool {
        shape.rank() == order.len() && *self == Self::ordered(shape, order)
    }

    /// Whether the tensor's elements, read row-major, are those of the value with its axes in this order.
    pub(super) fn is_row_major(&self, order: &[usize]) -> bool {
        order.iter().flat_map(|&axis| &self.0[axis]).is_sorted()
    }

    /// The order in which the tensor has the value's axes as they are, if there is one. Axes of size 1 leave a choice, in
    /// which that of images in the graph comes first.
    pub(super) fn order(&self, shape: &Shape) -> Option<Vec<usize>> {
        if shape.rank() != self.rank() {
            return None;
        }
        let plain: Vec<usize> = (0..self.rank()).collect();
        if self.rank() == 4 && self.is_ordered(shape, &CHANNELS_LAST) {
            return Some(CHANNELS_LAST.to_vec());
        }
        if self.is_ordered(shape, &plain) {
            return Some(plain);
        }
        let mut free = plain.iter().copied().filter(|&axis| self.0[axis].is_empty());
        let holder = |position| (0..self.rank()).find(|&axis| self.0[axis] == [position]);
        let order: Vec<usize> = (0..shape.rank())
            .map(|position| if shape.dims()[position] == ONE { free.next() } else { holder(position) })
            .collect::<Option<_>>()?;
        self.is_ordered(shape, &order).then_some(order)
    }

    /// An order of the value's axes in which the tensor's elements, read row-major, are the value's. That of images in the
    /// graph comes first, the model's own second.
    pub(super) fn row_major_order(&self) -> Option<Vec<usize>> {
        let plain: Vec<usize> = (0..self.rank()).collect();
        let mut sorted = plain.clone();
        sorted.sort_by_key(|&axis| self.0[axis].first());
        let images = (self.rank() == 4).then(|| CHANNELS_LAST.to_vec());
        images.into_iter().chain([plain, sorted]).find(|order| self.is_row_major(order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (Shape, View) {
        let shape = Shape::batched(&[4, 6, 8]);
        let view = View::ordered(&shape, &CHANNELS_LAST);
        (shape, view)
    }

    fn fixed(size: usize) -> Dim {
        Dim::Fixed(size)
    }

    #[test]
    fn an_image_speaks_its_channels_first() {
        let (shape, view) = image();
        assert_eq!(view.dims(&shape), Some(vec![Dim::BATCH, fixed(8), fixed(4), fixed(6)]));
        assert_eq!(view.order(&shape), Some(CHANNELS_LAST.to_vec()));
        assert!(view.transposed(&CHANNELS_LAST) == View::ordered(&shape, &[0, 1, 2, 3]));
    }

    #[test]
    fn flattening_keeps_the_order_of_the_axes() {
        let (shape, view) = image();
        let flat = view.reshaped(&shape, &[Dim::BATCH, fixed(192)]).expect("fits");
        assert_eq!(flat.cut, None);
        assert_eq!(flat.view.axes(1), [3, 1, 2]);
        assert!(!flat.view.is_row_major(&[0, 1]));
        let back = flat.view.reshaped(&shape, &[Dim::BATCH, fixed(8), fixed(4), fixed(6)]).expect("fits");
        assert_eq!(back, Reshaped { view, cut: None });
    }

    #[test]
    fn cut_axes_are_cut_in_place() {
        let (shape, view) = image();
        let target = [Dim::BATCH, fixed(2), fixed(4), fixed(4), fixed(6)];
        let Reshaped { view, cut } = view.reshaped(&shape, &target).expect("fits");
        let cut = Shape::new(cut.expect("the channels are cut"));
        assert_eq!(cut, Shape::batched(&[4, 6, 2, 4]));
        assert_eq!(view.dims(&cut), Some(target.to_vec()));
    }

    #[test]
    fn added_axes_of_1_have_no_order_until_the_tensor_has_them() {
        let shape = Shape::batched(&[4, 6]);
        let view = View::ordered(&shape, &[0, 1, 2]).unsqueezed(&[1]);
        assert_eq!(view.order(&shape), None);
        assert_eq!(view.row_major_order(), Some(CHANNELS_LAST.to_vec()));
    }

    #[test]
    fn what_mixes_axes_or_cuts_the_batch_has_no_view() {
        let (shape, view) = image();
        for target in [
            vec![fixed(192)],
            vec![Dim::BATCH, fixed(3), fixed(64)],
            vec![Dim::BATCH, fixed(96)],
            vec![Dim::BATCH, fixed(192), fixed(2)],
            vec![Dim::BATCH, fixed(0)],
            vec![fixed(192), Dim::BATCH],
        ] {
            assert_eq!(view.reshaped(&shape, &target), None, "{target:?}");
        }
    }
}
