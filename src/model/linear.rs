//! The linear layer: the one place where a model multiplies by weights.
//!
//! Every projection is a [`Linear`]: those of attention, of the feed-forward network, and the head. So a bias, a
//! low-rank adapter or another way to store weights is added here, once, and every layer of every model has it.

use std::array::from_fn;

use super::Mode;
use crate::data::Sequences;
use crate::params::{ADAPTER_SUFFIXES, BoundParams, Init, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// `y = x·Wᵀ + b`, and beside it a low-rank adapter. Bias and adapter are optional.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `W`: `[outputs, inputs]`
    pub weight: Param,
    /// `b`: `[1, outputs]`
    pub bias: Option<Param>,
    /// What is added to the output.
    pub adapter: Option<LowRank>,
}

/// A low-rank adapter, LoRA (Hu et al. 2021, section 4.1): adds `scale · (x·Aᵀ)·Bᵀ` to the output of a layer, as if
/// `scale · B·A` had been added to its weight. A few numbers can so adapt a weight that is frozen itself.
#[derive(Clone, Copy, Debug)]
pub struct LowRank {
    /// `A`: `[rank, inputs]`
    pub a: Param,
    /// `B`: `[outputs, rank]`
    pub b: Param,
    /// How much it counts: `alpha / rank` in the paper.
    pub scale: f64,
    /// The probability that an element of what the adapter reads is dropped, during training. What the layer itself reads
    /// stays whole.
    pub dropout: f64,
    /// Where in the model it drops. No two places drop alike.
    pub dropout_point: usize,
}

impl Linear {
    /// A layer from `inputs` to `outputs` numbers, whose weight `[outputs, inputs]` is called `name.weight`.
    pub fn new(layout: &mut Layout, name: &str, inputs: usize, outputs: usize, init: Init) -> Self {
        Self::of(layout.add(ParamSpec::matrix(format!("{name}.weight"), outputs, inputs, init)))
    }

    /// A layer whose weight `[outputs, inputs]` is in the layout already: the head's, perhaps a table of embeddings.
    pub fn of(weight: Param) -> Self {
        Linear { weight, bias: None, adapter: None }
    }

    /// The same layer with a bias of this name, which is zero at first.
    pub fn with_named_bias(self, name: &str, layout: &mut Layout) -> Self {
        let spec = ParamSpec::bias(name, layout[self.weight].rows);
        Linear { bias: Some(layout.add(spec)), ..self }
    }

    /// The same layer with a bias, `name.bias`, which is zero at first.
    pub fn with_bias(self, layout: &mut Layout) -> Self {
        let name = format!("{}.bias", base_name(&layout[self.weight].name));
        self.with_named_bias(&name, layout)
    }

    /// The same layer with an adapter of this rank, `name.lora_A.weight` and `name.lora_B.weight` (peft's names).
    ///
    /// `B` is zero at first, so the output does not change yet. `A` is drawn as in the authors' code and in peft. To train
    /// the adapter alone, freeze the rest ([`Layout::freeze`]).
    pub fn with_adapter(self, layout: &mut Layout, rank: usize, scale: f64) -> Self {
        let weight = &layout[self.weight];
        let (name, outputs, inputs) = (base_name(&weight.name).to_owned(), weight.rows, weight.cols);
        let bound = (inputs as f64).sqrt().recip();
        let [a_name, b_name] = ADAPTER_SUFFIXES.map(|suffix| format!("{name}{suffix}"));
        let a = layout.add(ParamSpec::matrix(a_name, rank, inputs, Init::Uniform(bound)));
        let b = layout.add(ParamSpec::matrix(b_name, outputs, rank, Init::Constant(0.0)));
        Linear { adapter: Some(LowRank { a, b, scale, dropout: 0.0, dropout_point: 0 }), ..self }
    }

    /// The same layer, whose adapter drops some of what it reads, at this point of the model. Without an adapter, nothing drops.
    pub fn with_adapter_dropout(self, dropout: f64, dropout_point: usize) -> Self {
        Linear { adapter: self.adapter.map(|adapter| LowRank { dropout, dropout_point, ..adapter }), ..self }
    }

    /// `[n, inputs] → [n, outputs]`. Nothing is dropped: this is for layers without an adapter, such as heads, and for reading.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        let [y] = Self::all([self], w, x, None);
        y
    }

    /// The same for the rows of these sequences in this mode: during training, an adapter may drop some of what it reads.
    pub fn forward_in<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, here: (Sequences<'_>, Mode)) -> T {
        let [y] = Self::all([self], w, x, Some(here));
        y
    }

    /// What several layers make of the same input: `[n, inputs] → [n, outputs]` each. An engine may compute all of it in one go.
    pub fn forward_all<const N: usize, T: Tensor>(
        layers: [&Self; N],
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
    ) -> [T; N] {
        Self::all(layers, w, x, Some(here))
    }

    // ANCHOR: adapter
    fn all<const N: usize, T: Tensor>(
        layers: [&Self; N],
        w: BoundParams<'_, T>,
        x: T,
        here: Option<(Sequences<'_>, Mode)>,
    ) -> [T; N] {
        let adapters =
            layers.map(|layer| layer.adapter.map(|adapter| (adapter.read(w, x, here), w[adapter.b])));
        let products = x.linear_all_adapted(layers.map(|layer| w[layer.weight]), adapters);
        from_fn(|at| layers[at].bias.map_or(products[at], |bias| products[at] + w[bias]))
    }
}

impl LowRank {
    /// The first half of an adapter, `scale · x·Aᵀ`: `[n, inputs] → [n, rank]`.
    fn read<T: Tensor>(self, w: BoundParams<'_, T>, x: T, here: Option<(Sequences<'_>, Mode)>) -> T {
        let rng = here.and_then(|(sequences, mode)| {
            mode.dropout_rng(self.dropout, self.dropout_point, sequences, x.shape().1)
        });
        let low = match rng {
            Some(rng) => x.dropout_linear(self.dropout, rng, w[self.a]),
            None => x.linear(w[self.a]),
        };
        low * self.scale
    }
    // ANCHOR_END: adapter
}

/// The name of a layer, from that of its weight.
fn base_name(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
}
