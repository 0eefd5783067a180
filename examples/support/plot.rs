//! Curves as SVG.

use std::borrow::Cow;
use std::ops::Range;

use crate::svg::{COLORS, Point, Svg};

const SIZE: Point = (720.0, 420.0);
const AREA: Area = Area { left: 52.0, top: 40.0, right: 700.0, bottom: 370.0 };

/// Where in a picture a chart is: the part between its axes.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// A curve over steps, or over whatever the chart says.
pub struct Curve {
    /// What it is called. A curve without a name is drawn pale, in the color of the one after it.
    pub name: Cow<'static, str>,
    /// Steps and values.
    pub points: Vec<Point>,
}

/// A value that is known beforehand, to compare the curves with: a horizontal line.
#[derive(Clone, Debug)]
pub struct Level {
    /// What it is called, at the right end of the line.
    pub name: String,
    /// Where the line is.
    pub value: f64,
}

/// Curves in one picture.
pub struct Chart<'a> {
    /// What the picture shows.
    pub title: &'a str,
    /// What is counted from left to right.
    pub x: &'a str,
    /// What is measured from bottom to top.
    pub y: &'a str,
    pub curves: &'a [Curve],
    pub levels: &'a [Level],
}

impl Chart<'_> {
    /// The picture as SVG. Points that are not finite are left out.
    pub fn draw(&self) -> String {
        let right = if self.levels.is_empty() { AREA.right } else { SIZE.0 - 168.0 };
        let mut svg = Svg::new(SIZE.0, SIZE.1, self.title, &self.description());
        let area = Area { right, ..AREA };
        let named = self.draw_into(&mut svg, area);
        let mut legend = right;
        for (color, name) in named.iter().rev() {
            svg.text((legend, 20.0), &format!("t{color} end"), name);
            legend -= 7.4 * name.chars().count() as f64;
            svg.line(&format!("line c{color}"), &[(legend - 24.0, 16.0), (legend - 6.0, 16.0)]);
            legend -= 44.0;
        }
        svg.finish()
    }

    /// Draws axes, curves and levels into a part of a picture. Answers the names of the curves with their colors.
    pub fn draw_into(&self, svg: &mut Svg, area: Area) -> Vec<(usize, &str)> {
        let Area { left, top, right, bottom } = area;
        let points = || self.curves.iter().flat_map(|curve| finite(&curve.points));
        let levels = self.levels.iter().map(|level| level.value);
        let (x, y) =
            (0.0..range(points().map(|p| p.0), 1.0).end, range(points().map(|p| p.1).chain(levels), 0.1));
        let to_pixels = |(a, b): Point| {
            let (across, up) = ((a - x.start) / (x.end - x.start), (b - y.start) / (y.end - y.start));
            (left + across * (right - left), bottom - up * (bottom - top))
        };
        svg.text((left, top - 20.0), "faint small", self.y);
        svg.text((right, bottom + 38.0), "faint small end", self.x);
        for (value, label) in ticks(&y) {
            let at = to_pixels((x.start, value));
            svg.line("grid", &[at, (right, at.1)]);
            svg.text((left - 8.0, at.1 + 4.0), "faint small end", &label);
        }
        for (value, label) in ticks(&x) {
            let at = to_pixels((value, y.start)).0;
            svg.line("grid", &[(at, bottom), (at, bottom + 4.0)]);
            svg.text((at, bottom + 19.0), "faint small middle", &label);
        }
        let line = |points: &[Point]| finite(points).map(to_pixels).collect::<Vec<_>>();
        let (mut count, mut named) = (0, Vec::new());
        for Curve { name, points } in self.curves {
            // A second round of the colors is dashed.
            let (color, dash) = (count % COLORS, if count < COLORS { "" } else { " dash" });
            if name.is_empty() {
                svg.line(&format!("line c{color} pale"), &line(points));
            } else {
                svg.line(&format!("line c{color}{dash}"), &line(points));
                named.push((color, &**name));
                count += 1;
            }
        }
        let mut above = f64::NEG_INFINITY; // a label that would touch the one above it moves down
        let mut levels: Vec<_> = self.levels.iter().collect();
        levels.sort_by(|a, b| b.value.total_cmp(&a.value));
        for level in levels {
            let at = to_pixels((x.start, level.value));
            svg.line("flow dash", &[at, (right, at.1)]);
            above = at.1.max(above + 16.0);
            svg.text((right + 8.0, above + 4.0), "head", &format!("{:.2}", level.value));
            svg.text((right + 46.0, above + 4.0), "small", &level.name);
        }
        named
    }

    /// In words: where every curve begins and ends, and the levels.
    pub fn description(&self) -> String {
        let mut parts = Vec::new();
        for Curve { name, points } in self.curves.iter().filter(|curve| !curve.name.is_empty()) {
            let ends = finite(points).next().zip(finite(points).last());
            parts.extend(ends.map(|(first, last)| {
                format!("{name}: from {:.2} at {} to {:.2} at {}", first.1, first.0, last.1, last.0)
            }));
        }
        parts.extend(self.levels.iter().map(|level| format!("{}: {:.2}", level.name, level.value)));
        format!("{} over {}. {}.", self.y, self.x, parts.join("; "))
    }
}

fn finite(points: &[Point]) -> impl Iterator<Item = Point> + Clone {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

/// From the least of some values to the greatest, and at least so far.
pub fn range(values: impl Iterator<Item = f64> + Clone, least: f64) -> Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if low <= high { low..high.max(low + least) } else { 0.0..least }
}

/// Round values within a range, four to nine of them, and what to write beside them.
pub fn ticks(range: &Range<f64>) -> impl Iterator<Item = (f64, String)> {
    let rough = (range.end - range.start) / 8.0;
    let power = rough.log10().floor();
    let step = [1.0, 2.0, 5.0, 10.0].map(|x| x * 10_f64.powf(power)).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let (first, last) = ((range.start / step).ceil() as i64, (range.end / step + 1e-9).floor() as i64);
    (first..=last).map(move |at| (at as f64 * step, format!("{:.digits$}", at as f64 * step)))
}
