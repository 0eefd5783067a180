//! A number that remembers: the first page of micrograd. Try `cargo run --example value`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use gradus::checkpoint::write_atomically;
use gradus::scalar::{Arena, Graph, Value};
use support::{Given, Program, say};

/// Calculates with numbers that remember how they were made, asks them for gradients, and draws them.
#[derive(Parser)]
struct Args {
    /// The folder for the drawings value.svg and neuron.svg
    #[arg(long, value_name = "DIR", default_value = "target")]
    svg: PathBuf,
    /// Print both as Graphviz text too
    #[arg(long)]
    dot: bool,
}

// ANCHOR: expression
/// The expression in micrograd's README. It means nothing; it only uses most of the operations.
fn expression<'g>(a: Value<'g>, b: Value<'g>) -> Value<'g> {
    let mut c = a + b;
    let mut d = a * b + b.pow(3.0);
    c = c + c + 1.0;
    c = c + 1.0 + c + (-a);
    d = d + d * 2.0 + (b + a).relu();
    d = d + 3.0 * d + (b - a).relu();
    let e = c.label("c") - d.label("d");
    let f = e.label("e").pow(2.0);
    f.label("f") / 2.0 + 10.0 / f
}
// ANCHOR_END: expression

// ANCHOR: neuron
/// One neuron: it weighs what comes in, adds a bias of its own, and squashes the sum.
fn neuron<'g>(graph: &'g Graph<'g>) -> (Value<'g>, [Value<'g>; 5]) {
    let leaf = |name: &str, data: f64| graph.value(data).label(name);
    let [x1, x2] = [leaf("x1", 2.0), leaf("x2", 0.0)];
    let [w1, w2, b] = [leaf("w1", -3.0), leaf("w2", 1.0), leaf("b", 6.881373587019543)];
    let n = (x1 * w1 + x2 * w2 + b).label("n");
    (n.tanh().label("o"), [x1, w1, x2, w2, b])
}
// ANCHOR_END: neuron

impl Program for Args {
    fn run(&self, _: &Given) -> Result<()> {
        let mut arena = Arena::new();
        let graph = arena.graph();
        let (a, b) = (graph.value(-4.0).label("a"), graph.value(2.0).label("b"));
        let g = expression(a, b).label("g");
        g.backward(); // from here on, every value knows how much g would change with it
        say!("The expression: {} values.      micrograd says", graph.len());
        let known = [("g", g.data(), 24.7041), ("dg/da", a.grad(), 138.8338), ("dg/db", b.grad(), 645.5773)];
        for (name, found, known) in known {
            say!("  {name:5} = {found:8.4}             {known:8.4}");
            ensure!((found - known).abs() < 0.00005, "{name} is not what micrograd says");
        }
        self.draw(g, "value.svg")?;

        let (o, inputs) = neuron(arena.graph()); // in the same memory: `a`, `b` and `g` are gone
        o.backward();
        say!("The neuron: o = {:.4}", o.data());
        for (name, input) in ["x1", "w1", "x2", "w2", "b"].iter().zip(inputs) {
            say!("  {name:2} = {:7.4}   do/d{name:2} = {:7.4}", input.data(), input.grad());
        }
        self.draw(o, "neuron.svg")
    }
}

impl Args {
    /// Writes the picture of all that a value was made from.
    fn draw(&self, value: Value<'_>, name: &str) -> Result<()> {
        let path = self.svg.join(name);
        let diagram = value.diagram();
        write_atomically(&path, diagram.to_svg().as_bytes())?;
        say!("drawn: {}", path.display());
        if self.dot {
            say!("{}", diagram.to_dot().trim_end());
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    Args::start()
}
