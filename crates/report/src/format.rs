//! Numbers as a reader wants to see them. The same number always gives the same text.

use serde::{Deserialize, Serialize};

/// How a number is printed. The payload is a count of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The shortest decimal that gives the same number back, its digits not grouped; for seeds and other names.
    #[default]
    Plain,
    /// Rounded to a whole number, digits in groups of three: `14 718 666`.
    Integer,
    /// This many decimals: `0.957`.
    Fixed(u8),
    /// A fraction as per cent with this many decimals: 0.957 is `95.7 %`.
    Percent(u8),
    /// This many significant digits: `0.00124`.
    Significant(u8),
    /// This many significant digits and an SI prefix: `305 M`.
    Si(u8),
    /// Seconds with this many significant digits and an SI prefix below one second: `83.0 µs`.
    Seconds(u8),
    /// Seconds as hours, minutes and seconds: `12 min 40 s`.
    Duration,
    /// A ratio with this many decimals: `32.1×`.
    Factor(u8),
}

/// Stands between groups of digits and before a unit: narrow and never a line's end.
const THIN_SPACE: char = '\u{202f}';

/// From here on grouped digits are no longer readable, and an `f64` is near the end of exact integers.
const LARGEST_POSITIONAL: f64 = 1e15;

const SI_PREFIXES: [&str; 10] = ["f", "p", "n", "µ", "m", "", "k", "M", "G", "T"];
const SI_UNITY: i32 = 5;

impl Format {
    /// Printed in place of a number that is missing or not finite.
    pub const MISSING: &str = "–";

    /// What a reader sees.
    pub fn text(self, number: f64) -> String {
        self.with_unit(number, "")
    }

    /// What a reader sees, the unit included; an SI prefix joins the unit: `14.7 MB`.
    pub fn with_unit(self, number: f64, unit: &str) -> String {
        if !number.is_finite() {
            return Self::MISSING.to_owned();
        }
        if number.abs() >= LARGEST_POSITIONAL {
            return join(scientific(number, 4), "", unit);
        }
        match self {
            Format::Plain => join(plain(number), "", unit),
            Format::Integer => join(fixed(number, 0), "", unit),
            Format::Fixed(digits) => join(fixed(number, digits.into()), "", unit),
            Format::Percent(digits) => join(fixed(number * 100.0, digits.into()), "%", unit),
            Format::Factor(digits) => join(format!("{}×", fixed(number, digits.into())), "", unit),
            Format::Significant(digits) => join(significant(number, digits), "", unit),
            Format::Si(digits) => {
                let (digits, prefix) = si(number, digits);
                join(digits, prefix, unit)
            }
            Format::Seconds(digits) if number.abs() >= 1.0 => join(significant(number, digits), "s", unit),
            Format::Seconds(digits) => {
                let (digits, prefix) = si(number, digits);
                join(digits, &format!("{prefix}s"), unit)
            }
            Format::Duration => join(duration(number), "", unit),
        }
    }
}

fn join(digits: String, suffix: &str, unit: &str) -> String {
    if suffix.is_empty() && unit.is_empty() { digits } else { format!("{digits}{THIN_SPACE}{suffix}{unit}") }
}

fn plain(number: f64) -> String {
    if number != 0.0 && number.abs() < 1e-5 {
        let text = format!("{number:e}");
        return text
            .split_once('e')
            .map_or(text.clone(), |(digits, exponent)| power_of_ten(digits, exponent));
    }
    number.to_string().replace('-', "−")
}

fn fixed(number: f64, decimals: usize) -> String {
    signed(number, &format!("{:.decimals$}", number.abs()))
}

/// Groups the digits of a magnitude and gives it the sign of `number`, unless it was rounded to zero.
fn signed(number: f64, magnitude: &str) -> String {
    let (whole, fraction) = magnitude.split_at(magnitude.find('.').unwrap_or(magnitude.len()));
    let mut text = String::new();
    if number < 0.0 && magnitude.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        text.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    text + fraction
}

/// A number rounded to significant digits: its mantissa's digits, its value and its decimal exponent.
struct Rounded {
    mantissa: f64,
    value: f64,
    exponent: i32,
    digits: i32,
}

impl Rounded {
    fn new(number: f64, digits: u8) -> Self {
        let digits = digits.max(1);
        let text = format!("{number:.*e}", usize::from(digits - 1));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        Self {
            mantissa: mantissa.parse().unwrap_or(number),
            value: text.parse().unwrap_or(number),
            exponent: exponent.parse().unwrap_or(0),
            digits: digits.into(),
        }
    }

    /// Decimals to print so that all significant digits show when the point moves `shift` places to the right.
    fn decimals(&self, shift: i32) -> usize {
        usize::try_from(self.digits - 1 - shift).unwrap_or(0)
    }
}

