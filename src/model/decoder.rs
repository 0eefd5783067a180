//! The decoder: the transformer that predicts the next token (Radford et al. 2018; Touvron et al. 2023).
//!
//! What it is made of, from the first line of `forward` to the last: a vector for every token, blocks that
//! each add something to it, and a head that turns it into a score for every possible next token.

use smallvec::smallvec;

use super::lora::Adapters;
use super::{
    Block, BlockPlace, Cache, ConfigError, DecoderConfig, EmbeddingScale, Linear, Mode, Model, Norm,
    Positions, State, TiedEmbeddings, last_rows, losses_in_stages,
};
use crate::data::{Batch, Sequences};
use crate::params::{BoundParams, Init, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// A decoder of any size and variant that a [`DecoderConfig`] describes.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub(super) config: DecoderConfig,
    pub(super) layout: Layout,
    tokens: Param,
    positions: Positions,
    embedding_norm: Option<Norm>,
    pub(super) blocks: Vec<Block>,
    final_norm: Option<Norm>,
    lm_head: Linear,
    pub(super) adapters: Option<Adapters>,
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
        let table = |layout: &mut Layout, name| layout.add(ParamSpec::embedding(name, vocab, width, init));
        // In the order in which microgpt draws them.
        let tokens = table(&mut layout, "model.embed_tokens.weight");
        let positions = Positions::new(&config, "model", &mut layout);
        let lm_head = Linear::of(match config.tied_embeddings {
            TiedEmbeddings::None => table(&mut layout, "lm_head.weight"),
            TiedEmbeddings::Output => tokens,
        });
        let mut norm = |on: bool, name: &str| on.then(|| config.norm(&mut layout, name, width));
        let embedding_norm = norm(config.embedding_norm, "model.embed_norm");
        let final_norm = norm(config.final_norm, "model.norm");
        let mut block = |layer| {
            let name = &format!("model.layers.{layer}");
            let place = BlockPlace { name, layer, dropout_point: 2 * layer };
            Block::new(&config, &positions, place, &mut layout)
        };
        let blocks = (0..config.n_layer).map(&mut block).collect();
        let adapters = None;
        Ok(Decoder {
            config,
            layout,
            tokens,
            positions,
            embedding_norm,
            blocks,
            final_norm,
            lm_head,
            adapters,
        })
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

    // ANCHOR: forward
    /// A vector for every token: `[n, n_embd]`.
    fn embed<T: Tensor>(&self, w: BoundParams<'_, T>, sequences: Sequences<'_>) -> T {
        let mut x = w[self.tokens].gather_rows(sequences.tokens);
        if self.config.embedding_scale == EmbeddingScale::RootWidth {
            x = x * (self.config.n_embd as f64).sqrt();
        }
        x = self.positions.embed(w, x, sequences.positions);
        match &self.embedding_norm {
            Some(norm) => norm.forward(w, x),
            None => x,
        }
    }

    /// What the last block hands on, for every token: `[n, n_embd]`.
    fn hidden<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        mode: Mode,
        mut cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        let mut x = self.embed(w, sequences);
        for block in &self.blocks {
            x = block.forward(w, x, sequences, mode, cache.as_deref_mut());
        }
        x
    }

    /// A score for every possible next token: `[n, n_embd] → [n, vocab_size]`.
    fn logits<T: Tensor>(&self, w: BoundParams<'_, T>, mut x: T) -> T {
        if let Some(norm) = &self.final_norm {
            x = norm.forward(w, x);
        }
        self.lm_head.forward(w, x)
    }
    // ANCHOR_END: forward
}

impl Model for Decoder {
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
        let x = state.first().copied().unwrap_or_else(|| self.embed(w, sequences)); // [n, n_embd]
        smallvec![match self.blocks.get(stage) {
            Some(block) => block.forward(w, x, sequences, mode, None),
            None => self.logits(w, x).cross_entropy(batch.targets(), mode.smoothing), // [n, 1]
        }]
    }

    fn decode<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        let x = self.hidden(w, sequences, Mode::default(), Some(cache)); // [n, n_embd]
        self.logits(w, last_rows(x, sequences))
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.context
    }
}
