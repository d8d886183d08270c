//! How values become positions: the range of an axis, its ticks and their labels.

use crate::{Axis, Format, Scale};

/// An axis whose range is known.
pub(crate) struct PlacedAxis {
    scale: Scale,
    low: f64,
    high: f64,
    /// The ticks, in increasing order.
    pub(crate) ticks: Vec<Tick>,
}

/// A tick and its label.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// How the range follows from the values.
#[derive(Clone, Copy)]
pub(crate) enum Fit {
    /// From the least to the greatest value.
    Tight,
    /// Widened to the next round values.
    Round,
}

impl PlacedAxis {
    /// Finds range and about `count` ticks (at most two more) for the values; those that the axis cannot show are
    /// ignored. `None` if none is left.
    pub(crate) fn new(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        fit: Fit,
        count: usize,
    ) -> Option<Self> {
        let shown = values.filter(|value| is_shown(axis.scale, *value));
        let (low, high) = shown.fold(None, |range: Option<(f64, f64)>, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })?;
        let (mut low, mut high) = if low < high { (low, high) } else { around(axis, low) };
        // On a short logarithmic axis powers of ten are too far apart to read values from.
        let logarithmic = axis.scale == Scale::Log && high / low >= 8.0;
        let steps = if logarithmic { log_steps(low, high, count) } else { linear(axis, low, high, count) };
        if let Fit::Round = fit {
            (low, high) = steps.round_outward(low, high);
        }
        let ticks = steps.ticks(low, high, axis.format);
        Some(Self { scale: axis.scale, low, high, ticks })
    }

    /// Where the value stands, 0 at the axis' low end and 1 at its high end; `None` if it cannot be shown.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        if !is_shown(self.scale, value) {
            return None;
        }
        // Halves, for the difference of two numbers may overflow.
        let along = |value: f64| match self.scale {
            Scale::Linear => value / 2.0,
            Scale::Log => value.log10(),
        };
        let (low, high) = (along(self.low), along(self.high));
        Some(((along(value) - low) / (high - low)).clamp(0.0, 1.0)).filter(|position| position.is_finite())
    }
}

fn is_shown(scale: Scale, value: f64) -> bool {
    match scale {
        Scale::Linear => value.is_finite(),
        Scale::Log => value.is_finite() && value > 0.0,
    }
}

/// A range around the only value there is.
fn around(axis: &Axis, value: f64) -> (f64, f64) {
    let (low, high) = match axis.scale {
        Scale::Linear if axis.format == Format::Integer && value.abs() < 1e9 => (value - 1.0, value + 1.0),
        Scale::Linear if value == 0.0 => (-1.0, 1.0),
        Scale::Linear => (value - value.abs() / 10.0, value + value.abs() / 10.0),
        Scale::Log => (value / 2.0, value * 2.0),
    };
    // At the ends of what a number can hold, one side has no room.
    let low = if low == value || !is_shown(axis.scale, low) { value } else { low };
    (low, if high.is_finite() { high } else { value })
}

/// Where ticks may stand.
enum Steps {
    /// Whole multiples of `mantissa × 10^exponent`.
    Linear { mantissa: i64, exponent: i32 },
    /// These mantissas in every `stride`-th power of ten.
    Log { mantissas: &'static [i64], stride: usize },
}

/// `digits × 10^exponent`, correctly rounded, which a product of two numbers is not.
fn decimal(digits: i64, exponent: i32) -> f64 {
    format!("{digits}e{exponent}").parse().unwrap_or(f64::NAN)
}

/// The decimal exponent of a positive number.
fn exponent_of(number: f64) -> i32 {
    let text = format!("{number:e}");
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0)
}

/// The least step of 1, 2 or 5 times a power of ten that gives at most `count` ticks.
fn linear(axis: &Axis, low: f64, high: f64, count: usize) -> Steps {
    let rough = (high / 2.0 - low / 2.0) / count.max(1) as f64;
    let least = if axis.format == Format::Integer { 0 } else { i32::MIN };
    let mut exponent = exponent_of(rough).max(least);
    loop {
        for mantissa in [1, 2, 5] {
            let step = decimal(mantissa, exponent);
            if (high / step).floor() - (low / step).ceil() < count.max(1) as f64 {
                return Steps::Linear { mantissa, exponent };
            }
        }
        exponent += 1;
    }
}

