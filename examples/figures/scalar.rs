//! The scalar engine: the chain rule on a tape, and the memory of a graph.

use gradus::scalar::Arena;
use support::svg::Svg;

use crate::thousands;
use crate::trained::Trained;

/// `y = (a + b) * b` in the order of creation. Above, what is made from what; below, the way back.
pub fn chain_rule() -> String {
    const WIDTH: f64 = 130.0;
    const TOP: f64 = 108.0;
    const HEIGHT: f64 = 62.0;
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b) = (graph.value(2.0), graph.value(3.0));
    let c = a + b;
    let y = c * b;
    y.backward();
    let values = [("a", a), ("b", b), ("c = a + b", c), ("y = c * b", y)];
    let left = |at: usize| 30.0 + 177.0 * at as f64;
    let port = |at: usize, share: f64| left(at) + WIDTH * share;
    let mut svg = Svg::new(
        720.0,
        292.0,
        "Backward along the order of creation",
        "Four numbers in the order in which they were made: a = 2, b = 3, c = a + b = 5, y = c * b = 15. \
         Backward goes from y to the left. y adds 1 * b = 3 to the gradient of c and 1 * c = 5 to that of b; c \
         adds 3 to b and 3 to a. In the end the gradients are 3, 8, 3 and 1.",
    );
    svg.text((30.0, 24.0), "faint small", "forward: each number is made from older ones");
    svg.text(
        (30.0, 278.0),
        "faint small",
        "backward: from the newest to the oldest, each adds to the gradients of its operands",
    );
    for (at, (name, value)) in values.into_iter().enumerate() {
        let class = if at < 2 { "blue" } else { "plain" };
        svg.rect(class, (left(at), TOP), (WIDTH, HEIGHT), 6.0);
        let middle = left(at) + WIDTH / 2.0;
        svg.text((middle, TOP + 24.0), "code middle", name);
        svg.text((middle - 14.0, TOP + 46.0), "end", &value.data().to_string());
        svg.text((middle + 2.0, TOP + 46.0), "t1", &format!("grad {}", value.grad()));
    }
    // From, to, where on each box, and how high.
    for (from, to, start, end, bend) in [
        (0, 2, 0.5, 0.25, -70.0),
        (1, 2, 0.75, 0.5, -40.0),
        (2, 3, 0.75, 0.75, -40.0),
        (1, 3, 0.5, 0.5, -70.0),
    ] {
        svg.arc("", (port(from, start), TOP), (port(to, end), TOP - 1.0), bend);
    }
    let bottom = TOP + HEIGHT;
    // The same, with the gradient that is passed on and the slope.
    for (from, to, start, end, bend, grad, slope) in [
        (3, 2, 0.3, 0.75, 40.0, y.grad(), b.data()),
        (3, 1, 0.6, 0.6, 92.0, y.grad(), c.data()),
        (2, 1, 0.3, 0.8, 40.0, c.grad(), 1.0),
        (2, 0, 0.5, 0.5, 92.0, c.grad(), 1.0),
    ] {
        let label = format!("+ {grad} · {slope}");
        let (from, to) = ((port(from, start), bottom), (port(to, end), bottom + 1.0));
        svg.arc("warm", from, to, bend);
        svg.text(((from.0 + to.0) / 2.0, bottom + bend * 0.75 - 5.0), "t1 middle", &label);
    }
    svg.finish()
}

/// How much of the arena the graphs of the first names fill.
pub fn arena(trained: &Trained) -> String {
    const LEFT: f64 = 104.0;
    const ROW: f64 = 27.0;
    const TOP: f64 = 52.0;
    let params = trained.params.len();
    let most = trained.nodes.iter().map(|(_, nodes)| *nodes).max().unwrap_or(params);
    let x = |count: usize| LEFT + 540.0 * count as f64 / most as f64;
    let bottom = TOP + ROW * trained.nodes.len() as f64;
    let said: Vec<_> =
        trained.nodes.iter().map(|(name, nodes)| format!("{name} {}", thousands(*nodes))).collect();
    let description = format!(
        "The first steps of a training. Each graph begins at the start of the same memory with the {} parameters, \
         followed by what is computed from them. Numbers in all: {}.",
        thousands(params),
        said.join(", ")
    );
    let mut svg =
        Svg::new(720.0, bottom + 34.0, "Every step fills the same memory from its start", &description);
    svg.rect("c0", (LEFT, 17.0), (12.0, 12.0), 2.0);
    svg.text((LEFT + 18.0, 27.0), "small", &format!("the {} parameters", thousands(params)));
    svg.rect("p0", (LEFT + 170.0, 17.0), (12.0, 12.0), 2.0);
    svg.text((LEFT + 188.0, 27.0), "small", "computed for this name");
    svg.rect("plain", (LEFT + 350.0, 17.0), (12.0, 12.0), 2.0);
    svg.text((LEFT + 368.0, 27.0), "small", "kept, but not in use");
    let mut kept = 0;
    for (at, (name, nodes)) in trained.nodes.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        kept = kept.max(*nodes);
        svg.text((LEFT - 10.0, y + 14.0), "end", name);
        svg.rect("plain", (LEFT, y), (x(kept) - LEFT, 19.0), 2.0);
        svg.rect("c0", (LEFT, y), (x(params) - LEFT, 19.0), 2.0);
        svg.rect("p0", (x(params) + 1.0, y), (x(*nodes) - x(params) - 1.0, 19.0), 2.0);
        svg.text((x(most) + 10.0, y + 14.0), "small", &thousands(*nodes));
    }
    svg.text((LEFT, bottom + 18.0), "faint small", "0");
    svg.text((x(most), bottom + 18.0), "faint small end", "numbers in the graph");
    svg.finish()
}
