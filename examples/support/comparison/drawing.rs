//! The plot of a comparison: curves over tokens, curves over seconds, and where every arm ended.

use std::ops::Range;

use super::table::{arms, mean, median, with_deviation};
use super::{Comparison, Outcome};
use crate::history::Report;
use crate::plot::{Area, Chart, Curve, range, ticks};
use crate::svg::{COLORS, Svg};

const WIDTH: f64 = 960.0;
const CURVES: f64 = 330.0;
const ROW: f64 = 20.0;

/// The picture as SVG.
pub fn draw(comparison: &Comparison<'_>, outcomes: &[Outcome]) -> String {
    let arms = arms(outcomes);
    let curves = |x: fn(&Outcome, &Report) -> f64| -> Vec<Curve> {
        arms.iter()
            .map(|(arm, all)| Curve { name: (*arm).to_owned().into(), points: curve(all, x) })
            .collect()
    };
    let over_tokens = curves(|outcome, report| (report.step * outcome.tokens) as f64 / 1000.0);
    let over_seconds = curves(|_, report| report.seconds);
    let chart = |curves, x| Chart { title: comparison.title, x, y: comparison.unit, curves, levels: &[] };
    let [tokens, seconds] =
        [chart(&over_tokens, "thousand tokens"), chart(&over_seconds, "seconds of training")];
    let height = CURVES + 70.0 + ROW * arms.len() as f64 + 30.0;
    let mut svg = Svg::new(WIDTH, height, comparison.title, &tokens.description());
    svg.text((20.0, 24.0), "head", comparison.title);
    let area = |left| Area { left, top: 64.0, right: left + 400.0, bottom: CURVES - 30.0 };
    tokens.draw_into(&mut svg, area(52.0));
    seconds.draw_into(&mut svg, area(532.0));
    dots(&mut svg, &arms, CURVES + 50.0);
    svg.finish()
}

/// The validation losses of an arm's reports, as means over its seeds. Where a report stands is the median, since a training
/// that was disturbed took longer.
fn curve(all: &[&Outcome], x: fn(&Outcome, &Report) -> f64) -> Vec<(f64, f64)> {
    let histories: Vec<_> =
        all.iter().filter_map(|outcome| Some((outcome, outcome.history.as_ref()?))).collect();
    let count = histories.iter().map(|(_, history)| history.reports.len()).min().unwrap_or(0);
    let at = |place: usize, figure: &dyn Fn(&Outcome, &Report) -> f64| -> Vec<f64> {
        histories.iter().map(|(outcome, history)| figure(outcome, &history.reports[place])).collect()
    };
    (0..count).map(|place| (median(at(place, &x)), mean(&at(place, &|_, report| report.val)))).collect()
}

/// A line for each arm with a dot for the last loss of every seed. It is the legend of the curves, too.
fn dots(svg: &mut Svg, arms: &[(&str, Vec<&Outcome>)], top: f64) {
    let (left, right) = (280.0, WIDTH - 150.0);
    let last = |all: &[&Outcome]| all.iter().filter_map(|o| Some(o.last()?.val)).collect::<Vec<f64>>();
    let x: Range<f64> =
        range(arms.iter().flat_map(|(_, all)| last(all)).collect::<Vec<_>>().into_iter(), 0.01);
    let to_pixels = |loss: f64| left + (loss - x.start) / (x.end - x.start) * (right - left);
    let bottom = top + ROW * arms.len() as f64;
    svg.text((20.0, top - 12.0), "faint small", "where they ended, a dot for each seed");
    for (value, label) in ticks(&x) {
        let at = to_pixels(value);
        svg.line("grid", &[(at, top - 4.0), (at, bottom)]);
        svg.text((at, bottom + 15.0), "faint small middle", &label);
    }
    for (number, (arm, all)) in arms.iter().enumerate() {
        let (color, dash) = (number % COLORS, if number < COLORS { "" } else { " dash" });
        let middle = top + ROW * (number as f64 + 0.5);
        svg.line(&format!("line c{color}{dash}"), &[(20.0, middle), (44.0, middle)]);
        svg.text((52.0, middle + 4.0), &format!("t{color}"), arm);
        let losses = last(all);
        losses.iter().for_each(|&loss| svg.dot(&format!("c{color}"), (to_pixels(loss), middle), 4.0));
        let figure = if losses.len() < all.len() { "ran away".to_owned() } else { with_deviation(&losses) };
        svg.text((right + 14.0, middle + 4.0), "small", &figure);
    }
}
