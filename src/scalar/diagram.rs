//! The graph of an expression as a picture, in the way micrograd's README made familiar: a box
//! `label | data | grad` for every value, and before every computed value a small round node with
//! the sign of its operation.
//!
//! [`Diagram::to_dot`] leaves the drawing to Graphviz. [`Diagram::to_svg`] draws by itself, with a
//! miniature of the layered layout of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding
//! of Hierarchical System Structures", IEEE Transactions on Systems, Man, and Cybernetics 11(2),
//! 1981):
//!
//! 1. *Columns.* Every result stands to the right of all its operands, a leaf beside its first user.
//! 2. *Lanes.* Where a line passes a column it gets a point of its own, which is then treated like
//!    a very flat box: so no line runs through a box. All lines that leave one value share its lane
//!    and branch off, as wires do.
//! 3. *Order.* Again and again, from right to left and back, each column is sorted by the mean
//!    height (the barycentre) of what its members are connected to on the side we come from. The
//!    order with the fewest crossings is kept.
//! 4. *Heights.* With the order fixed, everything moves to the mean height of its neighbours, as
//!    far as the boxes above and below allow; at last, lines that are nearly straight are made so.
//!
//! All of it is loops over the creation order or over columns: nothing recurses, and the same
//! diagram always gives the same text.

use std::fmt::Write;

/// One value of the drawing, in creation order: every operand comes before its result.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagramNode {
    /// The name in the first cell of the box, if the value has one.
    pub label: Option<String>,
    /// The sign of the operation that made the value; `None` for a leaf.
    pub op: Option<String>,
    /// The value itself.
    pub data: f64,
    /// The slope of the final result with respect to this value.
    pub grad: f64,
}

/// A finished expression as a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagram {
    /// The values, every operand before its result.
    pub nodes: Vec<DiagramNode>,
    /// (operand, result), indices into `nodes`; an operand used twice by one result appears twice.
    pub edges: Vec<(usize, usize)>,
}

const MARGIN: f64 = 16.0;
const HALF_BOX: f64 = 15.0;
const RADIUS: f64 = 13.0;
const PAD: f64 = 9.0;
/// The width of a letter at 12 pixels: common fixed-width fonts have 0.6 of their size.
const LETTER: f64 = 7.25;

