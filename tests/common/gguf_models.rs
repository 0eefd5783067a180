//! Small models with tokenizers, for the tests of GGUF.

use gradus::checkpoint::{EndTokens, GenerationDefaults, LanguageModel};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::params::{Init, ParamKind};
use gradus::random::Random;
use gradus::tokenizer::{Piece, PieceKind, PieceSpec, SpacePrefix, TokenizerSpec};

/// A small vocabulary of pieces.
pub fn pieces() -> TokenizerSpec {
    let piece = |text: &str, score: f32, kind| Piece { text: text.to_owned(), score, kind };
    let mut pieces = vec![
        piece("<unk>", 0.0, PieceKind::Unknown),
        piece("<s>", 0.0, PieceKind::Control),
        piece("</s>", 0.0, PieceKind::Control),
    ];
    pieces.extend((0..=255).map(|byte| piece(&format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte)));
    for (at, text) in [" t", "he", " the", "  ", " ", "t", "h", "e"].into_iter().enumerate() {
        pieces.push(piece(text, -0.1 * at as f32, PieceKind::Normal));
    }
    pieces.push(piece("<|it|>", 0.0, PieceKind::UserDefined));
    pieces.push(piece("[free]", 0.0, PieceKind::Unused));
    pieces.push(piece("th", -9.5, PieceKind::Normal));
    TokenizerSpec::Pieces(PieceSpec { pieces, space_prefix: SpacePrefix::Prepend })
}

pub fn config(vocab_size: usize) -> DecoderConfig {
    let (context, n_layer, n_embd, n_head, n_kv_head, n_ffn) = (64, 2, 32, 4, 2, 64);
    DecoderConfig { context, n_layer, n_embd, n_head, n_kv_head, n_ffn, ..DecoderConfig::llama(vocab_size) }
}

/// A model whose numbers are all random and large, biases and gains among them.
pub fn random_model(config: DecoderConfig, tokenizer: TokenizerSpec) -> LanguageModel {
    let model = Decoder::new(config).expect("it fits");
    let mut random = Random::new(8);
    let mut params: Vec<f32> = model.layout().initial(&mut random);
    for spec in model.layout().specs() {
        let start = if let Init::Constant(x) = spec.init { x } else { 0.0 };
        let std = if spec.kind == ParamKind::Embedding { 0.5 } else { 0.2 };
        params[spec.range()].iter_mut().for_each(|w| *w = random.gauss(start, std) as f32);
    }
    LanguageModel {
        model,
        params,
        tokenizer: Ok(tokenizer),
        tokens: EndTokens { bos: Some(1), add_bos: true, eos: vec![2], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    }
}
