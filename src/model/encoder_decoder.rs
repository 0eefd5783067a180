//! The encoder-decoder: the transformer that reads one text and writes another (Vaswani et al. 2017).
//!
//! The encoder reads the source, every token of which sees all others. The decoder writes the target, token by token, and each
//! of its blocks has a second attention, across to the source: its queries come from the target, its keys and values from what
//! the encoder made of the source. These are computed once for a source, however long the target gets.

mod config;

use std::ops::Range;

pub use config::{EncoderDecoderConfig, SharedEmbeddings};

use smallvec::smallvec;

use super::block::Residual;
use super::{
    Attention, Block, BlockPlace, Cache, ConfigError, DecoderConfig, EmbeddingScale, FeedForward, Linear,
    Mode, Model, Norm, Positions, State, Translator, last_rows, losses_in_stages,
};
use crate::data::{Batch, Sequences};
use crate::params::{BoundParams, Init, Layout, Param, ParamSpec};
use crate::tensor::{Mask, Memory, MemoryId, Tensor};

/// An encoder-decoder of any size and variant that an [`EncoderDecoderConfig`] describes.
#[derive(Clone, Debug)]
pub struct EncoderDecoder {
    config: EncoderDecoderConfig,
    layout: Layout,
    source: Embedding,
    encoder: Vec<Block>,
    encoder_norm: Option<Norm>,
    target: Embedding,
    decoder: Vec<CrossBlock>,
    decoder_norm: Option<Norm>,
    lm_head: Linear,
}

/// The vector of each token before the first block.
#[derive(Clone, Debug)]
struct Embedding {
    tokens: Param,
    scale: f64,
    positions: Positions,
    norm: Option<Norm>,
    dropout: f64,
    dropout_point: usize,
}

/// A block of the decoder: self-attention, attention across to the source, and a feed-forward network.
#[derive(Clone, Debug)]
pub struct CrossBlock {
    attention_residual: Residual,
    attention: Attention,
    cross_residual: Residual,
    cross: Attention,
    feed_forward_residual: Residual,
    feed_forward: FeedForward,
}

/// What the queries of a block's cross-attention find: keys and values of the sources `[n, n_kv_head · head_dim]`, and the rows
/// of the source that belongs to each target.
#[derive(Clone, Copy)]
struct Sources<'a, T> {
    keys_values: [T; 2],
    rows: &'a [Range<usize>],
}

impl EncoderDecoder {
    /// An encoder-decoder. It holds no numbers: its [`layout`](Model::layout) says what they are.
    ///
    /// # Errors
    /// If the configuration's numbers do not fit together.
    pub fn new(config: EncoderDecoderConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let (ours, theirs) = (&config.decoder, &config.encoder());
        let mut layout = Layout::default();
        let (width, init) = (ours.n_embd, Init::Normal(ours.init_std));
        let table = |layout: &mut Layout, name: &str| {
            layout.add(ParamSpec::embedding(name, ours.vocab_size, width, init))
        };
        let (source, target, head) = match config.shared_embeddings {
            SharedEmbeddings::All => {
                let all = table(&mut layout, "model.shared.weight");
                (all, all, all)
            }
            SharedEmbeddings::Output => {
                let source = table(&mut layout, "model.encoder.embed_tokens.weight");
                let target = table(&mut layout, "model.decoder.embed_tokens.weight");
                (source, target, target)
            }
            SharedEmbeddings::None => (
                table(&mut layout, "model.encoder.embed_tokens.weight"),
                table(&mut layout, "model.decoder.embed_tokens.weight"),
                table(&mut layout, "lm_head.weight"),
            ),
        };
        let lm_head = Linear::of(head);
        let lm_head = if config.head_bias {
            lm_head.with_named_bias("final_logits_bias", &mut layout)
        } else {
            lm_head
        };
        // Places that drop: two in each block of the encoder, three in each of the decoder, and the two embeddings.
        let decoder_points = 2 * theirs.n_layer;
        let embedding_points = decoder_points + 3 * ours.n_layer;
        let source = Embedding::new(theirs, source, "model.encoder", embedding_points, &mut layout);
        let mut encoder = Vec::new();
        for layer in 0..theirs.n_layer {
            let name = &format!("model.encoder.layers.{layer}");
            let place = BlockPlace { name, layer, dropout_point: 2 * layer };
            encoder.push(Block::new(theirs, &source.positions, place, &mut layout));
        }
        let final_norm = |layout: &mut Layout, name| ours.final_norm.then(|| ours.norm(layout, name, width));
        let encoder_norm = final_norm(&mut layout, "model.encoder.layer_norm");
        let target = Embedding::new(ours, target, "model.decoder", embedding_points + 1, &mut layout);
        let mut decoder = Vec::new();
        for layer in 0..ours.n_layer {
            let name = &format!("model.decoder.layers.{layer}");
            let place = BlockPlace { name, layer, dropout_point: decoder_points + 3 * layer };
            decoder.push(CrossBlock::new(ours, &target.positions, place, &mut layout));
        }
        let decoder_norm = final_norm(&mut layout, "model.decoder.layer_norm");
        Ok(EncoderDecoder {
            config,
            layout,
            source,
            encoder,
            encoder_norm,
            target,
            decoder,
            decoder_norm,
            lm_head,
        })
    }