const HEAD: &str = "<style>
.gradus text{font:12px monospace;fill:#1f2328}
.gradus .key{fill:#656d76}
.gradus .end{text-anchor:end}
.gradus .bold{font-weight:bold}
.gradus .line{fill:none;stroke:#848d97;stroke-width:1.4;stroke-linecap:round}
.gradus .head{fill:#848d97}
.gradus .box{fill:#fff;stroke:#848d97}
.gradus .leaf .box{fill:#ddf4ff;stroke:#4493d8}
.gradus .op{fill:#fff3c4;stroke:#c69026}
@media (prefers-color-scheme:dark){
.gradus text{fill:#e6edf3}
.gradus .key{fill:#9198a1}
.gradus .line{stroke:#7d8590}
.gradus .head{fill:#7d8590}
.gradus .box{fill:#1c2128;stroke:#7d8590}
.gradus .leaf .box{fill:#12304f;stroke:#4493f8}
.gradus .op{fill:#453208;stroke:#c69026}
}
</style>
<defs><marker id='gradus-arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='8' \
markerHeight='8' markerUnits='userSpaceOnUse' orient='auto'>\
<path class='head' d='M0 .5 8 4 0 7.5 1.5 4z'/></marker></defs>\n";

impl Diagram {
    /// The drawing as Graphviz text: `dot -Tsvg` makes a picture of it.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph {\n  rankdir=LR; bgcolor=transparent;\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let label = node.label.as_ref().map_or(String::new(), |l| escape(l, false) + " | ");
            let cells = format!("{label}data {} | grad {}", short(node.data), short(node.grad));
            out += &format!("  v{i} [shape=record, label=\"{{{cells}}}\"];\n");
            if let Some(op) = &node.op {
                out += &format!("  o{i} [label=\"{}\"];\n  o{i} -> v{i};\n", escape(op, false));
            }
        }
        for (from, to) in &self.edges {
            out += &format!("  v{from} -> o{to};\n");
        }
        out + "}\n"
    }

    /// The drawing as a stand-alone SVG, for light and dark pages alike. Resting the pointer on a
    /// box shows its data and gradient in full precision.
    ///
    /// # Panics
    /// If an edge does not lead from an earlier node to a later one that has an `op`.
    pub fn to_svg(&self) -> String {
        let Layout { points, columns, cell, width, height } = &Layout::new(self);
        let mut out = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' class='gradus' role='img' width='{width:.0}' \
             height='{height:.0}' viewBox='0 0 {width:.0} {height:.0}'>\n\
             <title>Expression graph of {} values</title>\n{HEAD}",
            self.nodes.len()
        );
        for (p, to) in points.iter().enumerate() {
            // The arrows of one operation end side by side, in the order in which they come in.
            let mut sources = to.links[0].clone();
            sources.sort_by(|&a, &b| points[a].y.total_cmp(&points[b].y));
            let step = f64::min(8.0, 20.0 / (sources.len() - 1.min(sources.len())) as f64);
            let slack = if sources.len() == 2 { step / 2.0 } else { 0.0 };
            for (k, &source) in sources.iter().enumerate() {
                let (x, y) = (columns[points[source].column].right, points[source].y);
                // Two lines from the same value to the same operation bend apart.
                let bend = match (sources.get(k + 1), k > 0 && sources[k - 1] == source) {
                    (Some(&next), _) if next == source => -20.0,
                    (_, again) => if again { 20.0 } else { 0.0 },
                };
                let port = step * (k as f64 - (sources.len() - 1) as f64 / 2.0);
                let port = (y - to.y + bend).clamp(port - slack, port + slack);
                let (column, end_y) = (&columns[to.column], to.y + port);
                let rim = RADIUS - (RADIUS * RADIUS - port * port).sqrt();
                let (end, tail) = if p < self.nodes.len() {
                    (column.left + rim, "' marker-end='url(#gradus-arrow)'/>".to_string())
                } else {
                    (column.left, format!("H{:.1}'/>", column.right))
                };
                let (middle, y1, y2) = ((x + end) / 2.0, y + bend, end_y + bend / 2.0);
                _ = writeln!(out, "<path class='line' d='M{x:.1} {y:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {end:.1} {end_y:.1}{tail}");
            }
        }
        for (node, point) in self.nodes.iter().zip(points) {
            let column = &columns[point.column];
            node.draw(&mut out, column.right - column.left, *cell, (column.right, point.y));
        }
        out + "</svg>\n"
    }
}

impl DiagramNode {
    fn name(&self) -> (String, f64) {
        self.label.as_ref().map_or((String::new(), 0.0), |l| clipped(l))
    }

    /// The box, its sign and the short arrow between them; the origin is the right end of the box.
    fn draw(&self, out: &mut String, column: f64, cell: f64, (x, y): (f64, f64)) {
        let (name, w) = self.name();
        let box_x = -w - 2.0 * cell;
        let class = if self.op.is_none() { "leaf" } else { "node" };
        _ = write!(out, "<g class='{class}' transform='translate({x:.1} {y:.1})'><title>{}\ndata {:?}\ngrad {:?}</title>", escape(self.label.as_deref().unwrap_or(""), true), self.data, self.grad);
        if let Some(op) = &self.op {
            let (op, w) = clipped(op);
            let (w, x) = (w.max(2.0 * RADIUS), -column);
            _ = write!(out, "<path class='line' d='M{x:.1} 0H{box_x:.1}' marker-end='url(#gradus-arrow)'/>\
                <rect class='op' x='{x:.1}' y='-{RADIUS}' width='{w:.1}' height='26' rx='{RADIUS}'/>\
                <text class='bold' x='{:.1}' y='4' text-anchor='middle'>{op}</text>", x + w / 2.0);
        }
        _ = write!(out, "<rect class='box' x='{box_x:.1}' y='-{HALF_BOX}' width='{:.1}' height='30' rx='5'/>", -box_x);
        if w > 0.0 {
            _ = write!(out, "<path class='box' d='M{:.1} -{HALF_BOX}v30'/><text class='bold' x='{:.1}' y='4'>{name}</text>", -2.0 * cell, box_x + PAD);
        }
        _ = write!(out, "<path class='box' d='M{:.1} -{HALF_BOX}v30'/>", -cell);
        for (x, key, number) in [(-2.0 * cell, "data", self.data), (-cell, "grad", self.grad)] {
            _ = write!(out, "<text class='key' x='{:.1}' y='4'>{key}</text><text class='end' x='{:.1}' y='4'>{}</text>", x + PAD, x + cell - PAD, short(number));
        }
        *out += "</g>\n";
    }
}

/// A place in a column: point `i` is node `i`, and after the nodes come the points of the lanes.
#[derive(Clone)]
struct Point {
    column: usize,
    y: f64,
    half: f64,
    /// What it is connected to on the left and on the right.
    links: [Vec<usize>; 2],
}

#[derive(Clone, Default)]
struct Column {
    /// From top to bottom.
    members: Vec<usize>,
    left: f64,
    right: f64,
}

#[derive(Clone)]
struct Layout {
    points: Vec<Point>,
    columns: Vec<Column>,
    cell: f64,
    width: f64,
    height: f64,
}

impl Layout {
    fn new(diagram: &Diagram) -> Self {
        let n = diagram.nodes.len();
        // Step 1. An edge that goes to an earlier node would break the only loop there is.
        let (mut rank, mut first, mut last) = (vec![0; n], vec![usize::MAX; n], vec![0; n]);
        let mut edges = diagram.edges.clone();
        edges.sort_by_key(|&(_, to)| to);
        for &(a, b) in &edges {
            assert!(a < b && diagram.nodes[b].op.is_some(), "edge {a} -> {b}: an operand comes before its result");
            rank[b] = rank[b].max(rank[a] + 1);
        }
        if std::env::var("ALAP").is_ok() {
        for &(a, b) in edges.iter().rev() {
            first[a] = first[a].min(if first[b] == usize::MAX {rank[b]} else {rank[b] = first[b] - 1; rank[b]});
        }
        for v in 0..n { if first[v] != usize::MAX {rank[v] = first[v] - 1} }
        } else {
        for &(a, b) in &edges {
            first[a] = first[a].min(rank[b]);
        }
        for v in 0..n { if diagram.nodes[v].op.is_none() && first[v] != usize::MAX { rank[v] = first[v] - 1; } }
        }
        for &(a, b) in &edges {
            last[a] = last[a].max(rank[b]);
        }

        // Step 2. A thousand values that are used a thousand columns later would need half a
        // million points: beyond a limit, lines go straight through.
        let point = |column, half| Point { column, y: 0.0, half, links: [Vec::new(), Vec::new()] };
        let mut points: Vec<Point> = rank.iter().map(|&r| point(r, HALF_BOX)).collect();
        let mut lanes = vec![0..0; n];
        for v in 0..n {
            if last[v] > rank[v] + 1 && points.len() < 1000 + 20 * n {
                lanes[v] = points.len()..points.len() + last[v] - rank[v] - 1;
                points.extend((rank[v] + 1..last[v]).map(|column| point(column, 0.0)));
                edges.push((v, lanes[v].start));
                edges.extend(lanes[v].clone().skip(1).map(|p| (p - 1, p)));
            }
        }
        for (a, b) in edges {
            let lane = lanes.get(a).filter(|lane| b < n && !lane.is_empty() && rank[b] > rank[a] + 1);
            let a = lane.map_or(a, |lane| lane.start + rank[b] - rank[a] - 2);
            points[a].links[1].push(b);
            points[b].links[0].push(a);
        }
        let mut columns = vec![Column::default(); rank.iter().max().map_or(0, |r| r + 1)];
        for (p, point) in points.iter().enumerate() {
            columns[point.column].members.push(p);
        }

        let mut layout = Layout { points, columns, cell: 0.0, width: 0.0, height: 0.0 };
        let mut best = (usize::MAX, layout.clone());
        for round in 0..24 {
            layout.sweep(round, Step::Order);
            let crossings = layout.crossings();
            if crossings < best.0 {
                best = (crossings, layout.clone());
            }
        }
        let mut layout = best.1;
        (0..60).for_each(|round| layout.sweep(round, Step::Heights));
        (0..4).for_each(|round| layout.sweep(round, Step::Straighten));
        layout.measure(&diagram.nodes);
        layout
    }

    /// Steps 3 and 4: one walk over the columns, from right to left or back.
    fn sweep(&mut self, round: usize, step: Step) {
        let n = self.columns.len();
        for i in 0..n {
            let c = if round % 2 == 0 { n - 1 - i } else { i };
            let side = 1 - round % 2;
            let sides = if step == Step::Order { side..side + 1 } else { 0..2 };
            let wish = |&p: &usize| {
                let point = &self.points[p];
                let (mut sum, mut weight) = (1e-6 * point.y, 1e-6);
                for &q in point.links[sides.clone()].iter().flatten() {
                    // Lanes should be straight above all.
                    let other = &self.points[q];
                    let w = [1.0, 2.0, 8.0][(point.half == 0.0) as usize + (other.half == 0.0) as usize];
                    sum += w * other.y;
                    weight += w;
                }
                let wish = sum / weight;
                let ys = point.links[side].iter().map(|&q| self.points[q].y);
                let near = ys.min_by(|a, b| (a - wish).abs().total_cmp(&(b - wish).abs()));
                match near {
                    Some(y) if step == Step::Straighten && (point.half == 0.0 || point.links[side].len() == 1 && (y - wish).abs() < 12.0) => (y, 1e3, p),
                    _ => (wish, weight, p),
                }
            };
            let mut wishes: Vec<_> = self.columns[c].members.iter().map(wish).collect();
            if step == Step::Order {
                wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.columns[c].members = wishes.iter().map(|w| w.2).collect();
            }
            self.place(&wishes);
        }
    }

    /// Puts the members of a column where they wish to be (height and weight), as nearly as their
    /// order and their sizes allow: the least sum of weighted squares. Members that would overlap
    /// join to a block that settles at its mean wish ("pool adjacent violators").
    fn place(&mut self, wishes: &[(f64, f64, usize)]) {
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        let (mut below, mut offset) = (0.0, 0.0);
        let mut offsets = Vec::new();
        for &(wish, weight, p) in wishes {
            offset += below + self.points[p].half;
            below = self.points[p].half + 16.0;
            offsets.push(offset);
            let mut block = (wish - offset, weight, 1);
            while let Some((y, w, count)) = blocks.pop_if(|b| b.0 >= block.0) {
                let weight = w + block.1;
                block = ((y * w + block.0 * block.1) / weight, weight, count + block.2);
            }
            blocks.push(block);
        }
        let settled = blocks.iter().flat_map(|b| std::iter::repeat_n(b.0, b.2));
        for ((y, offset), &(_, _, p)) in settled.zip(offsets).zip(wishes) {
            self.points[p].y = y + offset;
        }
    }

    /// The pairs of lines whose left ends are in one order and whose right ends are in the other.
    fn crossings(&self) -> usize {
        let mut count = 0;
        for column in &self.columns {
            let mut ends: Vec<f64> = Vec::new();
            for &p in &column.members {
                let mut own: Vec<f64> = self.points[p].links[1].iter().map(|&q| self.points[q].y).collect();
                own.sort_by(f64::total_cmp);
                for y in own {
                    let at = ends.partition_point(|&e| e <= y);
                    count += ends.len() - at;
                    ends.insert(at, y);
                }
            }
        }
        count
    }

    /// Where the columns begin and end, and the size of the whole.
    fn measure(&mut self, nodes: &[DiagramNode]) {
        let top = self.points.iter().map(|p| p.y - p.half).fold(f64::INFINITY, f64::min);
        self.points.iter_mut().for_each(|p| p.y += MARGIN - top);
        self.height = self.points.iter().map(|p| p.y + p.half).fold(0.0, f64::max) + MARGIN;
        let digits = nodes.iter().flat_map(|v| [v.data, v.grad]).map(|x| short(x).len()).max();
        self.cell = LETTER * (5 + digits.unwrap_or(0)) as f64 + 2.0 * PAD;
        self.width = MARGIN;
        for column in &mut self.columns {
            let (mut name, mut sign, mut drop) = (0.0, 0.0, 0.0);
            for &p in &column.members {
                name = f64::max(name, nodes.get(p).map_or(0.0, |v| v.name().1));
                let op = nodes.get(p).and_then(|v| v.op.as_ref());
                sign = f64::max(sign, op.map_or(0.0, |op| clipped(op).1.max(2.0 * RADIUS) + 20.0));
                for &q in &self.points[p].links[1] {
                    drop = f64::max(drop, (self.points[p].y - self.points[q].y).abs());
                }
            }
            column.left = self.width;
            column.right = self.width + sign + name + 2.0 * self.cell;
            // Steep lines need room to turn.
            self.width = column.right + (32.0 + 0.15 * drop).min(120.0);
        }
        self.width = self.columns.last().map_or(0.0, |c| c.right) + MARGIN;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Order,
    Heights,
    Straighten,
}

/// Four decimals as in micrograd, or powers of ten where those would say little.
fn short(x: f64) -> String {
    if x == 0.0 {
        "0.0000".into() // and not "-0.0000"
    } else if !x.is_finite() || (1e-3..1e6).contains(&x.abs()) {
        format!("{x:.4}")
    } else {
        format!("{x:.4e}")
    }
}

/// A label as a cell shows it, cut if it is long, and the width of the cell.
fn clipped(label: &str) -> (String, f64) {
    let mut text: String = label.chars().take(24).collect();
    if text.len() < label.len() {
        text.push('…');
    }
    let letters: f64 = text.chars().map(|c| if c < '\u{1100}' { 1.0 } else { 2.0 }).sum();
    (escape(&text, true), LETTER * letters + 2.0 * PAD)
}

/// Text for XML, or for a record of Graphviz, to which bars, braces and entities mean something.
fn escape(text: &str, xml: bool) -> String {
    let one = |c| match c {
        '&' => "&amp;".into(),
        '<' if xml => "&lt;".into(),
        '>' if xml => "&gt;".into(),
        '"' | '\\' | '|' | '{' | '}' | '<' | '>' if !xml => format!("\\{c}"),
        '\u{fffe}' | '\u{ffff}' => "\u{fffd}".into(),
        c if c.is_control() => "\u{fffd}".into(),
        c => String::from(c),
    };
    text.chars().map(one).collect()
}
