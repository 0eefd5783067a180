//! Drawings as SVG: one style for all, readable on a light and on a dark background, with words for those who
//! cannot see them.
//!
//! The colors are classes, listed above `STYLE`. Each drawing brings its own background, because a page may be
//! dark where the reader's system is light. Positions are rounded to a tenth of a pixel.

use std::fmt::{Arguments, Write};

/// Classes. Of text: `head`, `small`, `faint`, `code`, `middle`, `end`, `light` (on a strong color), `t0` to `t5`
/// (in the color of a curve). Of boxes: `plain`, `blue`, `yellow`, `green`. Of cells: `heat` and `cold`, to be
/// made paler by their opacity. Of lines: `grid`, `flow` (with or without a tip), `line` with `c0` to `c5`, and
/// `pale` or `dash`. `c0` to `c5` and the pale `p0` fill bars.
const STYLE: &str = "<style>
text{font:13px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.small{font-size:11px}.faint{fill:#656d76}
.code{font-family:ui-monospace,monospace;font-size:12px}.middle{text-anchor:middle}.end{text-anchor:end}
text.light{fill:#fff}text.t0{fill:#2f6fb4}text.t1{fill:#b35900}text.t2{fill:#2d7d46}
text.t3{fill:#8250df}text.t4{fill:#bf3989}text.t5{fill:#57606a}
.paper{fill:#fff}.grid{fill:none;stroke:#d0d7de}
.mesh{fill:none;stroke:#4493d8;opacity:.25}.flow{fill:none;stroke:#848d97;stroke-width:1.5}.tip{fill:#848d97}
.plain{fill:#f6f8fa;stroke:#848d97}.blue{fill:#eef4fb;stroke:#4493d8}.yellow{fill:#fff6dd;stroke:#c69026}
.green{fill:#e9f7ec;stroke:#3d9a56}.heat{fill:#2f6fb4}.cold{fill:#d9730d}.warm{stroke:#c69026}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.c0{fill:#2f6fb4;stroke:#2f6fb4}.c1{fill:#d9730d;stroke:#d9730d}
.c2{fill:#3d9a56;stroke:#3d9a56}.c3{fill:#8250df;stroke:#8250df}.c4{fill:#bf3989;stroke:#bf3989}
.c5{fill:#57606a;stroke:#57606a}.p0{fill:#8aa9cc;stroke:#8aa9cc}.line.pale{stroke-width:1;opacity:.22}
.dash{stroke-dasharray:4 4}polyline.line,path.line{fill:none}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}
text.t0{fill:#6cb0f5}text.t1{fill:#f0a050}text.t2{fill:#5fcf80}
text.t3{fill:#bc8cff}text.t4{fill:#f778ba}text.t5{fill:#9198a1}
.paper{fill:#0d1117}.grid{stroke:#3d444d}.flow{stroke:#7d8590}.tip{fill:#7d8590}
.plain{fill:#1c2128;stroke:#7d8590}.blue{fill:#12304f;stroke:#4493f8}.yellow{fill:#453208;stroke:#c69026}
.green{fill:#12351d;stroke:#3fb950}.heat{fill:#3b82d6}.cold{fill:#d9822b}.c0{fill:#4f95de;stroke:#4f95de}
.c1{fill:#e08a3c;stroke:#e08a3c}.c2{fill:#4bb86a;stroke:#4bb86a}.c3{fill:#a371f7;stroke:#a371f7}
.c4{fill:#e0609f;stroke:#e0609f}.c5{fill:#9198a1;stroke:#9198a1}
.p0{fill:#45658c;stroke:#45658c}.line.pale{opacity:.3}.warm{stroke:#c69026}}
</style>
<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' \
markerUnits='userSpaceOnUse' orient='auto'><path class='tip' d='M0 .5 8 4 0 7.5 1.5 4z'/></marker></defs>";

/// A point: pixels from the left, and from the top.
pub type Point = (f64, f64);

/// How many colors curves have: the classes `c0` and those after it.
pub const COLORS: usize = 6;

/// A drawing.
pub struct Svg(String);

impl Svg {
    /// An empty one. `title` and `description` are read out where it cannot be seen.
    pub fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let (title, description) = (escape(title), escape(description));
        Svg(format!(
            "<svg xmlns='http://www.w3.org/2000/svg' role='img' viewBox='0 0 {width} {height}' width='{width}' \
             aria-labelledby='title desc'>\n<title id='title'>{title}</title>\n<desc id='desc'>{description}</desc>\n\
             {STYLE}\n<rect class='paper' width='100%' height='100%' rx='8'/>\n"
        ))
    }

    /// A line of text that begins at a point, or ends there or has its middle there, as its class says.
    pub fn text(&mut self, (x, y): Point, class: &str, text: &str) {
        self.push(format_args!("<text class='{class}' x='{}' y='{}'>{}</text>", px(x), px(y), escape(text)));
    }

    /// A line of text that begins at a point and runs upward.
    pub fn upward(&mut self, (x, y): Point, class: &str, text: &str) {
        let (x, y) = (px(x), px(y));
        self.push(format_args!(
            "<text class='{class}' x='{x}' y='{y}' transform='rotate(-90 {x} {y})'>{}</text>",
            escape(text)
        ));
    }

    /// A rectangle.
    pub fn rect(&mut self, class: &str, (x, y): Point, (width, height): Point, round: f64) {
        let [x, y, width, height] = [x, y, width, height].map(px);
        self.push(format_args!(
            "<rect class='{class}' x='{x}' y='{y}' width='{width}' height='{height}' rx='{round}'/>"
        ));
    }

    /// A box with centred lines of text, the first of them strong and the last of several pale.
    pub fn labelled(&mut self, class: &str, (x, y): Point, (width, height): Point, lines: &[&str]) {
        self.rect(class, (x, y), (width, height), 6.0);
        let top = y + height / 2.0 - 8.5 * (lines.len() as f64 - 1.0) + 4.5;
        for (at, line) in lines.iter().enumerate() {
            let class = match at {
                0 => "head middle",
                at if at + 1 == lines.len() => "faint small middle",
                _ => "middle",
            };
            self.text((x + width / 2.0, top + 17.0 * at as f64), class, line);
        }
    }

    /// A cell of a table of numbers: the stronger the larger, blue where positive and orange where negative.
    /// `strength` goes from -1 to 1.
    pub fn cell(&mut self, (x, y): Point, (width, height): Point, strength: f64) {
        let (class, [x, y, width, height]) =
            (if strength < 0.0 { "cold" } else { "heat" }, [x, y, width, height].map(px));
        let opacity = strength.abs().clamp(0.0, 1.0);
        self.push(format_args!(
            "<rect class='{class}' x='{x}' y='{y}' width='{width}' height='{height}' fill-opacity='{opacity:.2}'/>"
        ));
    }

    /// A table of `rows · cols` squares of `side` pixels.
    pub fn matrix(&mut self, class: &str, (x, y): Point, (rows, cols): (usize, usize), side: f64) {
        let (width, height) = (cols as f64 * side, rows as f64 * side);
        self.rect(class, (x, y), (width, height), 0.0);
        let rows = (1..rows).map(|row| format!("M{} {}h{}", px(x), px(y + row as f64 * side), px(width)));
        let cols = (1..cols).map(|col| format!("M{} {}v{}", px(x + col as f64 * side), px(y), px(height)));
        let lines: String = rows.chain(cols).collect();
        self.push(format_args!("<path class='mesh' d='{lines}'/>"));
    }

    /// A line through points.
    pub fn line(&mut self, class: &str, points: &[Point]) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
        self.push(format_args!("<polyline class='{class}' points='{}'/>", points.join(" ")));
    }

    /// A line through points, with a tip at its end.
    pub fn arrow(&mut self, points: &[Point]) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
        self.push(format_args!(
            "<polyline class='flow' points='{}' marker-end='url(#tip)'/>",
            points.join(" ")
        ));
    }

    /// An arc from one point to another with a tip at its end. It bends so far down, or up if that is negative.
    pub fn arc(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point, bend: f64) {
        let [x1, y1, x2, y2, c1, c2] = [x1, y1, x2, y2, y1 + bend, y2 + bend].map(px);
        let d = format!("M{x1} {y1}C{x1} {c1} {x2} {c2} {x2} {y2}");
        self.push(format_args!("<path class='flow {class}' d='{d}' marker-end='url(#tip)'/>"));
    }

    /// A dot.
    pub fn dot(&mut self, class: &str, (x, y): Point, radius: f64) {
        self.push(format_args!("<circle class='{class}' cx='{}' cy='{}' r='{radius}'/>", px(x), px(y)));
    }

    fn push(&mut self, element: Arguments<'_>) {
        writeln!(self.0, "{element}").expect("writing to a String cannot fail");
    }

    /// The text of the file.
    pub fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

/// A length with at most one digit after the point.
fn px(x: f64) -> String {
    let text = format!("{x:.1}");
    let short = text.strip_suffix(".0").unwrap_or(&text);
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
