//! The graph of an expression as a picture, in the style of micrograd's README: a box with label, data and gradient for every
//! value, and before every computed value a circle with the sign of its operation.
//!
//! [`Diagram::to_dot`] leaves the layout to Graphviz. [`Diagram::to_svg`] computes it with a small version of the layered
//! layout of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures", IEEE
//! Transactions on Systems, Man, and Cybernetics 11(2), 1981):
//!
//! 1. *Columns.* A value stands to the right of its operands: its column is the length of the longest path from a leaf.
//!    Then it moves to the right until it is next to its first user.
//! 2. *Lanes.* Where a line passes a column, it gets a point there, which from then on is treated as a box without height.
//!    So no line runs through a box. All lines from one value share its lane and branch off.
//! 3. *Order.* In sweeps from right to left and back, each column is sorted by the mean height (the barycentre) of its
//!    neighbours on the side that the sweep comes from. The order with the fewest crossings is kept.
//! 4. *Heights.* Everything moves to the mean height of its neighbours, as far as the boxes above and below allow. Finally
//!    lanes are straightened, and a box that is nearly level with its operands, or with their middle, is moved to exactly
//!    that height.
//!
//! There is no recursion, and the same diagram always gives the same text.

use std::{cmp::Reverse, ops::Range};

/// One value of the diagram.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagramNode {
    /// The label in the first cell of the box, if the value has one.
    pub label: Option<String>,
    /// The sign of the operation that computed the value; `None` for a leaf.
    pub op: Option<String>,
    /// The value itself.
    pub data: f64,
    /// The gradient: the derivative of the result with respect to this value.
    pub grad: f64,
}

/// The graph of an expression, to be drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagram {
    /// The values in the order of their creation: every operand before its result.
    pub nodes: Vec<DiagramNode>,
    /// (operand, result), as indices into `nodes`. An operand that a result uses twice appears twice.
    pub edges: Vec<(usize, usize)>,
}

