//! A model of any family, with what is special about it.

use gradus::cost::{Generation, Operations};
use gradus::data::Batch;
use gradus::model::{Decoder, DecoderConfig, EncoderDecoder, Model, Sphere};

/// The model that is asked about.
pub struct Subject<M> {
    pub model: M,
    /// The same with all parameters frozen, whose gradient takes no memory.
    pub frozen: M,
    /// What it is, in words.
    pub what: String,
    /// What the last token of a full context costs.
    pub generation: Generation,
    /// Whether the head multiplies by the table of tokens.
    pub tied: bool,
    /// Whether there is a source for each target.
    pub translates: bool,
}

impl Subject<Decoder> {
    pub fn decoder(model: Decoder) -> Self {
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        let config = model.config();
        let layers = config.n_layer.to_string();
        Subject {
            what: describe("a decoder", &layers, config),
            generation: Generation::after(&model, model.context() - 1),
            tied: !has_head(&model),
            translates: false,
            frozen,
            model,
        }
    }
}

impl Subject<Sphere> {
    pub fn sphere(model: Sphere) -> Self {
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        let config = model.config();
        let sizes = DecoderConfig {
            context: config.context,
            n_embd: config.n_embd,
            n_head: config.n_head,
            n_ffn: config.n_ffn,
            ..DecoderConfig::microgpt(config.vocab_size)
        };
        Subject {
            what: describe("a normalized transformer", &config.n_layer.to_string(), &sizes),
            generation: Generation::after(&model, model.context() - 1),
            tied: !has_head(&model),
            translates: false,
            frozen,
            model,
        }
    }
}

impl Subject<EncoderDecoder> {
    pub fn translator(model: EncoderDecoder) -> Self {
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        let config = model.config();
        let layers = format!("{} + {}", config.encoder_layers, config.decoder.n_layer);
        Subject {
            what: describe("an encoder-decoder", &layers, &config.decoder),
            generation: Generation::translated(&model, model.context(), model.context() - 1),
            tied: !has_head(&model),
            translates: true,
            frozen,
            model,
        }
    }
}

impl<M: Model> Subject<M> {
    /// Some sequences of this length, whose tokens `token` chooses; of a translator, with sources of the same length.
    pub fn batch(&self, sequences: usize, length: usize, mut token: impl FnMut() -> usize) -> Batch {
        let mut batch = Batch::new();
        let mut text = |length| std::iter::repeat_with(&mut token).take(length).collect::<Vec<_>>();
        for _ in 0..sequences {
            if self.translates {
                let source = text(length);
                batch.push_pair(source, text(length + 1));
            } else {
                batch.push(text(length + 1));
            }
        }
        batch
    }

    /// The operations of a forward pass over a full context.
    pub fn forward(&self) -> Operations {
        Operations::forward(&self.model, &self.batch(1, self.model.context(), || 0))
    }
}

/// Whether the head has a matrix of its own.
fn has_head(model: &impl Model) -> bool {
    model.layout().specs().iter().any(|spec| spec.name == "lm_head.weight")
}

fn describe(family: &str, layers: &str, config: &DecoderConfig) -> String {
    let DecoderConfig { vocab_size, context, n_embd, n_head, n_ffn, .. } = config;
    let several = |count: &str| if count == "1" { "" } else { "s" };
    let (of_layers, of_heads) = (several(layers), several(&n_head.to_string()));
    format!(
        "{family} of {layers} layer{of_layers}, {n_embd} wide, {n_head} head{of_heads}, an inner width of {n_ffn}, a context \
         of {context}, {vocab_size} tokens"
    )
}
