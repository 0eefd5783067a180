//! What operations and optimizers compute is what PyTorch computes.
//!
//! `golden/ops.json` holds, for each case, the inputs, the output, and the gradients that PyTorch found in `f64`;
//! `golden/optim.json` holds the weights after each step of its optimizers. The cases run on the scalar engine, through
//! an expression that any other engine can evaluate as well.

use std::collections::{BTreeMap, BTreeSet};

use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::tensor::{AttentionSpec, Bias, Buckets, Mask, Rotation, packed};
use gradus::{Tensor, UnaryOp};
use serde::Deserialize;

#[path = "common/engines.rs"]
mod engines;
#[path = "common/param_groups.rs"]
mod param_groups;

use engines::{Autograd, Expression, Numbers, OnScalar};
use param_groups::spec;

/// How far a number may be from PyTorch's, as a share of it.
const RELATIVE: f64 = 1e-12;

/// And how far where it is the small difference of two numbers of ordinary size, such as the gradient of a
/// normalised column: a few of the last digits of 1.
const ABSOLUTE: f64 = 1e-15;

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= RELATIVE * theirs.abs() + ABSOLUTE
}

#[derive(Deserialize)]
struct Golden<C> {
    cases: Vec<C>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    name: String,
    settings: Settings,
    inputs: BTreeMap<String, Matrix>,
    output: Matrix,
    upstream: Matrix,
    grads: BTreeMap<String, Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    eps: f64,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    base: f64,
    positions: Vec<usize>,
    q_lengths: Vec<usize>,
    kv_lengths: Vec<usize>,
    causal: bool,
    /// How many keys a query sees at most; 0 for all.
    window: usize,
    /// Of ALiBi, for each head.
    slopes: Vec<f64>,
    /// How many rows a table of relative positions has; 0 for none.
    buckets: usize,
    max_distance: usize,
    bidirectional: bool,
    scale: f64,
    targets: Vec<usize>,
    smoothing: f64,
}

impl Case {
    /// The names of the inputs in the order in which the expression takes them.
    fn operands(&self) -> &'static [&'static str] {
        match self.op.as_str() {
            "attention" if self.settings.buckets > 0 => &["q", "k", "v", "table"],
            "attention" => &["q", "k", "v"],
            "linear" => &["x", "weight"],
            "swiglu" | "glu" | "geglu" => &["gate", "up"],
            "layer_norm" if self.inputs.contains_key("gain") => &["x", "gain", "bias"],
            "rms_norm" if self.inputs.contains_key("gain") => &["x", "gain"],
            _ => &["x"],
        }
    }
}

impl Expression for Case {
    fn of<T: Tensor>(&self, x: &[T]) -> T {
        let s = &self.settings;
        match self.op.as_str() {
            "silu" => x[0].apply(UnaryOp::Silu),
            "relu" => x[0].apply(UnaryOp::Relu),
            "tanh" => x[0].apply(UnaryOp::Tanh),
            "sigmoid" => x[0].apply(UnaryOp::Sigmoid),
            "gelu" => x[0].apply(UnaryOp::Gelu),
            "gelu_tanh" => x[0].apply(UnaryOp::GeluTanh),
            "swiglu" => x[0].swiglu(x[1]),
            "glu" => x[0].glu(x[1]),
            "geglu" => x[0].geglu(x[1]),
            "softmax" => x[0].softmax(),
            "rms_norm" => x[0].rms_norm(x.get(1).copied(), s.eps),
            "layer_norm" => x[0].layer_norm(x.get(1).copied(), x.get(2).copied(), s.eps),
            "linear" => x[0].linear(x[1]),
            "sinusoids" => x[0] + x[0].sinusoids(&s.positions, x[0].shape().1),
            "rope" => x[0].rope(&s.positions, s.heads, Rotation::plain(s.base)),
            "attention" => {
                let Settings { buckets: count, max_distance, bidirectional, .. } = *s;
                let spec = AttentionSpec {
                    n_head: s.heads,
                    n_kv_head: s.kv_heads,
                    scale: s.scale,
                    mask: match (s.causal, s.window) {
                        (false, _) => Mask::Full,
                        (true, 0) => Mask::Causal,
                        (true, window) => Mask::Window(window),
                    },
                    bias: match x.get(3) {
                        Some(&table) => {
                            Some(Bias::Table(table, Buckets { count, max_distance, bidirectional }))
                        }
                        None if s.slopes.is_empty() => None,
                        None => Some(Bias::Alibi(&s.slopes)),
                    },
                    queries: &packed(&s.q_lengths),
                    keys: &packed(&s.kv_lengths),
                };
                assert_eq!(spec.head_dim(x[0], x[1], x[2]), s.head_dim);
                x[0].attention(x[1], x[2], spec)
            }
            "cross_entropy" => {
                let ones = vec![1.0; s.targets.len()];
                let loss_weights = self.inputs.get("weights").map_or(&ones, |weights| &weights.data);
                x[0].cross_entropy(&s.targets, s.smoothing).weighted_mean(loss_weights)
            }
            other => panic!("ops.json has a case of {other}, which is no operation here"),
        }
    }
}

