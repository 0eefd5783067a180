//! Files of llama2.c, written as its `export.py` does.

use gradus::model::{Decoder, DecoderConfig, Model, TiedEmbeddings};
use gradus::random::Random;

const VOCAB_SIZE: usize = 259 + 5;

/// A small model with random numbers.
pub fn model(tied: bool) -> (Decoder, Vec<f32>) {
    let tied_embeddings = if tied { TiedEmbeddings::Output } else { TiedEmbeddings::None };
    let config = DecoderConfig {
        context: 6,
        n_layer: 2,
        n_embd: 12,
        n_head: 3,
        n_kv_head: 1,
        n_ffn: 5,
        norm_eps: 1e-5,
        tied_embeddings,
        ..DecoderConfig::llama(VOCAB_SIZE)
    };
    let model = Decoder::new(config).expect("a small model");
    let mut random = Random::new(4);
    let params = (0..model.layout().len()).map(|_| random.gauss(0.0, 1.0) as f32).collect();
    (model, params)
}

/// The bytes of a checkpoint, written as llama2.c's `export.py` does.
pub fn written(model: &Decoder, params: &[f32]) -> Vec<u8> {
    let config = model.config();
    let tied = config.tied_embeddings == TiedEmbeddings::Output;
    let vocab = config.vocab_size as i32;
    let header = [12, 5, 2, 3, 1, if tied { vocab } else { -vocab }, 6_i32];
    let mut bytes: Vec<u8> = header.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut put = |name: &str, rotated: bool| {
        let spec = model.layout().specs().iter().find(|spec| spec.name == name).expect("a parameter");
        let numbers = &params[spec.range()];
        for row in 0..spec.rows {
            // Heads are 4 rows: 0 1 2 3 of ours are 0 2 1 3 there.
            let row = if rotated { row / 4 * 4 + [0, 2, 1, 3][row % 4] } else { row };
            bytes.extend(numbers[row * spec.cols..][..spec.cols].iter().flat_map(|x| x.to_le_bytes()));
        }
    };
    put("model.embed_tokens.weight", false);
    for part in [
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.down_proj",
        "mlp.up_proj",
    ] {
        for layer in 0..2 {
            put(
                &format!("model.layers.{layer}.{part}.weight"),
                part.ends_with("q_proj") || part.ends_with("k_proj"),
            );
        }
    }
    put("model.norm.weight", false);
    let head: Vec<u8> = if tied {
        Vec::new()
    } else {
        let spec = model.layout().specs().iter().find(|spec| spec.name == "lm_head.weight").expect("a head");
        params[spec.range()].iter().flat_map(|x| x.to_le_bytes()).collect()
    };
    // Cosines and sines, which nobody needs.
    bytes.extend([7_u8; 6 * 4 * 4]);
    bytes.extend(head);
    bytes
}

/// The bytes of `tokenizer.bin`.
pub fn tokenizer() -> Vec<u8> {
    let mut pieces: Vec<(f32, String)> =
        ["<unk>", "\n<s>\n", "\n</s>\n"].iter().map(|name| (0.0, (*name).to_owned())).collect();
    pieces.extend((0..=255).map(|byte| (0.0, format!("<0x{byte:02X}>"))));
    for (score, text) in [(-1.0, " a"), (-2.0, "bé"), (-3.0, " "), (-4.0, "a"), (-5.0, "b")] {
        pieces.push((score, text.to_owned()));
    }
    let mut bytes = 7_i32.to_le_bytes().to_vec();
    for (score, text) in pieces {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}
