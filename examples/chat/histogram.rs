//! How the weights of each kind of matrix are distributed.

use support::svg::Svg;

/// How many bars there are: an odd number, so that one has zero in its middle.
const BARS: usize = 31;

/// Numbers of one kind, counted.
pub struct Histogram {
    /// The greatest distance from zero.
    pub most: f64,
    pub count: usize,
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// How many there are in each of equal parts of `-most..most`.
    bars: [u64; BARS],
}

impl Histogram {
    /// Counts numbers, which come in several rows of them. Those that are not finite count as zero.
    pub fn of(all: &[&[f32]]) -> Self {
        let numbers =
            || all.iter().copied().flatten().map(|&x| if x.is_finite() { f64::from(x) } else { 0.0 });
        let count = all.iter().map(|numbers| numbers.len()).sum::<usize>();
        let mean = numbers().sum::<f64>() / count.max(1) as f64;
        let variance = numbers().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count.max(1) as f64;
        let most = numbers().map(f64::abs).fold(0.0, f64::max);
        let mut bars = [0; BARS];
        for x in numbers() {
            let share = if most > 0.0 { (x / most + 1.0) / 2.0 } else { 0.5 };
            bars[((share * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        Histogram { most, count, mean, deviation: variance.sqrt(), bars }
    }

    /// The height of each bar, the highest being 1.
    fn heights(&self) -> impl Iterator<Item = f64> {
        let highest = self.bars.iter().copied().max().unwrap_or(0).max(1) as f64;
        self.bars.iter().map(move |&bar| bar as f64 / highest)
    }

    /// In a line: `▁▂▅█▅▂▁`. A bar that is not empty can be seen.
    pub fn line(&self) -> String {
        const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        self.heights().map(|height| BLOCKS[(height * 8.0).ceil() as usize]).collect()
    }
}

/// The histograms side by side, each with its name.
pub fn draw(title: &str, all: &[(String, Histogram)]) -> String {
    const COLUMNS: usize = 3;
    const SIZE: (f64, f64) = (228.0, 150.0);
    const BAR: f64 = 6.0;
    let rows = all.len().div_ceil(COLUMNS);
    let describe = |(name, histogram): &(String, Histogram)| {
        format!("{name}: within {:.3}, standard deviation {:.4}", histogram.most, histogram.deviation)
    };
    let description = all.iter().map(describe).collect::<Vec<_>>().join("; ");
    let mut svg = Svg::new(720.0, 44.0 + SIZE.1 * rows as f64, title, &format!("{description}."));
    svg.text((20.0, 26.0), "head", title);
    for (at, (name, histogram)) in all.iter().enumerate() {
        let (left, top) = (20.0 + SIZE.0 * (at % COLUMNS) as f64, 44.0 + SIZE.1 * (at / COLUMNS) as f64);
        svg.text((left, top + 14.0), "code", name);
        let floor = top + 114.0;
        for (bar, height) in histogram.heights().enumerate() {
            let height = 90.0 * height;
            svg.rect("c0", (left + BAR * bar as f64, floor - height), (BAR - 1.0, height), 0.0);
        }
        let right = left + BAR * BARS as f64;
        svg.line("grid", &[(left, floor + 1.0), (right, floor + 1.0)]);
        svg.text((left, floor + 16.0), "faint small", &format!("-{:.3}", histogram.most));
        svg.text((right, floor + 16.0), "faint small end", &format!("{:.3}", histogram.most));
        svg.text(
            ((left + right) / 2.0, floor + 16.0),
            "faint small middle",
            &format!("σ {:.4}", histogram.deviation),
        );
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_where_they_are() {
        let histogram = Histogram::of(&[&[-1.0, 0.0], &[0.0, 1.0, f32::NAN]]);
        assert_eq!((histogram.count, histogram.most, histogram.mean), (5, 1.0, 0.0));
        assert_eq!((histogram.bars[0], histogram.bars[BARS / 2], histogram.bars[BARS - 1]), (1, 3, 1));
        assert!((histogram.deviation - (2.0_f64 / 5.0).sqrt()).abs() < 1e-12);
        let line = histogram.line();
        assert_eq!(line.chars().filter(|c| *c != ' ').collect::<String>(), "▃█▃");
    }

    #[test]
    fn nothing_and_zeros_are_no_problem() {
        for numbers in [&[][..], &[0.0, 0.0]] {
            let histogram = Histogram::of(&[numbers]);
            assert_eq!(
                (histogram.most, histogram.deviation, histogram.line().chars().count()),
                (0.0, 0.0, BARS)
            );
        }
        assert!(draw("none", &[("gains".to_owned(), Histogram::of(&[]))]).contains("gains"));
    }
}