/// Adds what differs to a list.
fn compare(wrong: &mut Vec<String>, what: &str, ours: (usize, usize, &[f64]), theirs: &Matrix) {
    assert_eq!((ours.0, ours.1), (theirs.rows, theirs.cols), "the shape of {what}");
    assert_eq!(ours.2.len(), theirs.data.len(), "the size of {what}");
    for (at, (&a, &b)) in ours.2.iter().zip(&theirs.data).enumerate() {
        if !close(a, b) {
            wrong.push(format!("{what}, number {at}: {a} instead of {b}"));
        }
    }
}

fn operations(engine: &mut impl Autograd) {
    let golden: Golden<Case> =
        serde_json::from_str(include_str!("golden/ops.json")).expect("ops.json parses");
    let ops: BTreeSet<&str> = golden.cases.iter().map(|case| case.op.as_str()).collect();
    let expected = [
        "attention",
        "cross_entropy",
        "geglu",
        "gelu",
        "gelu_tanh",
        "glu",
        "layer_norm",
        "linear",
        "relu",
        "rms_norm",
        "rope",
        "sigmoid",
        "silu",
        "sinusoids",
        "softmax",
        "swiglu",
        "tanh",
    ];
    assert!(ops.into_iter().eq(expected), "the operations in ops.json");

    let mut wrong = Vec::new();
    for case in &golden.cases {
        let operand = |name: &&str| {
            let Matrix { rows, cols, data } = &case.inputs[*name];
            Numbers { rows: *rows, cols: *cols, data: data.clone() }
        };
        let inputs: Vec<Numbers> = case.operands().iter().map(operand).collect();
        let outcome = engine.evaluate(case, &inputs, &|n| case.upstream.data[n]);
        let what = |part: &str| format!("{} {}, {part}", case.op, case.name);
        let output = &outcome.output;
        compare(&mut wrong, &what("output"), (output.rows, output.cols, &output.data), &case.output);
        assert_eq!(outcome.gradients.len(), case.grads.len(), "{}", what("the number of gradients"));
        for (name, gradient) in case.operands().iter().zip(&outcome.gradients) {
            let ours = (gradient.rows, gradient.cols, gradient.data.as_slice());
            compare(&mut wrong, &what(&format!("gradient of {name}")), ours, &case.grads[*name]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operations_of_the_scalar_engine() {
    operations(&mut OnScalar::default());
}

/// One run of an optimizer; other algorithms have other fields and are passed over.
#[derive(Deserialize)]
struct Run {
    settings: AdamRun,
    initial: BTreeMap<String, Matrix>,
    gradients: Vec<BTreeMap<String, Matrix>>,
    params: Vec<BTreeMap<String, Matrix>>,
}

#[derive(Deserialize)]
struct AdamRun {
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    #[serde(default)]
    decay_embeddings: bool,
    lrs: Vec<f64>,
}

/// All matrices one after another, as in a model's flat buffer.
fn flat(matrices: &BTreeMap<String, Matrix>) -> Vec<f64> {
    matrices.values().flat_map(|m| &m.data).copied().collect()
}

fn adam(algorithm: &str, name: &str) {
    let golden: Golden<serde_json::Value> =
        serde_json::from_str(include_str!("golden/optim.json")).expect("optim.json parses");
    let mut runs = golden.cases.into_iter().filter(|c| c["algorithm"] == algorithm && c["name"] == name);
    let run: Run = serde_json::from_value(runs.next().expect("the case is there")).expect("a run of Adam");

    let AdamRun { beta1, beta2, eps, weight_decay, decay_embeddings, lrs } = run.settings;
    let mut params = flat(&run.initial);
    let layout = param_groups::layout(run.initial.iter().map(|(name, m)| spec(name, m.rows, m.cols)));
    let mut adam = Adam::new(&layout, AdamSettings { beta1, beta2, eps, weight_decay, decay_embeddings });
    assert!(lrs.len() >= 10 && run.params.len() == lrs.len() && run.gradients.len() == lrs.len());
    for (step, ((lr, gradient), expected)) in lrs.iter().zip(&run.gradients).zip(&run.params).enumerate() {
        adam.update(&mut params, &flat(gradient), *lr);
        for (at, (&ours, theirs)) in params.iter().zip(flat(expected)).enumerate() {
            let what = || format!("{algorithm} {name}, step {step}, weight {at}: {ours}, not {theirs}");
            assert!(close(ours, theirs), "{}", what());
        }
    }
}

#[test]
fn adam_as_microgpt_uses_it() {
    adam("adam", "microgpt");
}

#[test]
fn adam_with_weight_decay() {
    adam("adamw", "decay");
}

/// PyTorch's parameter groups, one of which does not decay, follow here from the kinds of the parameters.
#[test]
fn adam_with_parameter_groups() {
    adam("adamw_groups", "all");
    adam("adamw_groups", "no_embeddings");
}