/// Three ticks in every power of ten if at most `count` fall into the range, or else one in every `stride`-th.
fn log_steps(low: f64, high: f64, count: usize) -> Steps {
    let decades = usize::try_from(exponent_of(high) - exponent_of(low) + 1).unwrap_or(1);
    let three = Steps::Log { mantissas: &[1, 2, 5], stride: 1 };
    if decades <= count && three.ticks(low, high, Format::Plain).len() <= count {
        three
    } else {
        Steps::Log { mantissas: &[1], stride: decades.div_ceil(count.max(1)) }
    }
}

impl Steps {
    fn round_outward(&self, low: f64, high: f64) -> (f64, f64) {
        let (rounded_low, rounded_high) = match self {
            Steps::Linear { mantissa, exponent } => {
                let step = decimal(*mantissa, *exponent);
                let multiple = |count: f64| decimal((count as i64).saturating_mul(*mantissa), *exponent);
                (multiple((low / step).floor()), multiple((high / step).ceil()))
            }
            Steps::Log { .. } => {
                let (below, above) = (exponent_of(low), exponent_of(high));
                let candidates = |exponent| [1, 2, 5, 10].map(|mantissa| decimal(mantissa, exponent));
                let floor = candidates(below).into_iter().rfind(|candidate| *candidate <= low);
                let ceiling = candidates(above).into_iter().find(|candidate| *candidate >= high);
                (floor.unwrap_or(low), ceiling.unwrap_or(high))
            }
        };
        // Rounding may leave what a number can hold, and where steps are finer than numbers it may miss the range.
        let or_own = |rounded: f64, own: f64| if rounded.is_finite() { rounded } else { own };
        (or_own(rounded_low, low).min(low), or_own(rounded_high, high).max(high))
    }

    /// The ticks inside the range, in increasing order.
    fn ticks(&self, low: f64, high: f64, format: Format) -> Vec<Tick> {
        let mut ticks: Vec<Tick> = Vec::new();
        let mut push = |value: f64, exponent: i32| {
            let increases = ticks.last().is_none_or(|last| last.value < value);
            if low <= value && value <= high && increases {
                ticks.push(Tick { value, label: label(format, value, exponent) });
            }
        };
        match self {
            Steps::Linear { mantissa, exponent } => {
                let step = decimal(*mantissa, *exponent);
                let (first, last) = ((low / step).ceil(), (high / step).floor());
                // Beyond 2^53 neighbouring multiples are the same number.
                if first.abs().max(last.abs()) < 9e15 {
                    for count in first as i64..=last as i64 {
                        push(decimal(count * mantissa, *exponent), *exponent);
                    }
                }
            }
            Steps::Log { mantissas, stride } => {
                for exponent in (exponent_of(low)..=exponent_of(high)).step_by(*stride) {
                    for mantissa in *mantissas {
                        push(decimal(*mantissa, exponent), exponent);
                    }
                }
            }
        }
        ticks
    }
}