    /// Its sizes and variants.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.config
    }

    /// Freezes the parameters that `which` picks, before training begins ([`Layout::freeze`]).
    pub fn freeze(&mut self, which: impl Fn(&ParamSpec) -> bool) {
        self.layout.freeze(which);
    }

    /// What the encoder makes of the sources: `[n, n_embd]`.
    fn read<T: Tensor>(&self, w: BoundParams<'_, T>, sources: Sequences<'_>, mode: Mode) -> T {
        let mut x = self.source.forward(w, sources, mode);
        for block in &self.encoder {
            x = block.forward(w, x, sources, mode, None);
        }
        self.finish_reading(w, x)
    }

    fn finish_reading<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        match &self.encoder_norm {
            Some(norm) => norm.forward(w, x),
            None => x,
        }
    }

    /// A score for every possible next token: `[n, n_embd] → [n, vocab_size]`.
    fn logits<T: Tensor>(&self, w: BoundParams<'_, T>, mut x: T) -> T {
        if let Some(norm) = &self.decoder_norm {
            x = norm.forward(w, x);
        }
        self.lm_head.forward(w, x)
    }

    /// The attention that the queries of a target pay to its source, in one block of the decoder and one head: probabilities
    /// `[target, source]`.
    ///
    /// # Panics
    /// If there is no such block or head, or if there is not exactly one sequence on both sides.
    pub fn cross_attention<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        source: Sequences<'_>,
        target: Sequences<'_>,
        layer: usize,
        head: usize,
    ) -> T {
        assert!(source.rows.len() == 1 && target.rows.len() == 1, "cross_attention: of one sentence");
        let here = (target, Mode::default());
        let read = self.read(w, source, here.1); // [source, n_embd]
        let mut x = self.target.forward(w, target, here.1);
        let sources = |block: &CrossBlock| Sources {
            keys_values: block.cross.project_kv(w, read, (source, here.1)),
            rows: source.rows,
        };
        for block in &self.decoder[..layer] {
            x = block.forward(w, x, here, sources(block), None);
        }
        let block = &self.decoder[layer];
        let attn_out = block.attention.forward(w, block.attention_residual.reads(w, x), here, None);
        let x = block.attention_residual.add(w, x, attn_out, here);
        let q = block.cross.project_queries(w, block.cross_residual.reads(w, x), here);
        let [k, _] = sources(block).keys_values;
        block.cross.probabilities(q, k, head)
    }
}

impl Embedding {
    fn new(
        config: &DecoderConfig,
        tokens: Param,
        name: &str,
        dropout_point: usize,
        layout: &mut Layout,
    ) -> Self {
        let scale = match config.embedding_scale {
            EmbeddingScale::One => 1.0,
            EmbeddingScale::RootWidth => (config.n_embd as f64).sqrt(),
        };
        let positions = Positions::new(config, name, layout);
        let norm = config
            .embedding_norm
            .then(|| config.norm(layout, &format!("{name}.layernorm_embedding"), config.n_embd));
        Embedding { tokens, scale, positions, norm, dropout: config.dropout, dropout_point }
    }

    /// `[n, n_embd]`.
    fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, sequences: Sequences<'_>, mode: Mode) -> T {
        let mut x = w[self.tokens].gather_rows(sequences.tokens);
        if self.scale != 1.0 {
            x = x * self.scale;
        }
        x = self.positions.embed(w, x, sequences.positions);
        if let Some(norm) = &self.norm {
            x = norm.forward(w, x);
        }
        mode.dropout(x, self.dropout, self.dropout_point, sequences)
    }
}

impl CrossBlock {
    /// A block of the decoder. BART's names.
    fn new(
        config: &DecoderConfig,
        positions: &Positions,
        BlockPlace { name, layer, dropout_point }: BlockPlace<'_>,
        layout: &mut Layout,
    ) -> Self {
        let residual = |layout: &mut Layout, norm: &str, point| {
            Residual::new(config, &format!("{name}.{norm}"), point, layout)
        };
        let across = DecoderConfig { mask: Mask::Full, ..config.clone() };
        let self_attn = (&*format!("{name}.self_attn"), layer);
        let encoder_attn = (&*format!("{name}.encoder_attn"), layer);
        CrossBlock {
            attention_residual: residual(layout, "self_attn_layer_norm", dropout_point),
            attention: Attention::new(config, positions, self_attn, layout),
            cross_residual: residual(layout, "encoder_attn_layer_norm", dropout_point + 1),
            cross: Attention::new(&across, &Positions::None, encoder_attn, layout),
            feed_forward_residual: residual(layout, "final_layer_norm", dropout_point + 2),
            feed_forward: FeedForward::new(config, &format!("{name}.mlp"), layout),
        }
    }

