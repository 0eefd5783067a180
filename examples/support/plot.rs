//! Curves as SVG.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use gradus::checkpoint::write_atomically;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);

/// A curve over steps.
pub struct Curve {
    /// What it is called. A curve without a name is drawn pale, in the color of the one after it.
    pub name: &'static str,
    /// Steps and values.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves into a file, with their names.
pub fn curves(path: &Path, unit: &str, curves: &[Curve]) -> Result<()> {
    let svg = draw(unit, curves).map_err(|error| anyhow!("{error}"));
    let svg = svg.with_context(|| format!("{} cannot be drawn", path.display()))?;
    Ok(write_atomically(path, svg.as_bytes())?)
}

fn draw(unit: &str, curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|(_, y)| y.is_finite());
    let range = |value: fn(&(f64, f64)) -> f64, least: f64| {
        let low = points().map(value).fold(f64::INFINITY, f64::min);
        let high = points().map(value).fold(f64::NEG_INFINITY, f64::max);
        if low <= high { low..high.max(low + least) } else { 0.0..least }
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..range(|p| p.0, 1.0).end, range(|p| p.1, 0.1))?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc(unit)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let mut color = 0;
        for Curve { name, points } in curves {
            let strong = Palette99::pick(color).to_rgba();
            let style =
                if name.is_empty() { strong.mix(0.25).stroke_width(1) } else { strong.stroke_width(2) };
            let series = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            if !name.is_empty() {
                series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                color += 1;
            }
        }
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.8))
            .border_style(TRANSPARENT)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
