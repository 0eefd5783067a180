//! The decoder: the transformer that predicts the next token (Radford et al. 2018; Touvron et al. 2023).
//!
//! What it is made of, from the first line of `forward` to the last: a vector for every token, blocks that
//! each add something to it, and a head that turns it into a score for every possible next token.

use smallvec::SmallVec;

use super::{Attention, Cache, ConfigError, DecoderConfig, FeedForward, Linear, Mode, Model, Norm, Position};
use crate::data::{Batch, Sequences};
use crate::params::{BoundParams, Init, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// A decoder of any size and variant that a [`DecoderConfig`] describes.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    layout: Layout,
    tokens: Param,
    positions: Option<Param>,
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
    lm_head: Linear,
}

/// One block: attention, then the feed-forward network. Each reads a normalised copy of the residual stream and adds its
/// output to the stream itself (pre-norm).
#[derive(Clone, Debug)]
struct Block {
    layer: usize,
    dropout: f64,
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

impl Decoder {
    /// A decoder. It holds no numbers: its [`layout`](Model::layout) says what they are, how they are drawn and where a
    /// checkpoint's go.
    ///
    /// # Errors
    /// If the configuration's numbers do not fit together.
    pub fn new(config: DecoderConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut layout = Layout::default();
        let (vocab, width) = (config.vocab_size, config.n_embd);
        let init = Init::Normal(config.init_std);
        let mut table = |name, rows| layout.add(ParamSpec::embedding(name, rows, width, init));
        // In the order in which microgpt draws them.
        let tokens = table("model.embed_tokens.weight", vocab);
        let positions = (config.position == Position::Learned)
            .then(|| table("model.embed_positions.weight", config.context));
        let lm_head = Linear::of(table("lm_head.weight", vocab));
        let mut norm = |on: bool, name: &str| on.then(|| config.norm(&mut layout, name, width));
        let embedding_norm = norm(config.embedding_norm, "model.embed_norm");
        let final_norm = norm(config.final_norm, "model.norm");
        let blocks = (0..config.n_layer).map(|layer| Block::new(&config, layer, &mut layout)).collect();
        Ok(Decoder { config, layout, tokens, positions, embedding_norm, blocks, final_norm, lm_head })
    }

    /// Its sizes and variants.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Freezes the parameters that `which` picks, before training begins ([`Layout::freeze`]).
    ///
    /// ```
    /// use gradus::model::{Decoder, DecoderConfig, Model};
    /// let mut model = Decoder::new(DecoderConfig::microgpt(27))?;
    /// model.freeze(|spec| !spec.name.starts_with("lm_head")); // train the head alone
    /// assert_eq!(model.layout().trainable_len(), 27 * 16);
    /// # Ok::<(), gradus::model::ConfigError>(())
    /// ```
    pub fn freeze(&mut self, which: impl Fn(&ParamSpec) -> bool) {
        self.layout.freeze(which);
    }

    /// Logits for every token: `[n, vocab_size]`.
    fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        mode: Mode,
        mut cache: Option<&mut Cache<T>>,
    ) -> T {
        // ANCHOR: forward
        let mut x = w[self.tokens].gather_rows(sequences.tokens); // [n, n_embd]
        if let Some(positions) = self.positions {
            x = x + w[positions].gather_rows(sequences.positions);
        }
        if let Some(norm) = &self.embedding_norm {
            x = norm.forward(w, x);
        }
        for block in &self.blocks {
            x = block.forward(w, x, sequences, mode, cache.as_deref_mut());
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(w, x);
        }
        self.lm_head.forward(w, x) // [n, vocab_size]
        // ANCHOR_END: forward
    }
}

impl Block {
    fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let norm = |layout: &mut Layout, part: &str| {
            config.norm(layout, &format!("model.layers.{layer}.{part}"), config.n_embd)
        };
        Block {
            layer,
            dropout: config.dropout,
            attention_norm: norm(layout, "input_layernorm"),
            attention: Attention::new(config, layer, layout),
            feed_forward_norm: norm(layout, "post_attention_layernorm"),
            feed_forward: FeedForward::new(config, layer, layout),
        }
    }

    fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        mode: Mode,
        cache: Option<&mut Cache<T>>,
    ) -> T {
        // ANCHOR: block
        let attn_out = self.attention.forward(w, self.attention_norm.forward(w, x), sequences, cache);
        let x = x + mode.dropout(attn_out, self.dropout, 2 * self.layer);
        let mlp_out = self.feed_forward.forward(w, self.feed_forward_norm.forward(w, x));
        x + mode.dropout(mlp_out, self.dropout, 2 * self.layer + 1)
        // ANCHOR_END: block
    }
}

impl DecoderConfig {
    /// A normalisation of this model.
    pub(super) fn norm(&self, layout: &mut Layout, name: &str, width: usize) -> Norm {
        if self.norm_gain {
            Norm::with_gain(layout, name, width, self.norm_eps)
        } else {
            Norm::plain(self.norm_eps)
        }
    }
}

impl Model for Decoder {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        self.forward(w, batch.sequences(), mode, None).cross_entropy(batch.targets(), mode.smoothing)
    }

    fn decode<T: Tensor>(&self, w: BoundParams<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T {
        let positions: SmallVec<[usize; 32]> = (cache.length..cache.length + tokens.len()).collect();
        let sequences = Sequences { tokens, positions: &positions, lengths: &[tokens.len()] };
        let logits = self.forward(w, sequences, Mode::default(), Some(cache));
        cache.length += tokens.len();
        logits
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.context
    }
}
