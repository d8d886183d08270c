//! The index of the greatest value along an axis.

/// An axis that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgMax {
    /// Size of the axis; not 0.
    pub size: usize,
    /// Elements for each index of the axis.
    pub inner: usize,
}

impl ArgMax {
    /// The index of the first greatest value, as `index` makes it, for each place beside the axis.
    ///
    /// A later value must be greater than all before it, so that NaN counts only at index 0, as in TFLite.
    pub fn run<T: Copy + PartialOrd, I>(&self, x: &[T], y: &mut [I], index: impl Fn(usize) -> I) {
        for (x, y) in x.chunks_exact(self.size * self.inner).zip(y.chunks_exact_mut(self.inner)) {
            for (place, y) in y.iter_mut().enumerate() {
                let mut values = x[place..].iter().step_by(self.inner).enumerate();
                let first = values.next();
                let best = values.fold(first, |best, (at, value)| match best {
                    Some((_, greatest)) if value > greatest => Some((at, value)),
                    Some(_) | None => best,
                });
                *y = index(best.map_or(0, |(at, _)| at));
            }
        }
    }
}
