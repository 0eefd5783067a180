//! Curves as SVG.

use std::path::Path;

use anyhow::Result;
use gradus::checkpoint::write_atomically;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);

/// Draws a series of losses, one a step: each pale as it was, and strong as a running mean.
pub fn losses(path: &Path, series: &[(&str, &[f64])]) -> Result<()> {
    let steps = series.iter().map(|(_, losses)| losses.len()).max().unwrap_or(0).max(1);
    let all = || series.iter().flat_map(|(_, losses)| losses.iter().copied());
    let low = all().fold(f64::INFINITY, f64::min).min(all().next().unwrap_or(0.0));
    let high = all().fold(low + 0.1, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(1..steps, low..high)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("loss (nats a token)")
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (number, (_, losses)) in series.iter().enumerate() {
            let color = Palette99::pick(number).to_rgba();
            let points = |losses: Vec<f64>| (1..).zip(losses).collect::<Vec<_>>();
            chart.draw_series(LineSeries::new(points(losses.to_vec()), color.mix(0.25)))?;
            chart.draw_series(LineSeries::new(points(smooth(losses)), color.stroke_width(2)))?;
        }
        area.present()?;
    }
    Ok(write_atomically(path, svg.as_bytes())?)
}

/// The running mean, in which a loss of long ago counts ever less.
fn smooth(losses: &[f64]) -> Vec<f64> {
    let keep = 1.0 - 1.0 / (losses.len() as f64 / 40.0).max(1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let mut next = |loss: &f64| {
        mean = keep * mean + (1.0 - keep) * loss;
        weight = keep * weight + (1.0 - keep);
        mean / weight
    };
    losses.iter().map(&mut next).collect()
}
