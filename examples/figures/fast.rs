//! The fast engine: its tape, and a tile of a matrix product.

use anyhow::{Result, ensure};
use gradus::Engine;
use gradus::fast::FastEngine;
use gradus::model::{Mode, Model};
use gradus::thread_pool::ThreadPool;
use support::svg::{Point, Svg};

use crate::trained::Trained;

/// What the operations after the parameters are for.
const ROLES: [&str; 20] = [
    "token embeddings",
    "position embeddings",
    "their sum: x",
    "x, normalised",
    "norm before attention",
    "queries",
    "keys",
    "values",
    "attention",
    "output",
    "added to x",
    "norm before the MLP",
    "up",
    "ReLU",
    "down",
    "added to x",
    "logits",
    "loss of each token",
    "weight of each token",
    "mean loss",
];

/// The tape of the fast engine after a step: every node with its buffers, drawn to scale.
pub fn tape(trained: &Trained, name: &str) -> Result<String> {
    const LEFT: f64 = 388.0;
    const ROW: f64 = 20.0;
    const TOP: f64 = 74.0;
    let batch = trained.batch(name)?;
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let params: Vec<f32> = trained.params.iter().map(|&x| x as f32).collect();
    let mut gradient = vec![0.0; trained.model.layout().trainable_len()];
    engine.gradient(&trained.model, &params, &batch, Mode::default(), &mut gradient);
    let tape = engine.tape();
    let first = trained.model.layout().specs().len();
    let nodes = &tape[first..];
    ensure!(nodes.len() == ROLES.len(), "a tape of {} nodes, not of {first} and {}", tape.len(), ROLES.len());
    let (data, saved) = nodes.iter().fold((0, 0), |(d, s), node| (d + node.data, s + node.saved));
    let most = nodes.iter().map(|node| node.data + node.saved).max().unwrap_or(1);
    let scale = 230.0 / most as f64;
    let mut svg = Svg::new(
        720.0,
        TOP + ROW * (nodes.len() + 1) as f64 + 40.0,
        "The tape of the fast engine after one name",
        &format!(
            "{} nodes: {first} parameters, which are read where they lie, and {} results. Each result has a \
             buffer of its own, in all {data} numbers, and some keep more for backward, in all {saved}. The \
             largest is attention, which keeps its probabilities. The next step writes into the same buffers.",
            tape.len(),
            nodes.len()
        ),
    );
    svg.text((44.0, 26.0), "small faint end", "place");
    svg.text((64.0, 26.0), "small faint", "what");
    svg.text((228.0, 26.0), "small faint", "operation");
    svg.text((LEFT - 12.0, 26.0), "small faint end", "shape");
    svg.rect("c0", (LEFT, 17.0), (12.0, 12.0), 2.0);
    svg.text((LEFT + 18.0, 27.0), "small", &format!("result ({data})"));
    svg.rect("c1", (LEFT + 166.0, 17.0), (12.0, 12.0), 2.0);
    svg.text((LEFT + 184.0, 27.0), "small", &format!("kept for backward ({saved})"));
    let y = 44.0;
    svg.text((44.0, y + 14.0), "code end", &format!("0-{}", first - 1));
    svg.text((64.0, y + 14.0), "", "parameters");
    svg.text((LEFT, y + 14.0), "small faint", "read where they lie, in one flat buffer");
    svg.text((228.0, y + 14.0), "code faint", "Param");
    for (at, (node, role)) in nodes.iter().zip(ROLES).enumerate() {
        let y = TOP + ROW * at as f64;
        svg.text((44.0, y + 14.0), "code end", &(first + at).to_string());
        svg.text((64.0, y + 14.0), "", role);
        svg.text((228.0, y + 14.0), "code faint", &node.op);
        let (rows, cols) = node.shape;
        svg.text((LEFT - 12.0, y + 14.0), "code end", &format!("[{rows}, {cols}]"));
        let (data, saved) = (node.data as f64 * scale, node.saved as f64 * scale);
        svg.rect("c0", (LEFT, y + 3.0), (data, 12.0), 1.0);
        if node.saved > 0 {
            svg.rect("c1", (LEFT + data + 1.0, y + 3.0), (saved, 12.0), 1.0);
        }
        let count = match node.saved {
            0 => node.data.to_string(),
            saved => format!("{} + {saved}", node.data),
        };
        svg.text((LEFT + data + saved + 8.0, y + 14.0), "small faint", &count);
    }
    let (top, bottom) = (TOP + 4.0, TOP + ROW * nodes.len() as f64);
    svg.arrow(&[(12.0, top), (12.0, bottom)]);
    svg.text(
        (20.0, bottom + 30.0),
        "small faint",
        "forward goes down and fills the buffers, backward goes up; the next step fills the same ones again",
    );
    Ok(svg.finish())
}