/// A tick's label with as many digits as its last one, at the power of ten `exponent`, needs.
fn label(format: Format, value: f64, exponent: i32) -> String {
    let decimals = |exponent: i32| u8::try_from(-exponent).unwrap_or(0);
    let significant =
        if value == 0.0 { 1 } else { u8::try_from(exponent_of(value.abs()) - exponent + 1).unwrap_or(1) };
    let format = match format {
        Format::Fixed(_) => Format::Fixed(decimals(exponent)),
        Format::Percent(_) => Format::Percent(decimals(exponent.saturating_add(2))),
        Format::Factor(_) => Format::Factor(decimals(exponent)),
        Format::Significant(_) => Format::Significant(significant),
        Format::Si(_) => Format::Si(significant),
        Format::Seconds(_) => Format::Seconds(significant),
        Format::Plain | Format::Integer | Format::Duration => format,
    };
    format.text(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(axis: &Axis, values: &[f64], fit: Fit, count: usize) -> Vec<String> {
        let placed = PlacedAxis::new(axis, values.iter().copied(), fit, count).expect("values to show");
        placed.ticks.iter().map(|tick| tick.label.replace('\u{202f}', " ")).collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = |format| Axis::linear("", format);
        let log = |format| Axis::log("", format);
        let cases: &[(Axis, &[f64], Fit, &[&str])] = &[
            (linear(Format::Integer), &[0.0, 10.0], Fit::Tight, &["0", "2", "4", "6", "8", "10"]),
            (linear(Format::Integer), &[0.0, 2.0], Fit::Tight, &["0", "1", "2"]),
            (linear(Format::Integer), &[3.0], Fit::Tight, &["2", "3", "4"]),
            (
                linear(Format::Percent(1)),
                &[0.957, 0.992],
                Fit::Round,
                &["95 %", "96 %", "97 %", "98 %", "99 %", "100 %"],
            ),
            (linear(Format::Fixed(0)), &[0.31, 0.52], Fit::Tight, &["0.35", "0.40", "0.45", "0.50"]),
            (
                linear(Format::Seconds(3)),
                &[0.0, 0.002],
                Fit::Tight,
                &["0 s", "500 µs", "1.0 ms", "1.5 ms", "2.0 ms"],
            ),
            (log(Format::Si(3)), &[4826.0, 14_718_666.0], Fit::Round, &["10 k", "100 k", "1 M", "10 M"]),
            (log(Format::Significant(1)), &[0.03, 2.0], Fit::Tight, &["0.05", "0.1", "0.2", "0.5", "1", "2"]),
            (
                log(Format::Factor(1)),
                &[1.0, 2.0],
                Fit::Tight,
                &["1.0×", "1.2×", "1.4×", "1.6×", "1.8×", "2.0×"],
            ),
        ];
        for (axis, values, fit, expected) in cases {
            assert_eq!(labels(axis, values, *fit, 6), *expected, "{axis:?} over {values:?}");
        }
    }

    #[test]
    fn values_that_cannot_be_shown_are_ignored() {
        let log = Axis::log("", Format::Plain);
        assert!(PlacedAxis::new(&log, [0.0, -1.0, f64::NAN].into_iter(), Fit::Round, 5).is_none());
        let linear = Axis::linear("", Format::Plain);
        let placed = PlacedAxis::new(&linear, [f64::NAN, 1.0, f64::INFINITY, 2.0].into_iter(), Fit::Tight, 5);
        assert_eq!(placed.and_then(|axis| axis.position(1.5)), Some(0.5));
    }

    fn any_axis() -> impl Strategy<Value = Axis> {
        let formats = [Format::Plain, Format::Integer, Format::Percent(1), Format::Si(3), Format::Seconds(2)];
        (proptest::bool::ANY, proptest::sample::select(formats.to_vec()))
            .prop_map(|(log, format)| if log { Axis::log("x", format) } else { Axis::linear("x", format) })
    }

    proptest! {
        #[test]
        fn ticks_are_few_increasing_and_inside(axis in any_axis(), bits: [u64; 3], near: bool, round: bool, count in 2usize..9) {
            let mut values = bits.map(f64::from_bits);
            if near {
                values[1] = values[0] * (1.0 + 1e-9);
            }
            let fit = if round { Fit::Round } else { Fit::Tight };
            if let Some(placed) = PlacedAxis::new(&axis, values.into_iter(), fit, count) {
                let ticks = &placed.ticks;
                prop_assert!(ticks.len() <= count + 2, "{:?}", ticks);
                prop_assert!(ticks.windows(2).all(|pair| pair[0].value < pair[1].value), "{:?}", ticks);
                prop_assert!(ticks.iter().all(|tick| placed.low <= tick.value && tick.value <= placed.high));
                for value in values.into_iter().filter(|value| is_shown(axis.scale, *value)) {
                    prop_assert!(placed.low <= value && value <= placed.high);
                    if let Some(position) = placed.position(value) {
                        prop_assert!((0.0..=1.0).contains(&position));
                    }
                }
            }
        }

        #[test]
        fn ordinary_ranges_have_ticks(axis in any_axis(), exponent in -300i32..299, from in 1.0f64..9.0, ratio in 1.01f64..1e4) {
            let low = from * 10f64.powi(exponent);
            let whole = axis.format == Format::Integer;
            if let Some(placed) = PlacedAxis::new(&axis, [low, low * ratio].into_iter(), Fit::Tight, 6) {
                prop_assert!(whole || placed.ticks.len() >= 2, "{:?}", placed.ticks);
            }
        }
    }
}
