//! The normalized transformer, nGPT (Loshchilov et al. 2024, arXiv:2410.01131): a decoder on the sphere.
//!
//! Every vector that lives in the space of the hidden state has length 1: the hidden state itself, the embeddings,
//! and the rows or columns of every matrix that reads from it or writes to it. So a product of a matrix and the
//! hidden state is a list of cosines, a block is a step on the sphere, and there is nothing left to normalise by a
//! layer or to keep small by weight decay. What lengths would have said, learned factors say.
//!
//! The trainer keeps the weights on the sphere ([`UnitNorm`]); the model keeps the hidden state there. Attention, its
//! rotations and the feed-forward network are those of the [`Decoder`](super::Decoder). There are no biases and no
//! normalisation layers.

mod config;
mod hidden;

pub use config::{AlphaSign, InnerScale, LogitScale, OutputAxis, Residual, SoftmaxScale, SphereConfig};
pub use hidden::HiddenNorms;

use smallvec::smallvec;

use super::scale::Scale;
use super::{
    Attention, Cache, ConfigError, FeedForward, Linear, Mode, Model, Positions, State, last_rows,
    losses_in_stages,
};
use crate::data::{Batch, Sequences};
use crate::function::UnaryOp;
use crate::params::{BoundParams, Init, Layout, Param, ParamKind, ParamSpec, UnitNorm};
use crate::tensor::{Tensor, UNIT_EPS};

/// A normalized transformer of any size and variant that a [`SphereConfig`] describes.
///
/// Fresh parameters of a [`Layout`] are drawn and not normalised yet; a [`Trainer`](crate::train::Trainer) begins
/// with that. To use them without a trainer, normalise them first ([`constrain`](crate::optim::constrain)).
#[derive(Clone, Debug)]
pub struct Sphere {
    config: SphereConfig,
    layout: Layout,
    tokens: Param,
    blocks: Vec<SphereBlock>,
    lm_head: Linear,
    s_z: Logits,
}

/// What logits are multiplied by.
#[derive(Clone, Copy, Debug)]
enum Logits {
    Learned(Scale),
    Fixed(f64),
}

/// One block of a [`Sphere`]: attention, then the feed-forward network. Each reads the hidden state, and the hidden
/// state takes a step toward what it answers.
#[derive(Clone, Debug)]
pub struct SphereBlock {
    layer: usize,
    dropout: f64,
    head_dim: usize,
    width: usize,
    n_head: usize,
    qk_norm: bool,
    softmax_scale: f64,
    attention: Attention,
    s_qk: Scale,
    attention_step: ResidualStep,
    feed_forward: FeedForward,
    inner_scale: Inner,
    feed_forward_step: ResidualStep,
}

/// What gate and input of the feed-forward network's activation are multiplied by.
#[derive(Clone, Copy, Debug)]
enum Inner {
    Learned { s_u: Scale, s_v: Scale },
    Root,
    None,
}

/// How an output joins the hidden state, and how far it moves it.
#[derive(Clone, Copy, Debug)]
struct ResidualStep {
    residual: Residual,
    sign: AlphaSign,
    alpha: Scale,
}

impl Sphere {
    /// A normalized transformer. It holds no numbers: its [`layout`](Model::layout) says what they are.
    ///
    /// # Errors
    /// If the configuration's numbers do not fit together.
    pub fn new(config: SphereConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut layout = Layout::default();
        let (vocab, width, stored) = (config.vocab_size, config.n_embd, config.base_scale());
        let mut table = |name| layout.add(ParamSpec::embedding(name, vocab, width, Init::Normal(stored)));
        let tokens = table("model.embed_tokens.weight");
        let lm_head = Linear::of(table("lm_head.weight"));
        let mut s_z =
            |width, start| Logits::Learned(Scale::new(&mut layout, "lm_head.s_z", width, start, stored));
        let s_z = match config.logit_scale {
            LogitScale::PerToken { start } => s_z(vocab, start),
            LogitScale::Scalar { start } => s_z(1, start),
            LogitScale::Fixed { value } => Logits::Fixed(value),
        };
        let blocks: Vec<_> =
            (0..config.n_layer).map(|layer| SphereBlock::new(&config, layer, &mut layout)).collect();
        // Along the axis of the hidden state: rows of what reads from it, columns of what writes to it.
        layout.constrain_where(
            |spec| matches!(spec.kind, ParamKind::Matrix | ParamKind::Embedding),
            UnitNorm::Rows,
        );
        for block in &blocks {
            layout.constrain(block.attention.o_proj.weight, config.output_norm());
            layout.constrain(block.feed_forward.down.weight, config.output_norm());
        }
        Ok(Sphere { config, layout, tokens, blocks, lm_head, s_z })
    }

