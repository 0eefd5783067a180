//! The decoder: the transformer that predicts the next token (Radford et al. 2018; Touvron et al. 2023).
//!
//! What it is made of, from the first line of `forward` to the last: a vector for every token, blocks that
//! each add something to it, and a head that turns it into a score for every token that may come next.

use smallvec::SmallVec;

use super::{
    Attention, Cache, ConfigError, DecoderConfig, FeedForward, Model, Norm, Pass, Position, Sequences,
};
use crate::data::Batch;
use crate::params::{Init, Kind, Layout, Param, Weights};
use crate::tensor::Tensor;

/// A decoder of any size and variant that its [`DecoderConfig`] can name.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    layout: Layout,
    tokens: Param,
    positions: Option<Param>,
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    final_norm: Option<Norm>,
    head: Param,
}

/// One block: attention, then the feed-forward network, each on a normalised copy of the residual stream, to
/// which it adds what it found (pre-norm).
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
    /// A decoder without weights: those are drawn from, or read into, its [`layout`](Model::layout).
    ///
    /// # Errors
    /// If the configuration's numbers do not fit together.
    pub fn new(config: DecoderConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut layout = Layout::default();
        let layout = &mut layout;
        let (vocab, width) = (config.vocab_size, config.n_embd);
        let init = Init::Normal(config.init_std);
        // The order in which microgpt draws its weights.
        let tokens = layout.add("model.embed_tokens.weight", vocab, width, Kind::Embedding, init);
        let positions = (config.position == Position::Learned).then(|| {
            layout.add("model.embed_positions.weight", config.block_size, width, Kind::Embedding, init)
        });
        let head = layout.add("lm_head.weight", vocab, width, Kind::Embedding, init);
        let mut norm =
            |on: bool, name: &str| on.then(|| config.norm(layout, format!("model.{name}.weight"), width));
        let embedding_norm = norm(config.embedding_norm, "embed_norm");
        let final_norm = norm(config.final_norm, "norm");
        let blocks = (0..config.n_layer).map(|layer| Block::new(&config, layer, layout)).collect();
        let layout = std::mem::take(layout);
        Ok(Decoder { config, layout, tokens, positions, embedding_norm, blocks, final_norm, head })
    }

    /// Its sizes and variants.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Logits for every token: `[n, vocab_size]`.
    fn forward<T: Tensor>(
        &self,
        w: Weights<'_, T>,
        sequences: Sequences<'_>,
        pass: Pass,
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
            x = block.forward(w, x, sequences, pass, cache.as_deref_mut());
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(w, x);
        }
        x.linear(w[self.head]) // [n, vocab_size]
        // ANCHOR_END: forward
    }
}

impl Block {
    fn new(config: &DecoderConfig, layer: usize, layout: &mut Layout) -> Self {
        let norm = |layout: &mut Layout, part: &str| {
            config.norm(layout, format!("model.layers.{layer}.{part}.weight"), config.n_embd)
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
        w: Weights<'_, T>,
        x: T,
        sequences: Sequences<'_>,
        pass: Pass,
        cache: Option<&mut Cache<T>>,
    ) -> T {
        // ANCHOR: block
        let attended = self.attention.forward(w, self.attention_norm.forward(w, x), sequences, cache);
        let x = x + pass.dropout(attended, self.dropout, 2 * self.layer);
        let thought = self.feed_forward.forward(w, self.feed_forward_norm.forward(w, x));
        x + pass.dropout(thought, self.dropout, 2 * self.layer + 1)
        // ANCHOR_END: block
    }
}

impl DecoderConfig {
    /// A normalisation of this model.
    pub(super) fn norm(&self, layout: &mut Layout, name: String, width: usize) -> Norm {
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

    fn losses<T: Tensor>(&self, w: Weights<'_, T>, batch: &Batch, pass: Pass) -> T {
        self.forward(w, batch.sequences(), pass, None).cross_entropy(batch.targets(), pass.smoothing)
    }

    fn extend<T: Tensor>(&self, w: Weights<'_, T>, tokens: &[usize], cache: &mut Cache<T>) -> T {
        let positions: SmallVec<[usize; 32]> = (cache.length..cache.length + tokens.len()).collect();
        let sequences = Sequences { tokens, positions: &positions, lengths: &[tokens.len()] };
        let logits = self.forward(w, sequences, Pass::default(), Some(cache));
        cache.length += tokens.len();
        logits
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.block_size
    }
}