    /// `[n, n_embd] → [n, n_embd]`. With a cache, the tokens go on where the cache ends.
    fn forward<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
        sources: Sources<'_, T>,
        cache: Option<&mut Cache<'_, T>>,
    ) -> T {
        // ANCHOR: cross_block
        let attn_out = self.attention.forward(w, self.attention_residual.reads(w, x), here, cache);
        let x = self.attention_residual.add(w, x, attn_out, here);
        let found = self.look_across(w, self.cross_residual.reads(w, x), here, sources);
        let x = self.cross_residual.add(w, x, found, here);
        let mlp_out = self.feed_forward.forward(w, self.feed_forward_residual.reads(w, x), here);
        self.feed_forward_residual.add(w, x, mlp_out, here)
        // ANCHOR_END: cross_block
    }

    /// Queries from the target, keys and values from the source.
    fn look_across<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        x: T,
        here: (Sequences<'_>, Mode),
        Sources { keys_values: [k, v], rows }: Sources<'_, T>,
    ) -> T {
        // ANCHOR: look_across
        let q = self.cross.project_queries(w, x, here);
        self.cross.mix(w, [q, k, v], self.cross.scale(), here, rows)
        // ANCHOR_END: look_across
    }
}

impl Model for EncoderDecoder {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn losses<T: Tensor>(&self, w: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        losses_in_stages(self, w, batch, mode)
    }

    /// A stage for each block of the encoder and of the decoder, and one for the head.
    fn stages(&self) -> usize {
        self.encoder.len() + self.decoder.len() + 1
    }

    /// Stages of the encoder hand on the source. Those of the decoder hand on what the encoder has made of it, and the target.
    fn stage<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        (batch, mode): (&Batch, Mode),
        stage: usize,
        state: &[T],
    ) -> State<T> {
        let (source, target) = (batch.source(), batch.sequences());
        assert_eq!(source.rows.len(), target.rows.len(), "an encoder-decoder needs a source for each target");
        // ANCHOR: losses
        if let Some(block) = self.encoder.get(stage) {
            let x = state.first().copied().unwrap_or_else(|| self.source.forward(w, source, mode));
            let x = block.forward(w, x, source, mode, None); // [source, n_embd]
            let is_last = stage + 1 == self.encoder.len();
            return smallvec![if is_last { self.finish_reading(w, x) } else { x }];
        }
        let read = state[0]; // [source, n_embd]
        let x = state.get(1).copied().unwrap_or_else(|| self.target.forward(w, target, mode)); // [target, n_embd]
        match self.decoder.get(stage - self.encoder.len()) {
            Some(block) => {
                let keys_values = block.cross.project_kv(w, read, (source, mode));
                let sources = Sources { keys_values, rows: source.rows };
                smallvec![read, block.forward(w, x, (target, mode), sources, None)]
            }
            None => smallvec![self.logits(w, x).cross_entropy(batch.targets(), mode.smoothing)],
        }
        // ANCHOR_END: losses
    }

    fn decode<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sequences: Sequences<'_>,
        cache: &mut Cache<'_, T>,
    ) -> T {
        let mode = Mode::default();
        let mut x = self.target.forward(w, sequences, mode);
        for (layer, block) in self.decoder.iter().enumerate() {
            let keys_values = [2 * layer, 2 * layer + 1].map(|at| cache.memory.kept(MemoryId::Source(at), x));
            let sources = Sources { keys_values, rows: cache.sources };
            x = block.forward(w, x, (sequences, mode), sources, Some(cache));
        }
        self.logits(w, last_rows(x, sequences))
    }

    fn vocab_size(&self) -> usize {
        self.config.decoder.vocab_size
    }

    fn context(&self) -> usize {
        self.config.decoder.context
    }
}

impl Translator for EncoderDecoder {
    fn read_sources<T: Tensor>(
        &self,
        w: BoundParams<'_, T>,
        sources: Sequences<'_>,
        (memory, places, capacity): (&mut dyn Memory<T>, &[usize], usize),
    ) -> T {
        // ANCHOR: read_sources
        let read = self.read(w, sources, Mode::default()); // [n, n_embd]
        for (layer, block) in self.decoder.iter().enumerate() {
            let [k, v] = block.cross.project_kv(w, read, (sources, Mode::default()));
            memory.keep(MemoryId::Source(2 * layer), capacity, places, k);
            memory.keep(MemoryId::Source(2 * layer + 1), capacity, places, v);
        }
        read
        // ANCHOR_END: read_sources
    }
}