    /// Its sizes and variants.
    pub fn config(&self) -> &SphereConfig {
        &self.config
    }

    /// Its blocks, from the first to the last.
    pub fn blocks(&self) -> &[SphereBlock] {
        &self.blocks
    }

    /// Freezes the parameters that `which` picks, before training begins ([`Layout::freeze`]).
    ///
    /// Frozen parameters stay as they are, whatever their length: freeze what has length 1 already, such as that of a
    /// trained model.
    pub fn freeze(&mut self, which: impl Fn(&ParamSpec) -> bool) {
        self.layout.freeze(which);
    }

    /// The hidden states of all tokens after this many blocks: `[n, n_embd]`.
    fn hidden<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        mode: Mode,
        blocks: usize,
        mut cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let mut h = w[self.tokens].gather_rows(sequences.tokens); // [n, n_embd], of length 1
        for block in &self.blocks[..blocks] {
            h = block.forward(w, h, sequences, mode, cache.as_deref_mut());
        }
        h
    }

    /// A score for every possible next token: `[n, n_embd] → [n, vocab_size]`.
    fn logits<T: Tensor>(&self, w: BoundParams<'_, T>, h: T) -> T {
        let cosines = self.lm_head.forward(w, h); // [n, vocab_size]
        match &self.s_z {
            Logits::Learned(s_z) => cosines * s_z.times(w, 1.0),
            Logits::Fixed(value) => cosines * *value,
        }
    }
}

impl SphereBlock {
    fn new(config: &SphereConfig, layer: usize, layout: &mut Layout) -> Self {
        let (parts, width, stored) = (config.parts(), config.n_embd, config.base_scale());
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let step = |layout: &mut Layout, part| ResidualStep {
            residual: config.residual,
            sign: config.alpha_sign,
            alpha: Scale::new(layout, &name(part), width, config.alpha, stored),
        };
        let attention = {
            let positions = Positions::new(&parts, "model", layout);
            Attention::new(&parts, &positions, (&name("self_attn"), layer), layout)
        };
        let s_qk = Scale::new(layout, &name("self_attn.s_qk"), width, 1.0, stored);
        let attention_step = step(layout, "self_attn.alpha");
        let feed_forward = FeedForward::new(&parts, &name("mlp"), layout);
        let mut learned = |part| Scale::new(layout, &name(part), config.n_ffn, 1.0, 1.0);
        let inner_scale = match config.inner_scale {
            InnerScale::Learned => Inner::Learned { s_u: learned("mlp.s_u"), s_v: learned("mlp.s_v") },
            InnerScale::Root => Inner::Root,
            InnerScale::None => Inner::None,
        };
        let root = (config.head_dim() as f64).sqrt();
        SphereBlock {
            layer,
            dropout: config.dropout,
            head_dim: config.head_dim(),
            width,
            n_head: config.n_head,
            qk_norm: config.qk_norm,
            softmax_scale: match config.softmax_scale {
                SoftmaxScale::Root => root,
                SoftmaxScale::InverseRoot => root.recip(),
            },
            attention,
            s_qk,
            attention_step,
            feed_forward,
            inner_scale,
            feed_forward_step: step(layout, "mlp.alpha"),
        }
    }