fn significant(number: f64, digits: u8) -> String {
    let rounded = Rounded::new(number, digits);
    if number == 0.0 {
        "0".to_owned()
    } else if rounded.exponent < -4 {
        scientific(number, digits)
    } else {
        fixed(rounded.value, rounded.decimals(rounded.exponent))
    }
}

fn scientific(number: f64, digits: u8) -> String {
    let rounded = Rounded::new(number, digits);
    power_of_ten(&fixed(rounded.mantissa, rounded.decimals(0)), &rounded.exponent.to_string())
}

fn power_of_ten(digits: &str, exponent: &str) -> String {
    let raised = exponent.chars().map(|digit| match digit {
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        '-' => '⁻',
        other => other,
    });
    format!("{}×10{}", digits.replace('-', "−"), raised.collect::<String>())
}

/// Digits and SI prefix; the prefix is chosen after rounding, so that 999.96 k becomes 1.00 M.
fn si(number: f64, digits: u8) -> (String, &'static str) {
    if number == 0.0 {
        return ("0".to_owned(), "");
    }
    let rounded = Rounded::new(number, digits);
    let power = rounded.exponent.div_euclid(3);
    let shift = rounded.exponent.rem_euclid(3);
    match usize::try_from(power + SI_UNITY).ok().and_then(|index| SI_PREFIXES.get(index)) {
        Some(prefix) => (fixed(rounded.mantissa * 10f64.powi(shift), rounded.decimals(shift)), prefix),
        None => (scientific(number, digits), ""),
    }
}

fn duration(seconds: f64) -> String {
    if seconds.abs() < 59.5 {
        return Format::Seconds(2).text(seconds);
    }
    let total = seconds.abs().round();
    let (hours, minutes) = ((total / 3600.0).floor(), (total % 3600.0 / 60.0).floor());
    let sign = if seconds < 0.0 { "−" } else { "" };
    if hours >= 1.0 {
        format!("{sign}{}{THIN_SPACE}h {minutes:02}{THIN_SPACE}min", fixed(hours, 0))
    } else {
        format!("{sign}{minutes}{THIN_SPACE}min {:02}{THIN_SPACE}s", total % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Format::{self, *};

    #[test]
    fn numbers_read_as_in_print() {
        let cases: &[(Format, f64, &str)] = &[
            (Plain, 0.1, "0.1"),
            (Plain, -1234.5, "−1234.5"),
            (Plain, 2.5e-7, "2.5×10⁻⁷"),
            (Integer, 14_718_666.0, "14 718 666"),
            (Integer, 4826.0, "4 826"),
            (Integer, 512.0, "512"),
            (Integer, -0.3, "0"),
            (Fixed(3), 0.9567, "0.957"),
            (Fixed(1), -0.04, "0.0"),
            (Percent(1), 0.957, "95.7 %"),
            (Percent(2), -0.0123, "−1.23 %"),
            (Significant(3), 0.0012399, "0.00124"),
            (Significant(3), 14_718_666.0, "14 700 000"),
            (Significant(3), 1.5e-9, "1.50×10⁻⁹"),
            (Significant(2), 0.0, "0"),
            (Si(3), 305_482_000.0, "305 M"),
            (Si(3), 999_960.0, "1.00 M"),
            (Si(2), 0.0, "0"),
            (Seconds(3), 83e-6, "83.0 µs"),
            (Seconds(3), 2.671e-3, "2.67 ms"),
            (Seconds(3), 12.34, "12.3 s"),
            (Seconds(2), 0.0, "0 s"),
            (Duration, 8.25, "8.2 s"),
            (Duration, 760.0, "12 min 40 s"),
            (Duration, 3900.0, "1 h 05 min"),
            (Factor(1), 32.14, "32.1×"),
            (Factor(0), 3050.2, "3 050×"),
            (Integer, 1e300, "1.000×10³⁰⁰"),
            (Percent(1), f64::NAN, "–"),
            (Si(3), f64::INFINITY, "–"),
        ];
        for (format, number, expected) in cases {
            let text = format.text(*number).replace('\u{202f}', " ");
            assert_eq!(text, *expected, "{number} as {format:?}");
        }
    }

    #[test]
    fn a_prefix_joins_its_unit() {
        assert_eq!(Si(3).with_unit(14_718_666.0, "B"), "14.7\u{202f}MB");
        assert_eq!(Si(3).with_unit(12.0, "B"), "12.0\u{202f}B");
        assert_eq!(Integer.with_unit(7.0, "images"), "7\u{202f}images");
    }

    proptest! {
        #[test]
        fn every_number_has_a_short_text(bits: u64, digits in 0u8..12) {
            let number = f64::from_bits(bits);
            for format in [Plain, Integer, Fixed(digits), Percent(digits), Significant(digits), Si(digits),
                           Seconds(digits), Duration, Factor(digits)] {
                let text = format.text(number);
                prop_assert!(!text.is_empty() && text.chars().count() < 48, "{}", text);
            }
        }
    }
}