/// One tile of a matrix product: what stays in registers, and what is read for it.
pub fn tile() -> String {
    const ROWS: usize = 14;
    const LANES: usize = 16;
    let mut svg = Svg::new(
        720.0,
        432.0,
        "A tile of a matrix product",
        "On the left the product C = A · B. A tile of C, 14 rows high and 32 columns wide, needs 14 rows of A \
         and 32 columns of B. On the right the tile itself: 14 rows of two vectors of 16 numbers, which stay in \
         28 registers. Each step of the depth reads a column of 14 numbers of A and a row of two vectors of B, \
         and does 28 multiply-adds of vectors.",
    );
    // The whole product. B lies above C, and A to its left.
    let (a, b, c): (Point, Point, Point) = ((24.0, 168.0), (106.0, 56.0), (106.0, 168.0));
    let (tall, wide, deep) = (206.0, 166.0, 66.0);
    svg.rect("plain", a, (deep, tall), 0.0);
    svg.rect("plain", (b.0, b.1 + 22.0), (wide, deep), 0.0);
    svg.rect("plain", c, (wide, tall), 0.0);
    svg.rect("c2", (a.0, a.1 + 80.0), (deep, 12.0), 0.0);
    svg.rect("c1", (b.0 + 70.0, b.1 + 22.0), (22.0, deep), 0.0);
    svg.rect("c0", (c.0 + 70.0, c.1 + 80.0), (22.0, 12.0), 0.0);
    svg.text((a.0, a.1 - 8.0), "head", "A");
    svg.text((a.0, a.1 + tall + 16.0), "small faint", "[2048, 128]");
    svg.text((b.0, b.1 + 14.0), "head", "B");
    svg.text((b.0 + 16.0, b.1 + 14.0), "small faint", "[128, 512]");
    svg.text((c.0, c.1 + tall + 16.0), "small faint", "C = A · B   [2048, 512]");
    // The tile.
    let (x, y, side) = (378.0, 128.0, 10.0);
    let wide = (2 * LANES) as f64 * side;
    let tall = ROWS as f64 * side * 1.6;
    svg.line("grid", &[(c.0 + 92.0, c.1 + 80.0), (x, y)]);
    svg.line("grid", &[(c.0 + 92.0, c.1 + 92.0), (x, y + tall)]);
    for row in 0..ROWS {
        let here = y + row as f64 * side * 1.6;
        svg.rect("c2", (x - 34.0, here + 1.0), (14.0, side * 1.6 - 2.0), 1.0);
        for vector in 0..2 {
            let left = x + (vector * LANES) as f64 * side;
            svg.rect("c0", (left + 1.0, here + 1.0), (LANES as f64 * side - 2.0, side * 1.6 - 2.0), 2.0);
        }
    }
    for vector in 0..2 {
        let left = x + (vector * LANES) as f64 * side;
        svg.rect("c1", (left + 1.0, y - 34.0), (LANES as f64 * side - 2.0, side * 1.6 - 2.0), 2.0);
    }
    svg.text((x + wide / 2.0, y - 42.0), "small middle", "a row of B: 2 vectors of 16 numbers");
    svg.text(
        (x + wide / 2.0, y + tall + 22.0),
        "small middle",
        "the tile: 14 rows of 2 vectors, in 28 registers",
    );
    svg.text((x - 27.0, y - 8.0), "small middle", "14 of A");
    svg.text(
        (x - 36.0, y + tall + 50.0),
        "faint small",
        "one step of the depth reads 14 numbers and 2 vectors,",
    );
    svg.text((x - 36.0, y + tall + 66.0), "faint small", "and does 28 multiply-adds of vectors");
    svg.text((24.0, 28.0), "head", "the product");
    svg.text((x - 36.0, 28.0), "head", "one step of a tile");
    svg.finish()
}
