//! The ladder: from the graph as everybody writes it first to the fastest engine of the library, one shortcut at a time.
//!
//! Every rung trains the same model, which is the library's, on the same names from the same weights, and its losses are
//! the same. Begin with `number.rs`, what a rung owes; `graph.rs` is an engine in exchangeable parts, and each further file
//! exchanges one of them.

pub mod blocks;
mod composed;
mod creation;
#[path = "../../../tests/common/default_bodies.rs"] // shared with tests/parity.rs
mod default_bodies;
mod direct;
mod engine;
mod generation;
mod graph;
mod layout;
mod naive;
mod nary;
mod number;
mod operators;
mod reset;
mod rows;
mod runs;
mod sort;
mod split;
mod task;
mod threaded;

use anyhow::Result;
use gradus::fast::FastEngine;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

use blocks::BlocksEngine;
use composed::Composed;
use engine::Ladder;
use graph::Pointers;
pub use task::{NamesTask, STEPS, TrainingRun};

/// One step of the ladder.
pub struct Rung {
    /// Its name.
    pub name: &'static str,
    /// What is other than in the rung before, and why that helps, or why it does not.
    pub change: &'static str,
    /// Names in a step.
    pub batch: usize,
    /// Whether its numbers have 64 bits.
    pub double: bool,
    /// The files that it is made of, as [`lines::count`](crate::lines::count) takes them.
    pub sources: &'static [&'static str],
    /// The model at its first step.
    pub start: fn(&NamesTask) -> Result<Box<dyn TrainingRun>>,
}

/// A trainer on an engine of its own.
fn start<E: gradus::Engine + task::Nodes + Default + 'static>(
    task: &NamesTask,
) -> Result<Box<dyn TrainingRun>> {
    Ok(Box::new(task.trainer(task.model(WIDTH)?, E::default())))
}

fn start_composed(task: &NamesTask) -> Result<Box<dyn TrainingRun>> {
    Ok(Box::new(task.trainer(Composed(task.model(WIDTH)?), fast())))
}

