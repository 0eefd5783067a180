//! Our blocks, pre-norm and post-norm, compute what PyTorch's `nn.TransformerEncoderLayer` does: outputs and all gradients, on
//! both engines.
//!
//! `golden/blocks.json` holds the parameters under our names. The blocks are those of the decoder, with a mask that an
//! encoder has, too.

use std::collections::{BTreeMap, BTreeSet};

use gradus::data::{Batch, Sequences};
use gradus::fast::FastEngine;
use gradus::model::{
    Activation, AttentionBias, Block, BlockPlace, DecoderConfig, Mode, Model, NormKind, Placement, Position,
    Positions,
};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::{Mask, packed};
use gradus::thread_pool::ThreadPool;
use gradus::{Engine, Tensor};
use serde::Deserialize;

#[path = "common/model_adapter.rs"]
mod model_adapter;

use model_adapter::{ModelAdapter, TokenColumn, elements, tokens};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    pre_norm: bool,
    causal: bool,
    activation: String,
    n_embd: usize,
    n_head: usize,
    n_ffn: usize,
    eps: f64,
    lengths: Vec<usize>,
    params: BTreeMap<String, Matrix>,
    x: Matrix,
    output: Matrix,
    upstream: Matrix,
    x_grad: Matrix,
    grads: BTreeMap<String, Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

/// A block and its input, which is a parameter here so that it has a gradient.
struct BlockAlone {
    block: Block,
    x: Param,
    lengths: Vec<usize>,
    upstream: Vec<f64>,
}

impl Case {
    fn config(&self) -> DecoderConfig {
        DecoderConfig {
            n_embd: self.n_embd,
            n_head: self.n_head,
            n_kv_head: self.n_head,
            n_ffn: self.n_ffn,
            activation: match self.activation.as_str() {
                "relu" => Activation::Relu,
                "gelu" => Activation::Gelu,
                other => panic!("{other}"),
            },
            ffn_bias: true,
            position: Position::None,
            mask: if self.causal { Mask::Causal } else { Mask::Full },
            attention_bias: AttentionBias::All,
            norm: NormKind::Layer,
            placement: if self.pre_norm { Placement::Pre } else { Placement::Post },
            norm_eps: self.eps,
            norm_gain: true,
            ..DecoderConfig::microgpt(2)
        }
    }

    /// The block as a model with this gradient from above, its layout, and all its parameters.
    fn model(&self, upstream: Vec<f64>) -> (ModelAdapter<BlockAlone>, Vec<f64>) {
        let mut layout = Layout::default();
        let Matrix { rows, cols, .. } = self.x;
        let x = layout.add(ParamSpec::matrix("x", rows, cols, Init::Constant(0.0)));
        let config = self.config();
        let positions = Positions::new(&config, "model", &mut layout);
        let block = {
            let place = BlockPlace { name: "model.layers.0", layer: 0, dropout_point: 0 };
            Block::new(&config, &positions, place, &mut layout)
        };
        let own: BTreeSet<&str> = layout.specs()[1..].iter().map(|spec| spec.name.as_str()).collect();
        assert!(
            own.into_iter().eq(self.params.keys().map(String::as_str)),
            "the parameters of {}",
            self.name
        );
        let mut params = self.x.data.clone();
        for spec in &layout.specs()[1..] {
            let theirs = &self.params[&spec.name];
            assert_eq!((spec.rows, spec.cols), (theirs.rows, theirs.cols), "{}", spec.name);
            params.extend(&theirs.data);
        }
        let alone = BlockAlone { block, x, lengths: self.lengths.clone(), upstream };
        (ModelAdapter::new(layout, alone), params)
    }

    fn check<E: Engine>(&self, engine: &mut E, tolerance: f64) {
        let count = self.output.data.len();
        let batch = tokens(count);
        let mut run = |upstream: Vec<f64>| {
            let (model, params) = self.model(upstream);
            let params: Vec<E::Real> = params.into_iter().map(E::Real::from_f64).collect();
            let mut gradient = vec![E::Real::from_f64(f64::NAN); params.len()];
            engine.gradient(&model, &params, &batch, Mode::default(), &mut gradient);
            let gradient: Vec<f64> = gradient.into_iter().map(Real::to_f64).collect();
            (engine.token_losses().to_vec(), gradient, model)
        };
        let close = |what: &str, ours: &[f64], theirs: &Matrix| {
            assert_eq!(ours.len(), theirs.data.len(), "{}, {what}", self.name);
            for (at, (ours, theirs)) in ours.iter().zip(&theirs.data).enumerate() {
                let gap = (ours - theirs).abs() / (1.0 + theirs.abs());
                assert!(gap <= tolerance, "{}, {what}, number {at}: {ours} instead of {theirs}", self.name);
            }
        };
        let (output, ..) = run(vec![1.0; count]);
        close("output", &output, &self.output);
        // The loss is a mean over the tokens, and their gradients are those of a sum.
        let (_, gradient, model) = run(self.upstream.data.iter().map(|u| u * count as f64).collect());
        for spec in model.layout().specs() {
            let theirs = self.grads.get(&spec.name).unwrap_or(&self.x_grad);
            close(&format!("gradient of {}", spec.name), &gradient[spec.range()], theirs);
        }
    }
}

impl TokenColumn for BlockAlone {
    fn of<T: Tensor>(&self, params: BoundParams<'_, T>, _: &Batch, mode: Mode) -> T {
        let positions: Vec<usize> = self.lengths.iter().flat_map(|&length| 0..length).collect();
        let rows = packed(&self.lengths);
        let sequences = Sequences { tokens: &[], positions: &positions, rows: &rows, rows_before: 0 };
        let y = elements(self.block.forward(params, params[self.x], sequences, mode, None));
        y * y.constant(self.upstream.len(), 1, &self.upstream)
    }
}

#[test]
fn blocks_as_in_pytorch() {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/blocks.json")).expect("blocks.json parses");
    let kinds: BTreeSet<_> = golden.cases.iter().map(|case| (case.pre_norm, case.causal)).collect();
    assert_eq!(kinds.len(), 4, "pre-norm and post-norm, with a mask and without");
    for case in &golden.cases {
        case.check(&mut ScalarEngine::new(), 1e-12);
        case.check(&mut FastEngine::new(ThreadPool::new(1)), 1e-5);
    }
}
