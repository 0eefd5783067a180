//! How long conversations are, as bars of text.

use support::units::grouped;

/// How many bars there are at most.
const BARS: usize = 8;

/// The length of the longest bar, in characters.
const WIDTH: usize = 40;

/// Counts lengths in equal parts of all up to the longest, and draws a bar for each.
pub fn bars(lengths: &[usize]) -> String {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let part = longest.div_ceil(BARS).max(1);
    let mut counts = vec![0_usize; longest.div_ceil(part).max(1)];
    for length in lengths {
        counts[length.saturating_sub(1) / part] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let digits = longest.to_string().len();
    let line = |(at, count): (usize, &usize)| {
        let (from, to) = (at * part + 1, ((at + 1) * part).min(longest));
        let bar = "█".repeat((count * WIDTH).div_ceil(most));
        format!("  {from:>digits$} to {to:>digits$} │{bar} {}\n", grouped(*count as u64))
    };
    counts.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_one_bar() {
        let drawn = bars(&[1, 2, 2, 16, 15, 16, 16]);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 8);
        assert!(lines[0].starts_with("   1 to  2 │") && lines[0].ends_with(" 3"), "{drawn}");
        assert!(lines[7].ends_with(&format!("│{} 4", "█".repeat(WIDTH))), "{drawn}");
        assert!(lines[3].ends_with("│ 0"), "{drawn}");
    }

    #[test]
    fn few_and_short_ones_have_bars_too() {
        assert_eq!(bars(&[3]).lines().count(), 3);
        assert_eq!(bars(&[]).lines().count(), 1);
    }
}
