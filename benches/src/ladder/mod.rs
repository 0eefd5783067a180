//! The ladder: from the autograd graph as most people write it first to the fastest engine of the library, one change at a
//! time.
//!
//! Every rung trains the same model, which is the library's, on the same names from the same initial parameters, and gets
//! the same losses. Start with `scalar_graph.rs`, what a rung has to provide. `graph.rs` is a graph in exchangeable parts,
//! and each file of the next seven rungs exchanges one of them. `hot_cold.rs` and `blocks/` are graphs of their own.

pub mod blocks;
mod creation_order;
#[path = "../../../tests/common/default_bodies.rs"] // shared with tests/parity.rs
mod default_bodies;
mod direct_ops;
mod dot_runs;
mod engine;
mod generation_counter;
mod graph;
mod hot_cold;
mod intrusive;
mod matrix;
mod naive;
mod nary;
mod one_arena;
mod operators;
mod scalar_graph;
mod small_node;
mod sort;
mod unfused;
mod workload;

use anyhow::Result;
use gradus::fast::FastEngine;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;

use blocks::BlocksEngine;
use creation_order::CreationOrder;
use direct_ops::DirectOps;
use dot_runs::RunOfDots;
use engine::GraphEngine;
use generation_counter::GenerationCounter;
use graph::NodeArena;
use hot_cold::HotColdArena;
use intrusive::Intrusive;
use naive::Naive;
use nary::Nary;
use one_arena::OneArena;
use small_node::SmallNode;
use unfused::Unfused;
pub use workload::{DynTrainer, NamesWorkload, STEPS};

/// One rung of the ladder.
pub struct Rung {
    /// Its name.
    pub name: &'static str,
    /// What changed since the rung before, in at most eight words.
    pub short: &'static str,
    /// What changed, and why that helps, or why it does not.
    pub change: &'static str,
    /// Names in a step.
    pub batch: usize,
    /// Whether it computes in `f64` (or else in `f32`).
    pub double: bool,
    /// The files that it is made of, as [`lines::count`](crate::lines::count) takes them.
    pub sources: &'static str,
    /// Makes a trainer before its first step.
    pub new_trainer: fn(&NamesWorkload) -> Result<Box<dyn DynTrainer>>,
}

/// A trainer on a default engine of this type.
fn trainer<E: gradus::Engine + workload::NodeCount + Default + 'static>(
    workload: &NamesWorkload,
) -> Result<Box<dyn DynTrainer>> {
    Ok(Box::new(workload.trainer(workload.model(WIDTH)?, E::default())))
}

fn unfused_trainer(workload: &NamesWorkload) -> Result<Box<dyn DynTrainer>> {
    Ok(Box::new(workload.trainer(Unfused(workload.model(WIDTH)?), fast())))
}

