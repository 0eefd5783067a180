//! Numbers as people read them.

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;

/// A whole number with a comma after every three digits: `124,439,808`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let comma = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits
        .chars()
        .enumerate()
        .flat_map(|(at, digit)| comma(at).then_some(',').into_iter().chain([digit]))
        .collect()
}

/// How many, in four digits or fewer: `124.4 million`. From a thousand trillion on as a power of ten: `1.99e18`.
pub fn count(x: f64) -> String {
    if x >= 999.95e12 {
        return format!("{x:.2e}");
    }
    scaled(x, &["", " thousand", " million", " billion", " trillion"])
}

/// Bytes: `497.8 MB`, where a megabyte is a million of them.
pub fn bytes(x: f64) -> String {
    scaled(x, &[" B", " kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A time, given in seconds: `3.2 days`.
pub fn duration(seconds: f64) -> String {
    let (unit, name) = match seconds {
        x if x < 2.0 * MINUTE => (1.0, "seconds"),
        x if x < 2.0 * HOUR => (MINUTE, "minutes"),
        x if x < 2.0 * DAY => (HOUR, "hours"),
        x if x < 2.0 * YEAR => (DAY, "days"),
        _ => (YEAR, "years"),
    };
    format!("{} {name}", count(seconds / unit))
}

/// A number of at most four digits and the unit that makes it so, each a thousand of the one before.
fn scaled(x: f64, units: &[&str]) -> String {
    let mut x = x;
    let mut at = 0;
    // What would be rounded to 1000 is 1 of the next.
    while x >= 999.95 && at + 1 < units.len() {
        (x, at) = (x / 1000.0, at + 1);
    }
    let whole = x >= 999.95 || at == 0 && x == x.round();
    let digits = if whole {
        0
    } else if x < 9.995 {
        2
    } else {
        1
    };
    format!("{x:.digits$}{}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas() {
        let all = [0, 7, 999, 1000, 25_600, 124_439_808, u64::MAX].map(grouped);
        assert_eq!(all, ["0", "7", "999", "1,000", "25,600", "124,439,808", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn counts() {
        let all = [0.0, 12.0, 4192.0, 999_949.0, 999_960.0, 124_439_808.0, 2.5e9, 6e12, 1.3e16].map(count);
        let expected = [
            "0",
            "12",
            "4.19 thousand",
            "999.9 thousand",
            "1.00 million",
            "124.4 million",
            "2.50 billion",
            "6.00 trillion",
            "1.30e16",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn memory() {
        assert_eq!(
            [16.0, 2048.0, 497_759_232.0, 2.5e9].map(bytes),
            ["16 B", "2.05 kB", "497.8 MB", "2.50 GB"]
        );
    }

    #[test]
    fn times() {
        let all = [0.5, 45.0, 600.0, 3.0 * HOUR, 2.0 * DAY, 400.0 * DAY, 2e4 * YEAR].map(duration);
        let expected = [
            "0.50 seconds",
            "45 seconds",
            "10 minutes",
            "3 hours",
            "2 days",
            "400 days",
            "20.0 thousand years",
        ];
        assert_eq!(all, expected);
    }
}
