//! Two kinds of plot, drawn as the figures of the book are.

use support::svg::Svg;

/// A bar of a chart.
pub struct Bar {
    /// What stands beside it.
    pub label: String,
    /// How long it is.
    pub value: f64,
    /// Whether it is drawn in a pale color.
    pub pale: bool,
}

/// Horizontal bars on a logarithmic scale.
pub fn bar_chart(title: &str, unit: &str, bars: &[Bar]) -> String {
    const LEFT: f64 = 160.0;
    const WIDTH: f64 = 480.0;
    const ROW: f64 = 26.0;
    const TOP: f64 = 44.0;
    let bottom = TOP + ROW * bars.len() as f64;
    let values = || bars.iter().map(|bar| bar.value);
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).log10().max(low + 1.0);
    let x = |value: f64| LEFT + (value.log10() - low) / (high - low) * WIDTH;
    let said = |bar: &Bar| format!("{}: {}", bar.label, three_digits(bar.value));
    let description = bars.iter().map(said).collect::<Vec<_>>().join("; ");
    let mut svg = Svg::new(LEFT + WIDTH + 80.0, bottom + 34.0, title, &format!("In {unit}, {description}."));
    svg.text((LEFT, 22.0), "", title);
    for power in low as i32..=high.floor() as i32 {
        let value = 10_f64.powi(power);
        svg.line("grid", &[(x(value), TOP - 6.0), (x(value), bottom + 4.0)]);
        svg.text((x(value), bottom + 20.0), "faint middle", &format!("{value}"));
    }
    svg.text((LEFT + WIDTH + 70.0, bottom + 20.0), "faint end", unit);
    for (row, Bar { label, value, pale }) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        svg.text((LEFT - 10.0, y + 15.0), "end", label);
        let (class, width) = (if *pale { "p0" } else { "c0" }, x(*value) - LEFT);
        svg.rect(class, (LEFT, y), (width, 19.0), 2.0);
        svg.text((x(*value) + 8.0, y + 15.0), "", &three_digits(*value));
    }
    svg.finish()
}

/// A log-log plot: measured points, and the power law fitted to them.
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// The label of the horizontal axis.
    pub axis: String,
    /// What was measured.
    pub points: Vec<(f64, f64)>,
    /// The power law: its exponent, and its value at 1.
    pub fit: (f64, f64),
}

/// Panels in two columns. `unit` is that of the vertical axes.
pub fn panels(unit: &str, panels: &[Panel]) -> String {
    const WIDTH: f64 = 360.0;
    const HEIGHT: f64 = 280.0;
    let title =
        format!("{unit}, against {}", panels.iter().map(|p| p.axis.as_str()).collect::<Vec<_>>().join(", "));
    let points = |panel: &Panel| {
        let point = |(value, time): &(f64, f64)| format!("{} at {value}", three_digits(*time));
        panel.points.iter().map(point).collect::<Vec<_>>().join(", ")
    };
    let said = |panel: &Panel| format!("{}: {}", panel.title, points(panel));
    let description = panels.iter().map(said).collect::<Vec<_>>().join("; ");
    let height = HEIGHT * panels.len().div_ceil(2) as f64;
    let mut svg = Svg::new(2.0 * WIDTH, height, &title, &format!("Logarithmic scales. {description}."));
    for (at, panel) in panels.iter().enumerate() {
        let (left, top) = ((at % 2) as f64 * WIDTH, (at / 2) as f64 * HEIGHT);
        let (exponent, factor) = panel.fit;
        let ends = [panel.points[0].0, panel.points[panel.points.len() - 1].0];
        let ends = ends.map(|x| (x, factor * x.powf(exponent)));
        let range = |of: fn(&(f64, f64)) -> f64| {
            let logs = || panel.points.iter().chain(&ends).map(|point| of(point).log10());
            let (low, high) =
                (logs().fold(f64::INFINITY, f64::min), logs().fold(f64::NEG_INFINITY, f64::max));
            let margin = 0.05 + (0.6 - (high - low)).max(0.0) / 2.0; // a flat curve should look flat
            (low - margin, high + margin)
        };
        let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
        let to_pixels = |(x, y): (f64, f64)| {
            let right = (x.log10() - x0) / (x1 - x0);
            let up = (y.log10() - y0) / (y1 - y0);
            (left + 36.0 + right * (WIDTH - 60.0), top + HEIGHT - 50.0 - up * (HEIGHT - 100.0))
        };
        let (corner, end) =
            (to_pixels((10_f64.powf(x0), 10_f64.powf(y0))), to_pixels((10_f64.powf(x1), 10_f64.powf(y1))));
        svg.line("grid", &[(corner.0, end.1), corner, (end.0, corner.1)]);
        svg.text((corner.0, top + 26.0), "", &panel.title);
        svg.text((corner.0 + 8.0, end.1 + 6.0), "small faint", unit);
        svg.text((end.0, corner.1 + 34.0), "small faint end", &panel.axis);
        svg.line("flow dash", &ends.map(to_pixels));
        let points: Vec<_> = panel.points.iter().map(|&point| to_pixels(point)).collect();
        svg.line("line c0", &points);
        for (&(x, y), (value, time)) in points.iter().zip(&panel.points) {
            svg.dot("c0", (x, y), 3.0);
            svg.text((x, y - 9.0), "small middle", &three_digits(*time));
            svg.text((x, corner.1 + 18.0), "small faint middle", &format!("{value}"));
        }
    }
    svg.finish()
}

/// A number with about three digits: 1234, 123, 12.3, 1.23.
pub fn three_digits(x: f64) -> String {
    let digits = match x.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        _ => 2,
    };
    format!("{x:.digits$}")
}