const MARGIN: f64 = 16.0;
const RADIUS: f64 = 13.0;
const HALF: f64 = 20.0; // half the height of a box
const PAD: f64 = 8.0;
const LETTER: f64 = 7.25; // at 12 pixels: a letter of a fixed-width font is 0.6 times as wide as its size
const ARROW: &str = "marker-end='url(#gradus-arrow)'";
const HEAD: &str = "<style>
.gradus text{font:12px monospace;fill:#1f2328}.gradus .key{fill:#656d76}
.gradus .end{text-anchor:end}.gradus .sign{text-anchor:middle}.gradus .sign,.gradus .name{font-weight:bold}
.gradus .line{fill:none;stroke:#848d97;stroke-width:1.4;stroke-linecap:round}.gradus .head{fill:#848d97}
.gradus .box{fill:#fff;stroke:#848d97}.gradus .leaf .box{fill:#ddf4ff;stroke:#4493d8}
.gradus .op{fill:#fff3c4;stroke:#c69026}
@media (prefers-color-scheme:dark){.gradus text{fill:#e6edf3}.gradus .key{fill:#9198a1}
.gradus .line{stroke:#7d8590}.gradus .head{fill:#7d8590}.gradus .box{fill:#1c2128;stroke:#7d8590}
.gradus .leaf .box{fill:#12304f;stroke:#4493f8}.gradus .op{fill:#453208;stroke:#c69026}}
</style>
<defs><marker id='gradus-arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' markerHeight='8' \
markerUnits='userSpaceOnUse' orient='auto'><path class='head' d='M0 .5 8 4 0 7.5 1.5 4z'/></marker></defs>\n";

impl Diagram {
    /// The diagram in the language of Graphviz: `dot -Tsvg` draws it.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph {\n  rankdir=LR; bgcolor=transparent;\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let label = node.label.as_ref().map_or(String::new(), |l| escape(l, false) + " | ");
            let (data, grad) = (short(node.data), short(node.grad));
            out += &format!("  v{i} [shape=record, label=\"{{{label}data {data} | grad {grad}}}\"];\n");
            if let Some(op) = &node.op {
                out += &format!("  o{i} [label=\"{}\"];\n  o{i} -> v{i};\n", escape(op, false));
            }
        }
        self.edges.iter().for_each(|(from, to)| out += &format!("  v{from} -> o{to};\n"));
        out + "}\n"
    }

    /// The diagram as a stand-alone SVG, for light and dark pages. Hovering over a box shows its data and gradient in full
    /// precision.
    ///
    /// # Panics
    /// If an edge does not lead from a node to a later one that has an `op`.
    pub fn to_svg(&self) -> String {
        let Layout { points, spans, cell, height, .. } = &Layout::new(self);
        let (n, width) = (self.nodes.len(), MARGIN + spans.last().map_or(0.0, |span| span.1));
        let mut out = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' class='gradus' role='img' width='{width:.0}' \
             height='{height:.0}' viewBox='0 0 {width:.0} {height:.0}'>\n\
             <title>Expression graph of {n} values</title>\n<desc>A box for each value, with its \
             label, data and gradient. Lines lead from left to right, from operands to the operation and on to its \
             result.</desc>\n{HEAD}"
        );
        for (p, to) in points.iter().enumerate() {
            // The arrows into one operation end side by side, ordered by the heights at which they start.
            let mut sources = to.links[0].clone();
            sources.sort_by(|&a, &b| points[a].y.total_cmp(&points[b].y));
            let last = sources.len().saturating_sub(1) as f64;
            let (step, slack) = (f64::min(8.0, 20.0 / last), if last == 1.0 { 4.0 } else { 0.0 });
            for (k, &from) in sources.iter().enumerate() {
                // Two lines from the same value to the same operation bend away from each other.
                let (above, below) = (k > 0 && sources[k - 1] == from, sources.get(k + 1) == Some(&from));
                let bend = 20.0 * (above as i8 - below as i8) as f64;
                let port = step * (k as f64 - last / 2.0);
                let ((_, x), y) = (spans[points[from].column], points[from].y);
                let port = (y - to.y + bend).clamp(port - slack, port + slack);
                let ((left, right), end_y) = (spans[to.column], to.y + port);
                let end = left + RADIUS - (RADIUS.powi(2) - port.powi(2)).sqrt();
                let (middle, y1, y2) = ((x + left) / 2.0, y + bend, end_y + bend / 2.0);
                out +=
                    &format!("<path class='line' d='M{x:.1} {y:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} ");
                out += &format!("{end:.1} {end_y:.1}");
                out += &if p < n { format!("' {ARROW}/>\n") } else { format!("H{right:.1}'/>\n") };
            }
        }
        for (node, point) in self.nodes.iter().zip(points) {
            let ((left, right), y) = (spans[point.column], point.y);
            out += &format!("<g transform='translate({right:.1} {y:.1})'");
            out += &node.draw(left - right, *cell);
        }
        out + "</svg>\n"
    }
}

impl DiagramNode {
    /// The box, the sign of its operation and the short arrow between them, inside an SVG group that is already open. The box
    /// ends at the origin of the group; the column begins at `left`.
    fn draw(&self, left: f64, cell: f64) -> String {
        let ((name, width), (op, round)) = (shown(&self.label), shown(&self.op));
        let (title, start) = (escape(self.label.as_deref().unwrap_or("value"), true), -width - cell);
        let class = if self.op.is_none() { " class='leaf'" } else { "" };
        let mut out = format!("{class}><title>{title}\ndata {:?}\ngrad {:?}</title>", self.data, self.grad);
        let text =
            |class, x, y: i32, text: &str| format!("<text class='{class}' x='{x:.1}' y='{y}'>{text}</text>");
        if self.op.is_some() {
            out += &format!("<path class='line' d='M{left:.1} 0H{start:.1}' {ARROW}/><rect class='op' ");
            out += &format!("x='{left:.1}' y='-{RADIUS}' width='{round:.1}' height='26' rx='{RADIUS}'/>");
            out += &text("sign", left + round / 2.0, 4, &op);
        }
        let height = 2.0 * HALF;
        out += &format!("<rect class='box' x='{start:.1}' y='-{HALF}' width='{:.1}' ", -start);
        out += &format!("height='{height}' rx='5'/>");
        if self.label.is_some() {
            out += &format!("<path class='box' d='M{:.1} -{HALF}v{height}'/>", -cell);
            out += &text("name", start + PAD, 4, &name);
        }
        out += &(text("key", PAD - cell, -4, "data") + &text("end", -PAD, -4, &short(self.data)));
        out + &text("key", PAD - cell, 13, "grad") + &text("end", -PAD, 13, &short(self.grad)) + "</g>\n"
    }
}

/// A point in a column. Point `i` is node `i`; after the nodes come the points of the lanes.
#[derive(Clone)]
struct Point {
    column: usize,
    y: f64,
    half: f64,              // half its height: zero in a lane
    links: [Vec<usize>; 2], // its neighbours on the left and on the right
}

#[derive(Clone, Default)]
struct Layout {
    points: Vec<Point>,
    columns: Vec<Vec<usize>>, // the points of each column from top to bottom
    spans: Vec<(f64, f64)>,   // where each column begins and ends
    cell: f64,                // the width of a cell with a number
    height: f64,
}

/// Sweeps before this one sort the columns.
const SORTED: usize = 24;
/// Sweeps from `SORTED` to this one balance the heights.
const BALANCED: usize = 84;
/// The last sweeps, from `BALANCED` to this one, straighten the lanes.
const STRAIGHT: usize = 90;

impl Layout {
    fn new(diagram: &Diagram) -> Self {
        let (n, mut edges) = (diagram.nodes.len(), diagram.edges.clone());
        let (mut rank, mut last, mut lane) = (vec![0; n], vec![0; n], vec![0; n]);
        edges.sort_by_key(|e| e.1);
        for &(a, b) in &edges {
            let valid = a < b && diagram.nodes.get(b).is_some_and(|v| v.op.is_some());
            assert!(valid, "edge {a} -> {b}: an operand comes before its result, and a result has an op");
            rank[b] = rank[b].max(rank[a] + 1);
        }
        edges.sort_by_key(|e| Reverse(e.0));
        for users in edges.chunk_by(|e, f| e.0 == f.0) {
            let (v, ranks) = (users[0].0, users.iter().map(|e| rank[e.1]));
            last[v] = ranks.clone().fold(0, usize::max);
            rank[v] = ranks.fold(usize::MAX, usize::min) - 1;
        }

        let point = |column, half| Point { column, y: 0.0, half, links: Default::default() };
        let mut points: Vec<Point> = rank.iter().map(|&r| point(r, HALF)).collect();
        for v in 0..n {
            // A thousand values that are all used a thousand columns later would need half a million points. Beyond a
            // limit, lines go straight through.
            if last[v] > rank[v] + 1 && points.len() < 1000 + 20 * n {
                lane[v] = points.len();
                points.extend((rank[v] + 1..last[v]).map(|column| point(column, 0.0)));
                edges.push((v, lane[v]));
                edges.extend((lane[v] + 1..points.len()).map(|p| (p - 1, p)));
            }
        }
        for (a, b) in edges {
            let passed = points[b].column - points[a].column - 1;
            let a = if passed > 0 && lane[a] > 0 { lane[a] + passed - 1 } else { a };
            points[a].links[1].push(b);
            points[b].links[0].push(a);
        }
        let mut columns = vec![Vec::new(); rank.iter().max().map_or(0, |r| r + 1)];
        points.iter().enumerate().for_each(|(p, point)| columns[point.column].push(p));

        let mut layout = Layout { points, columns, ..Layout::default() };
        let sorted = (0..SORTED).map(|round| {
            layout.sweep(round);
            layout.clone()
        });
        let mut best = sorted.min_by_key(Layout::crossings).unwrap_or_default();
        (SORTED..STRAIGHT).for_each(|round| best.sweep(round));
        best.measure(&diagram.nodes);
        best
    }

    /// One sweep over the columns: from right to left in even rounds, from left to right in odd ones.
    fn sweep(&mut self, round: usize) {
        for i in 0..self.columns.len() {
            let c = if round.is_multiple_of(2) { self.columns.len() - 1 - i } else { i };
            let mut targets: Vec<_> = self.columns[c].iter().map(|&p| self.target(round, p)).collect();
            if round < SORTED {
                targets.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.columns[c] = targets.iter().map(|w| w.2).collect();
            }
            self.place(&targets);
        }
    }

    /// The height to which a point should move, the weight of this target, and the point.
    fn target(&self, round: usize, p: usize) -> (f64, f64, usize) {
        let (point, side) = (&self.points[p], 1 - round % 2);
        // The mean height of the neighbours. A line between two points of a lane counts `lane` times.
        let mean = |sides: Range<usize>, lane: f64| {
            let (mut sum, mut weight) = (1e-6 * point.y, 1e-6); // without neighbours it stays
            for other in point.links[sides].iter().flatten().map(|&q| &self.points[q]) {
                let w = if point.half + other.half == 0.0 { lane } else { 1.0 };
                (sum, weight) = (sum + w * other.y, weight + w);
            }
            (sum / weight, weight, p)
        };
        if round < SORTED {
            return mean(side..side + 1, if round < SORTED / 2 { 1.0 } else { 8.0 }); // found by trial
        }
        let (balanced, level) = (mean(0..2, 8.0), mean(side..side + 1, 1e6));
        let near = level.1 > 1e5 || level.1 > 0.5 && (level.0 - balanced.0).abs() < 24.0;
        if round >= BALANCED && near { level } else { balanced }
    }

    /// Moves the points of a column as close to their targets as their order and heights allow, with the least sum of
    /// weighted squared distances. Points that would overlap form a block at the weighted mean of their targets (the
    /// pool-adjacent-violators algorithm).
    fn place(&mut self, targets: &[(f64, f64, usize)]) {
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        let (mut offset, mut above) = (0.0, 0.0);
        for &(target, weight, p) in targets {
            let point = &mut self.points[p];
            offset += above + point.half;
            (point.y, above) = (offset, point.half + 16.0);
            let mut block = (target - offset, weight, 1);
            while let Some((y, w, count)) = blocks.pop_if(|b| b.0 >= block.0) {
                let weight = w + block.1;
                block = ((y * w + block.0 * block.1) / weight, weight, count + block.2);
            }
            blocks.push(block);
        }
        let offsets = blocks.iter().flat_map(|b| std::iter::repeat_n(b.0, b.2));
        offsets.zip(targets).for_each(|(y, &(_, _, p))| self.points[p].y += y);
    }

    /// The heights where the lines to the right of a column begin and end.
    fn lines(&self, column: &[usize]) -> impl Iterator<Item = (f64, f64)> {
        let line = |p: &Point, q: usize| (p.y, self.points[q].y);
        column.iter().map(|&p| &self.points[p]).flat_map(move |p| p.links[1].iter().map(move |&q| line(p, q)))
    }

    /// The number of crossings: pairs of lines that begin in one order and end in the other.
    fn crossings(&self) -> usize {
        let mut count = 0;
        for column in &self.columns {
            let (mut lines, mut ends): (Vec<_>, Vec<f64>) = (self.lines(column).collect(), Vec::new());
            lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            for (_, y) in lines {
                let at = ends.partition_point(|&end| end <= y);
                count += ends.len() - at;
                ends.insert(at, y);
            }
        }
        count
    }

    /// Computes where the columns begin and end, and the size of the whole diagram.
    fn measure(&mut self, nodes: &[DiagramNode]) {
        let top = self.points.iter().map(|p| p.y - p.half).fold(f64::INFINITY, f64::min);
        self.points.iter_mut().for_each(|p| p.y += MARGIN - top);
        self.height = self.points.iter().map(|p| p.y + p.half).fold(0.0, f64::max) + MARGIN;
        let letters = nodes.iter().flat_map(|v| [v.data, v.grad]).map(|x| short(x).len() + 5);
        self.cell = LETTER * letters.fold(0, usize::max) as f64 + 2.0 * PAD;
        let mut x = MARGIN;
        for column in &self.columns {
            let nodes = || column.iter().filter_map(|&p| nodes.get(p));
            let name = nodes().map(|v| shown(&v.label).1).fold(0.0, f64::max);
            let sign = nodes().map(|v| shown(&v.op).1).fold(0.0, f64::max);
            let right = x + sign + if sign > 0.0 { 16.0 } else { 0.0 } + name + self.cell;
            self.spans.push((x, right));
            let drop = self.lines(column).map(|(y, end)| (y - end).abs()).fold(0.0, f64::max);
            x = right + (26.0 + 0.12 * drop).min(120.0); // steep lines need more space
        }
    }
}

/// Four decimals as in micrograd, or scientific notation for very large and very small numbers.
fn short(x: f64) -> String {
    match x.abs() {
        0.0 => "0.0000".into(), // and not "-0.0000"
        size if x.is_finite() && !(1e-3..1e6).contains(&size) => format!("{x:.4e}"),
        _ => format!("{x:.4}"),
    }
}

/// A label or sign as XML, truncated if it is long, and the width of its cell. Without one, an empty text of width 0.
fn shown(label: &Option<String>) -> (String, f64) {
    let Some(label) = label else { return (String::new(), 0.0) };
    let cut = label.char_indices().nth(24).map_or(label.clone(), |(end, _)| format!("{}…", &label[..end]));
    let letters: f64 = cut.chars().map(|c| if c < '\u{1100}' { 1.0 } else { 2.0 }).sum();
    (escape(&cut, true), (LETTER * letters + 2.0 * PAD).max(2.0 * RADIUS))
}

/// Escapes text for XML, or for a record of Graphviz, where bars, braces and entities are special.
fn escape(text: &str, xml: bool) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".into(),
        '<' if xml => "&lt;".into(),
        '>' if xml => "&gt;".into(),
        '"' | '\\' | '|' | '{' | '}' | '<' | '>' if !xml => format!("\\{c}"),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => "\u{fffd}".into(),
        c => c.into(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of binary operations on pseudo-random earlier values, sometimes on one value twice.
    fn random(n: usize) -> Diagram {
        let (mut diagram, mut state) = (Diagram::default(), 1u64);
        for v in 0..n {
            let (label, op) = ((v % 5 == 0).then(|| format!("a{v}")), (v % 3 != 0).then(|| "+".into()));
            for _ in 0..if op.is_some() { 2 } else { 0 } {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                diagram.edges.push(((state >> 33) as usize % v, v));
            }
            diagram.nodes.push(DiagramNode { label, op, data: v as f64 / 7.0, grad: -1.0 });
        }
        diagram
    }

    #[test]
    fn boxes_do_not_overlap_and_lines_lead_to_the_next_column() {
        let Layout { points, columns, spans, .. } = Layout::new(&random(200));
        for pair in columns.iter().flat_map(|column| column.windows(2)) {
            let (above, below) = (&points[pair[0]], &points[pair[1]]);
            assert!(above.y + above.half + 15.99 < below.y - below.half);
        }
        for (point, &q) in points.iter().flat_map(|p| p.links[1].iter().map(move |q| (p, q))) {
            assert_eq!(points[q].column, point.column + 1);
            assert!(spans[point.column].1 < spans[points[q].column].0);
        }
    }

    #[test]
    fn svgs_are_well_formed_and_reproducible() {
        for n in [0, 1, 2, 50, 2000] {
            let (svg, mut open) = (random(n).to_svg(), Vec::new());
            assert_eq!(svg, random(n).to_svg());
            for tag in svg.split('<').skip(1).map(|t| t.split_once('>').expect("the end of a tag").0) {
                assert_eq!(tag.matches('\'').count() % 2, 0, "{tag}");
                match tag.strip_prefix('/') {
                    Some(name) => assert_eq!(open.pop(), Some(name)),
                    None if tag.ends_with('/') => {}
                    None => open.push(tag.split(' ').next().unwrap_or(tag)),
                }
            }
            assert!(open.is_empty());
        }
    }

    #[test]
    fn labels_are_escaped_and_numbers_formatted() {
        let mut diagram = random(2);
        diagram.nodes[0].label = Some("<\"a\"|&\\{b}>\u{1}".into());
        (diagram.nodes[0].data, diagram.nodes[1].data) = (1.0 / 3.0, f64::NAN);
        let (svg, dot) = (diagram.to_svg(), diagram.to_dot());
        assert!(svg.contains("&lt;\"a\"|&amp;\\{b}&gt;\u{fffd}\ndata 0.3333333333333333\n"));
        assert!(dot.contains(r#"{\<\"a\"\|&amp;\\\{b\}\>"#) && dot.contains("data NaN | grad -1.0000"));
        let numbers = [-4.0, -0.0, 1e-9, -2.5e12, f64::NEG_INFINITY].map(short);
        assert_eq!(numbers, ["-4.0000", "0.0000", "1.0000e-9", "-2.5000e12", "-inf"]);
    }
}
