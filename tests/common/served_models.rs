//! Two tiny models to be served: one that says a sentence by heart and calls a tool, and one that has learned nothing.

use std::fs;
use std::path::{Path, PathBuf};

use gradus::checkpoint::Checkpoint;
use gradus::model::{Decoder, DecoderConfig, Model, Preset, SavedModel, TiedEmbeddings};
use gradus::random::Random;
use gradus::tokenizer::{BpeTokenizer, BpeTrainer, CHAT_TOKENS, Tokenizer};

/// What the parrot says, whatever it is asked. No token of it comes twice, since the parrot only sees its last one.
pub const SAID: &str = "The cat sat down.";

/// And the tool that it calls, of whose JSON it knows nothing: the schema of [`TOOL`] leaves no choice.
pub const CALL: &str = r#"{"name": "add", "arguments": {"b": 2}}"#;

/// That tool.
pub const TOOL: &str = r#"{"type": "function", "function": {"name": "add", "description": "Adds.", "strict": true,
    "parameters": {"type": "object", "properties": {"b": {"type": "number", "enum": [2]}}, "required": ["b"]}}}"#;

fn tokenizer() -> BpeTokenizer {
    let special_tokens = CHAT_TOKENS.map(str::to_owned).to_vec();
    let trainer = BpeTrainer { vocab_size: 400, min_frequency: 1, special_tokens, ..BpeTrainer::default() };
    trainer.train(&[format!("{SAID} {CALL} Hello there, {{\"a\": \"b\"}}")]).expect("a tokenizer")
}

fn config(tokenizer: &BpeTokenizer) -> DecoderConfig {
    DecoderConfig {
        n_layer: 1,
        n_embd: 64,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 64,
        tied_embeddings: TiedEmbeddings::None,
        ..Preset::Llama.config(tokenizer.vocab_size())
    }
}

fn save(folder: &Path, model: &Decoder, tokenizer: &BpeTokenizer, params: Vec<f32>) -> PathBuf {
    let checkpoint = Checkpoint { model: model.spec(), tokenizer: tokenizer.spec(), params };
    checkpoint.save(folder).expect("a folder");
    folder.to_owned()
}

/// A model that answers [`SAID`], begins a call if it may, and ends after it. Each token has an embedding of its own, attention and feed-forward
/// networks add nothing, and the head knows what follows each token.
pub fn parrot(folder: &Path) -> PathBuf {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode(text).expect("any text");
    let special = |name: &str| vec![tokenizer.special(name).expect("a special token")];
    let parts = [
        special("<assistant>"),
        encode(SAID),
        special("<tool>"),
        special("</tool>"),
        special("</assistant>"),
    ];
    let chain = parts.concat();
    for (at, token) in chain.iter().enumerate() {
        assert!(!chain[..at].contains(token), "{:?} comes twice", tokenizer.decode(&[*token]));
    }
    let model = Decoder::new(config(&tokenizer)).expect("a model");
    let width = model.config().n_embd;
    assert!(chain.len() <= width);
    let mut params = vec![0.0; model.layout().len()];
    for spec in model.layout().specs() {
        let values = &mut params[spec.range()];
        if spec.name.ends_with("norm.weight") || spec.name.ends_with("layernorm.weight") {
            values.fill(1.0);
        } else if spec.name == "model.embed_tokens.weight" {
            chain.iter().enumerate().for_each(|(at, token)| values[token * width + at] = 1.0);
        } else if spec.name == "lm_head.weight" {
            chain.iter().skip(1).enumerate().for_each(|(at, token)| values[token * width + at] = 4.0);
        }
    }
    save(folder, &model, &tokenizer, params)
}

/// A model that talks nonsense, for as long as one likes.
pub fn babbler(folder: &Path) -> PathBuf {
    let tokenizer = tokenizer();
    let config = DecoderConfig {
        n_embd: 16,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 16,
        context: 1 << 20,
        ..config(&tokenizer)
    };
    // Embeddings large enough that one token is likelier than another.
    let model = Decoder::new(DecoderConfig { init_std: 0.5, ..config }).expect("a model");
    let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
    save(folder, &model, &tokenizer, params);
    // No token ends its texts.
    let bos = tokenizer.special("<s>");
    let language = serde_json::json!({"bos": bos, "add_bos": true, "eos": []});
    fs::write(folder.join("language.json"), language.to_string()).expect("a file");
    folder.to_owned()
}