fn start_fast(task: &NamesTask) -> Result<Box<dyn TrainingRun>> {
    Ok(Box::new(task.trainer(task.model(WIDTH)?, fast())))
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// The width of microgpt.
const WIDTH: usize = 16;

/// From the bottom up.
pub const RUNGS: &[Rung] = &[
    Rung {
        name: "naive graph",
        change: "nodes in an arena point at their operands; a depth-first sort with a `HashSet` of visited addresses; \
                 `-a` is `a·-1`, `a/b` is `a·b⁻¹`",
        batch: 1,
        double: true,
        sources: &["number", "rows", "operators", "engine", "graph", "sort", "naive"],
        start: start::<Ladder<Pointers<naive::Naive>>>,
    },
    Rung {
        name: "generation counter",
        change: "each node carries the number of the pass that visited it: no hashing, no set that grows, nothing to wipe",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "sort",
            "naive#memory",
            "naive#origin",
            "naive#shortcuts",
            "generation",
        ],
        start: start::<Ladder<Pointers<generation::Generation>>>,
    },
    Rung {
        name: "direct neg, sub, div",
        change: "one node for what took two or three. Gains little here: nearly all nodes are products and sums",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "sort",
            "naive#memory",
            "naive#origin",
            "generation",
            "direct",
        ],
        start: start::<Ladder<Pointers<direct::Direct>>>,
    },
    Rung {
        name: "one arena",
        change: "reset between steps instead of given back and asked for again. Gains little: the allocator had kept it at hand",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "sort",
            "naive#origin",
            "generation",
            "direct",
            "reset",
        ],
        start: start::<Ladder<Pointers<reset::Reset>>>,
    },
    Rung {
        name: "no lists in backward",
        change: "the path and the order are threads through the nodes: nothing grows or is moved, and less is written",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "naive#origin",
            "direct",
            "reset",
            "threaded",
        ],
        start: start::<Ladder<Pointers<threaded::Threaded>>>,
    },
    Rung {
        name: "smaller node",
        change: "an operation instead of two slopes: 56 bytes, not 64. To find the slopes again takes instructions, but no \
                 longer than memory was waited for",
        batch: 1,
        double: true,
        sources: &["number", "rows", "operators", "engine", "graph", "direct", "reset", "threaded", "layout"],
        start: start::<Ladder<Pointers<layout::Layout>>>,
    },
    Rung {
        name: "n-ary sum and dot",
        change: "a dot product is one node and no chain of products and sums: 7.5 times fewer nodes, and no partial \
                 sums to store and read again",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "direct",
            "reset",
            "threaded",
            "layout",
            "nary",
        ],
        start: start::<Ladder<Pointers<nary::Nary>>>,
    },
    Rung {
        name: "creation order",
        change: "no sort: an operand is older than its result, so the order of creation, backward, will do; and what \
                 has no gradient hands none down",
        batch: 1,
        double: true,
        sources: &[
            "number",
            "rows",
            "operators",
            "engine",
            "graph",
            "direct",
            "reset",
            "layout",
            "nary",
            "creation",
        ],
        start: start::<Ladder<Pointers<creation::Creation>>>,
    },
    Rung {
        name: "hot and cold apart",
        change: "value and gradient, which every use touches, in 16 bytes, and the origin, read once, elsewhere: \
                 four times as many numbers in the first cache",
        batch: 1,
        double: true,
        sources: &["number", "rows", "operators", "engine", "direct", "nary#shortcuts", "split"],
        start: start::<Ladder<split::Split>>,
    },
    Rung {
        name: "runs of dots",
        change: "dot products of one row hand down together, its gradient written once. Gains nothing yet: numbers that \
                 are found by pointers do not go into vector registers",
        batch: 1,
        double: true,
        sources: &["number", "rows", "operators", "engine", "direct", "nary#shortcuts", "split", "runs"],
        start: start::<Ladder<split::Split<runs::Together>>>,
    },
    Rung {
        name: "side by side: `scalar`",
        change: "every number is a node, and numbers lie side by side in the order they were made: a dot product names \
                 two spans instead of many pointers, and goes through vector registers",
        batch: 1,
        double: true,
        sources: &[
            "/src/scalar/value.rs",
            "/src/scalar/made.rs",
            "/src/scalar/view.rs",
            "/src/scalar/backward.rs",
            "/src/scalar/matrix.rs",
            "/src/scalar/engine.rs",
        ],
        start: start::<ScalarEngine>,
    },
    Rung {
        name: "blocks",
        change: "numbers made together share one record of how they were made and one visited mark: one decision a \
                 matrix instead of one a number, and the dot products of a row keep its gradient in registers",
        batch: 1,
        double: true,
        sources: &["operators", "blocks/"],
        start: start::<BlocksEngine>,
    },
    Rung {
        name: "whole matrices",
        change: "a node is a matrix, in `f32`, and whatever is no product is still put together from small \
                 operations. Loses here: a matrix of a few dozen numbers costs more to look after than to compute",
        batch: 1,
        double: false,
        sources: MATRICES,
        start: start_composed,
    },
    Rung {
        name: "fused: `fast`",
        change: "attention, normalisation and loss are one node each, with kernels for small matrices that keep a row \
                 in registers: 12.6 times fewer nodes, and little to store and read again",
        batch: 1,
        double: false,
        sources: &["/src/fast/"],
        start: start_fast,
    },
    Rung {
        name: "16 names a step",
        change: "packed names share one pass through the tape and one step of Adam, and matrices become tall enough to \
                 keep the vector units busy",
        batch: 16,
        double: false,
        sources: &["/src/fast/"],
        start: start_fast,
    },
];

/// The fast engine without its fused operations.
const MATRICES: &[&str] = &[
    "/src/fast/engine.rs",
    "/src/fast/tape.rs",
    "/src/fast/matrix.rs",
    "/src/fast/matmul.rs",
    "/src/fast/gemm/",
    "/src/fast/elementwise.rs",
    "/src/fast/rows.rs",
    "/src/fast/backward.rs",
    "/src/fast/simd.rs",
];
