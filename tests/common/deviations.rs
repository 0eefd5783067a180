//! Gaps between the numbers of two engines, or of two ways of one, and those of them that are too wide.
//!
//! The gap of two matrices is the greatest difference of any of their numbers, as a share of the greatest number.

/// How wide a gap may be between numbers of 64 bits that were added up in another order, and how wide to those of 32 bits.
const WIDE: f64 = 1e-12;
const NARROW: f64 = 1e-5;

/// Where all numbers of a matrix are smaller than the first, they are small differences of numbers of ordinary size, such as
/// the gradients of a normalised column, and a gap is a share of the second instead: then a tolerance of 1e-5
/// means a few of the last of 24 bits.
const TINY: f64 = 1e-3;
const ORDINARY: f64 = 0.25;

/// Deviations that are too wide, and the widest of all.
#[derive(Default)]
pub struct Deviations {
    wrong: Vec<String>,
    widest: Vec<(&'static str, f64, String)>,
}

impl Deviations {
    /// Compares some numbers. `way` says how they were computed.
    pub fn compare(&mut self, way: &'static str, what: &str, ours: &[f64], exact: &[f64]) {
        assert_eq!(ours.len(), exact.len(), "{way}, {what}: how many numbers");
        let greatest = exact.iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
        let scale = if greatest < TINY { ORDINARY } else { greatest };
        // NaN is no gap at all, but infinitely wide.
        let difference = |(a, b): (&f64, &f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() };
        let gap = ours.iter().zip(exact).map(difference).fold(0.0, f64::max) / scale;
        let tolerance = if way.starts_with("scalar") { WIDE } else { NARROW };
        if gap >= tolerance {
            self.wrong.push(format!("{way}, {what}: a gap of {gap:.1e}"));
        }
        match self.widest.iter_mut().find(|widest| widest.0 == way) {
            Some(widest) if widest.1 >= gap => {}
            Some(widest) => *widest = (way, gap, what.to_owned()),
            None => self.widest.push((way, gap, what.to_owned())),
        }
    }

    pub fn finish(self) {
        for (way, gap, what) in &self.widest {
            println!("{way}: at most {gap:.1e}, {what}");
        }
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}
