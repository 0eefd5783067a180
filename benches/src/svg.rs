//! Two kinds of plot as SVG, readable on a light and on a dark background.

use std::fmt::Write;

/// Colors follow the reader's light or dark theme.
const STYLE: &str = "<style>\
    text{font:13px system-ui,sans-serif;fill:#24292f}.faint{fill:#656d76}.grid{stroke:#d0d7de}\
    .c0{fill:#2f6fb4;stroke:#2f6fb4}.c1{fill:#8aa9cc;stroke:#8aa9cc}polyline.line{fill:none;stroke-width:2}\
    .dash{stroke-dasharray:4 4}.end{text-anchor:end}.middle{text-anchor:middle}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#3d444d}\
    .c0{fill:#6cb0f5;stroke:#6cb0f5}.c1{fill:#45658c;stroke:#45658c}}</style>";

struct Svg(String);

impl Svg {
    fn new(width: f64, height: f64) -> Self {
        Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n{STYLE}\n"
        ))
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>"));
    }

    fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!("<path class=\"grid\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
    }

    fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!("<polyline class=\"line {class}\" points=\"{}\"/>", points.join(" ")));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("writing to a String cannot fail");
    }

    fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

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
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 560.0;
    const ROW: f64 = 26.0;
    const TOP: f64 = 44.0;
    let bottom = TOP + ROW * bars.len() as f64;
    let values = || bars.iter().map(|bar| bar.value);
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).log10().max(low + 1.0);
    let x = |value: f64| LEFT + (value.log10() - low) / (high - low) * WIDTH;
    let mut svg = Svg::new(LEFT + WIDTH + 90.0, bottom + 30.0);
    svg.text(LEFT, 22.0, "", title);
    for power in low as i32..=high.floor() as i32 {
        let value = 10_f64.powi(power);
        svg.grid((x(value), TOP - 6.0), (x(value), bottom + 4.0));
        svg.text(x(value), bottom + 20.0, "faint middle", &format!("{value}"));
    }
    svg.text(LEFT + WIDTH + 84.0, bottom + 20.0, "faint end", unit);
    for (row, Bar { label, value, pale }) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        svg.text(LEFT - 10.0, y + 15.0, "end", label);
        let (class, width) = (if *pale { "c1" } else { "c0" }, x(*value) - LEFT);
        let rect = format_args!("x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"19\" rx=\"2\"");
        svg.push(format_args!("<rect class=\"{class}\" {rect}/>"));
        svg.text(x(*value) + 8.0, y + 15.0, "", &three_digits(*value));
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
    const WIDTH: f64 = 420.0;
    const HEIGHT: f64 = 300.0;
    let mut svg = Svg::new(2.0 * WIDTH, HEIGHT * panels.len().div_ceil(2) as f64);
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
            (left + 60.0 + right * (WIDTH - 80.0), top + HEIGHT - 50.0 - up * (HEIGHT - 100.0))
        };
        let (corner, end) =
            (to_pixels((10_f64.powf(x0), 10_f64.powf(y0))), to_pixels((10_f64.powf(x1), 10_f64.powf(y1))));
        svg.grid(corner, (end.0, corner.1));
        svg.grid(corner, (corner.0, end.1));
        svg.text(corner.0, top + 26.0, "", &panel.title);
        svg.text(corner.0 + 8.0, end.1 + 6.0, "faint", unit);
        svg.text(end.0, corner.1 + 36.0, "faint end", &panel.axis);
        svg.line("c1 dash", &ends.map(to_pixels));
        let points: Vec<_> = panel.points.iter().map(|&point| to_pixels(point)).collect();
        svg.line("c0", &points);
        for (&(x, y), (value, time)) in points.iter().zip(&panel.points) {
            svg.push(format_args!("<circle class=\"c0\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
            svg.text(x, y - 9.0, "middle", &three_digits(*time));
            svg.text(x, corner.1 + 18.0, "faint middle", &format!("{value}"));
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