    /// The hidden states after this block: `[n, n_embd] → [n, n_embd]`.
    pub fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        h: T,
        sequences: Sequences<'_>,
        mode: Mode,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let here = (sequences, mode);
        // ANCHOR: block
        let attn_out = self.attend(w, h, here, cache);
        let h =
            self.attention_step.apply(w, h, mode.dropout(attn_out, self.dropout, 2 * self.layer, sequences));
        let mlp_out = self.feed(w, h, here);
        self.feed_forward_step.apply(w, h, mode.dropout(mlp_out, self.dropout, 2 * self.layer + 1, sequences))
        // ANCHOR_END: block
    }

    /// What attention answers, of any length: `[n, n_embd]`.
    pub fn attend<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        h: T,
        here: (Sequences<'_>, Mode),
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let [mut q, mut k, v] = self.attention.project(w, h, here);
        if self.qk_norm {
            // `rms_norm` leaves each head at the length √head_dim, which is divided out.
            let s_qk = self.s_qk.times(w, (self.head_dim as f64).sqrt().recip()); // [1, n_embd]
            [q, k] = [q, k].map(|x| x.rms_norm_heads(Some(s_qk), self.n_head, UNIT_EPS));
        } else {
            let s_qk = self.s_qk.times(w, 1.0);
            [q, k] = [q * s_qk, k * s_qk];
        }
        self.attention.attend(w, [q, k, v], self.softmax_scale, here, cache)
    }

    /// What the feed-forward network answers, of any length: `[n, n_embd]`.
    pub fn feed<T: Tensor>(&self, w: BoundParams<'_, T>, h: T, here: (Sequences<'_>, Mode)) -> T {
        let (gate, up) = self.feed_forward.project(w, h, here); // [n, n_ffn] each
        let root = (self.width as f64).sqrt();
        let (gate, up) = match self.inner_scale {
            Inner::Learned { s_u, s_v } => {
                (gate.map(|gate| gate * s_v.times(w, root)), up * s_u.times(w, root))
            }
            Inner::Root => (gate.map(|gate| gate * root), up * root),
            Inner::None => (gate, up),
        };
        self.feed_forward.activate(w, gate, up, here)
    }
}

impl ResidualStep {
    /// The hidden states after a step: `[n, n_embd] → [n, n_embd]`.
    fn apply<T: Tensor>(&self, w: BoundParams<'_, T>, h: T, out: T) -> T {
        // ANCHOR: step
        let alpha: T = self.alpha.times(w, 1.0); // [1, n_embd]
        let alpha = match self.sign {
            AlphaSign::Absolute => alpha.apply(UnaryOp::Relu) + (-alpha).apply(UnaryOp::Relu), // |α|
            AlphaSign::Signed => alpha,
        };
        match self.residual {
            Residual::Paper => h.step_toward(out, alpha),
            Residual::Sum => (h + out * alpha).unit(),
        }
        // ANCHOR_END: step
    }
}

impl Model for Sphere {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        losses_in_stages(self, w, batch, mode)
    }

    /// A stage for each block, and one for the head.
    fn stages(&self) -> usize {
        self.blocks.len() + 1
    }

    fn stage<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        (batch, mode): (&Batch, Mode),
        stage: usize,
        state: &[T],
    ) -> State<T> {
        let sequences = batch.sequences();
        let h = state.first().copied().unwrap_or_else(|| self.hidden(w, sequences, mode, 0, None)); // [n, n_embd]
        smallvec![match self.blocks.get(stage) {
            Some(block) => block.forward(w, h, sequences, mode, None),
            None => self.logits(w, h).cross_entropy(batch.targets(), mode.smoothing), // [n, 1]
        }]
    }

    fn decode<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        let h = self.hidden(w, sequences, Mode::default(), self.blocks.len(), Some(cache)); // [n, n_embd]
        self.logits(w, last_rows(h, sequences))
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.context
    }
}