fn fast_trainer(workload: &NamesWorkload) -> Result<Box<dyn DynTrainer>> {
    Ok(Box::new(workload.trainer(workload.model(WIDTH)?, fast())))
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// The embedding width of microgpt.
const WIDTH: usize = 16;

/// From the bottom up.
pub const RUNGS: &[Rung] = &[
    Rung {
        name: "naive graph",
        short: "nodes point at operands; sort with a `HashSet`",
        change: "nodes in an arena point at their operands; a depth-first sort with a `HashSet` of visited addresses; \
                 `-a` is `a·-1`, `a/b` is `a·b⁻¹`",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph sort naive",
        new_trainer: trainer::<GraphEngine<NodeArena<Naive>>>,
    },
    Rung {
        name: "generation counter",
        short: "a visited mark in each node, no set",
        change: "each node stores the number of the pass that visited it: no hashing, no set that grows, nothing to clear",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph sort naive#arena naive#slopes naive#derived \
                  generation_counter",
        new_trainer: trainer::<GraphEngine<NodeArena<GenerationCounter>>>,
    },
    Rung {
        name: "direct neg, sub, div",
        short: "one node instead of two or three",
        change: "one node instead of two or three. Gains little here: nearly all nodes are products and sums",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph sort naive#arena naive#slopes \
                  generation_counter direct_ops",
        new_trainer: trainer::<GraphEngine<NodeArena<DirectOps>>>,
    },
    Rung {
        name: "one arena",
        short: "reset between steps, not freed and allocated again",
        change: "reset between steps, not freed and allocated again. Gains little: the allocator kept the memory at hand",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph sort naive#slopes generation_counter \
                  direct_ops one_arena",
        new_trainer: trainer::<GraphEngine<NodeArena<OneArena>>>,
    },
    Rung {
        name: "no lists in backward",
        short: "the sort links the nodes: no vectors",
        change: "the sort's stack and result are linked lists through the nodes: no vector grows or is copied, and less is \
                 written",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph naive#slopes direct_ops one_arena intrusive",
        new_trainer: trainer::<GraphEngine<NodeArena<Intrusive>>>,
    },
    Rung {
        name: "smaller node",
        short: "stores the operation, not its slopes",
        change: "the operation instead of two slopes: 56 bytes, not 64. Computing the slopes takes instructions, but less \
                 time than waiting for memory did",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph direct_ops one_arena intrusive small_node",
        new_trainer: trainer::<GraphEngine<NodeArena<SmallNode>>>,
    },
    Rung {
        name: "n-ary sum and dot",
        short: "a whole dot product is one node",
        change: "a dot product is one node, not a chain of products and sums: 7.5 times fewer nodes, and no partial sums \
                 to store and read again",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph direct_ops one_arena intrusive small_node nary",
        new_trainer: trainer::<GraphEngine<NodeArena<Nary>>>,
    },
    Rung {
        name: "creation order",
        short: "no sort: operands are older than results",
        change: "no sort: operands are older than their result, so creation order in reverse will do; and nodes without a \
                 gradient are skipped",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine graph direct_ops one_arena small_node nary \
                  creation_order",
        new_trainer: trainer::<GraphEngine<NodeArena<CreationOrder>>>,
    },
    Rung {
        name: "hot and cold apart",
        short: "value and gradient in 16 bytes, operations elsewhere",
        change: "value and gradient, which every use touches, in 16 bytes, and the operation, read once, elsewhere: four \
                 times as many values in the first cache",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine direct_ops nary#derived hot_cold",
        new_trainer: trainer::<GraphEngine<HotColdArena>>,
    },
    Rung {
        name: "runs of dots",
        short: "one backward for a row's dot products",
        change: "dot products of one row share a backward, which writes the row's gradient once. Gains nothing yet: values \
                 found by pointers do not go into vector registers",
        batch: 1,
        double: true,
        sources: "scalar_graph matrix operators engine direct_ops nary#derived hot_cold dot_runs",
        new_trainer: trainer::<GraphEngine<HotColdArena<RunOfDots>>>,
    },
    Rung {
        name: "side by side: `scalar`",
        short: "numbers side by side; dots name two spans",
        change: "every number is a node, and numbers lie side by side in the order they were made: a dot product names two \
                 spans instead of many pointers, and goes through vector registers",
        batch: 1,
        double: true,
        sources: "/src/scalar/value.rs /src/scalar/arena.rs /src/scalar/matrix.rs /src/scalar/engine.rs",
        new_trainer: trainer::<ScalarEngine>,
    },
    Rung {
        name: "blocks",
        short: "a matrix shares one operation and one mark",
        change: "numbers made together share one record of their operation and one visited mark: one decision a matrix, \
                 not one a number, and the dot products of a row keep its gradient in registers",
        batch: 1,
        double: true,
        sources: "operators blocks/",
        new_trainer: trainer::<BlocksEngine>,
    },
    Rung {
        name: "whole matrices",
        short: "a node is a matrix, in `f32`",
        change: "a node is a matrix, in `f32`, and everything but products is still composed of small operations. Loses \
                 here: a matrix of a few dozen numbers costs more to manage than to compute",
        batch: 1,
        double: false,
        sources: MATRICES,
        new_trainer: unfused_trainer,
    },
    Rung {
        name: "fused: `fast`",
        short: "attention, normalisation and loss are one node each",
        change: "attention, normalisation and loss are one node each, with kernels for small matrices that keep a row in \
                 registers: 12.6 times fewer nodes, and little to store and read again",
        batch: 1,
        double: false,
        sources: FUSED,
        new_trainer: fast_trainer,
    },
    Rung {
        name: "16 names a step",
        short: "packed names share one step",
        change: "packed names share one pass through the tape and one step of Adam, and matrices become tall enough to \
                 keep the vector units busy",
        batch: 16,
        double: false,
        sources: FUSED,
        new_trainer: fast_trainer,
    },
];

/// The fast engine, without what only reads with stored weights.
const FUSED: &str = "/src/fast/ /src/gemm/ -/src/gemm/stored/ -/src/fast/inference.rs -/src/fast/weights.rs \
                     -/src/fast/attention/reading.rs";

/// The fast engine without its fused operations.
const MATRICES: &str = "/src/fast/engine.rs /src/fast/tape.rs /src/fast/matrix.rs /src/fast/backward.rs /src/fast/simd.rs \
                        /src/gemm/ -/src/gemm/stored/ /src/fast/ops/binary.rs /src/fast/ops/concat_cols.rs /src/fast/ops/concat_rows.rs \
                        /src/fast/ops/gather_rows.rs /src/fast/ops/matmul.rs /src/fast/ops/matmul_t.rs /src/fast/ops/pick.rs \
                        /src/fast/ops/row_sum.rs /src/fast/ops/slice_cols.rs /src/fast/ops/slice_rows.rs /src/fast/ops/unary.rs";
