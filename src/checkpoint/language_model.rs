//! A language model with all that a file of another program says about it.

use super::OtherTokenizer;
use crate::fast::StoredParams;
use crate::gemm::Dtype;
use crate::model::{Decoder, Model};
use crate::tokenizer::TokenizerSpec;

/// What the formats of other programs are read into, and written from. The weights are those that can be trained, or
/// [`StoredParams`] for generation alone.
#[derive(Clone, Debug)]
pub struct LanguageModel<P = Vec<f32>> {
    /// The model.
    pub model: Decoder,
    /// Its weights, in the order of its layout.
    pub params: P,
    /// Its tokenizer, or why there is none here. It may have fewer tokens than the model: tables are often made a little
    /// larger than needed. It never has more.
    pub tokenizer: Result<TokenizerSpec, OtherTokenizer>,
    /// The tokens at both ends of a text.
    pub tokens: EndTokens,
    /// What makes a text of the messages of a conversation: a template of Jinja.
    pub chat_template: Option<String>,
    /// How its makers would have it write.
    pub defaults: GenerationDefaults,
}

impl LanguageModel {
    /// The same with its weights stored for generation.
    pub fn stored(self, dtype: Dtype) -> LanguageModel<StoredParams> {
        let LanguageModel { model, params, tokenizer, tokens, chat_template, defaults } = self;
        let params = StoredParams::new(model.layout(), &params, dtype);
        LanguageModel { model, params, tokenizer, tokens, chat_template, defaults }
    }
}

/// The tokens at both ends of a text. Each is below the model's number of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndTokens {
    /// The token before a text.
    pub bos: Option<usize>,
    /// Whether BOS is put before every text. A model that was trained without it may name one all the same.
    pub add_bos: bool,
    /// The tokens that end what is generated: any of them.
    pub eos: Vec<usize>,
    /// What fills up shorter texts in a batch, and nobody looks at.
    pub pad: Option<usize>,
    /// What a chat template calls tokens by, such as `eos_token`, and their texts, if these are not just the tokens above: what
    /// ends a text is not always what a template puts behind one.
    pub names: Option<Vec<(String, String)>>,
}

impl EndTokens {
    /// What a chat template calls tokens by, and their texts: as its files say, or those of the tokens above.
    pub fn named(&self, tokenizer: &TokenizerSpec) -> Vec<(String, String)> {
        if let Some(names) = &self.names {
            return names.clone();
        }
        let known =
            [("bos_token", self.bos), ("eos_token", self.eos.first().copied()), ("pad_token", self.pad)];
        let text = |id: Option<usize>| tokenizer.token_text(id?).map(str::to_owned);
        known.into_iter().filter_map(|(name, id)| Some((name.to_owned(), text(id)?))).collect()
    }
}

/// How a model is to write, as far as its file says so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Whether tokens are drawn at random. If not, the likeliest one is taken, and the next three do not matter.
    pub do_sample: Option<bool>,
    /// What logits are divided by.
    pub temperature: Option<f64>,
    /// Among how many of the likeliest tokens one is drawn; 0 for all.
    pub top_k: Option<usize>,
    /// Which share of the probability those have among which one is drawn.
    pub top_p: Option<f64>,
    /// How much less likely tokens become that are there already; 1 for not at all.
    pub repetition_penalty: Option<f64>,
    /// After how many tokens it stops.
    pub max_new_tokens: Option<usize>,
}

/// In how many bits weights are stored in a file. Reading widens them to `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredAs {
    /// 32 bits: as they are.
    #[default]
    F32,
    /// IEEE 754's 16 bits: up to 65,504, about three digits.
    F16,
    /// The upper half of 32 bits: as large and as small, but only two digits.
    Bf16,
}
