//! Numbers as a reader of the terminal likes them.

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A count with its digits in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with the unit that suits it.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value >= 1.0 => format!("{value:.2} s"),
        value if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
        value => format!("{:.1} µs", value * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_threes() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (14_718_666, "14,718,666")] {
            assert_eq!(grouped(count), expected);
        }
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        for (value, expected) in [(2.0, "2.00 s"), (0.0055, "5.50 ms"), (0.000_049_5, "49.5 µs")] {
            assert_eq!(seconds(value), expected);
        }
    }
}
