//! Checkpoints of llama2.c, such as those of the TinyStories models: small Llamas that were really trained.
//!
//! The checkpoint is a header of seven integers and all weights in `f32`, one kind after another, each for all layers. There are
//! no names. The tokenizer is a file of its own, `tokenizer.bin`: pieces with scores. Both are little-endian.

use std::path::Path;

use super::hugging_face::{FolderError, wrong};
use super::mapped::FileBytes;
use super::rope_rows::RowOrder;
use super::{CheckpointError, EndTokens, GenerationDefaults, LanguageModel};
use crate::model::{ConfigError, Decoder, DecoderConfig, Model, TiedEmbeddings};
use crate::tokenizer::{Piece, PieceKind, PieceSpec, PieceTokenizer, SpacePrefix, SpecError, TokenizerSpec};

/// What helps with a file that was cut off or changed.
const CURE: &str = "Take a copy that is whole, of version 0 as llama2.c's export.py writes it";

/// Which tokens begin and end a text: in llama2.c that is fixed.
const BOS: usize = 1;
const EOS: usize = 2;
/// Where the pieces of single bytes are.
const FIRST_BYTE: usize = 3;
/// The seven integers.
const HEADER: usize = 7 * 4;
/// The first four bytes of later versions.
const LATER_MAGIC: u32 = 0x616b_3432;

/// Reads a checkpoint and its tokenizer.
///
/// The models of TinyStories were trained on stories with BOS between them, so BOS ends what they write, as EOS does.
///
/// # Errors
/// If a file is missing or damaged: says at which byte, or which piece.
pub fn import(checkpoint: &Path, tokenizer: &Path) -> Result<LanguageModel, FolderError> {
    let parsed = model(&open(checkpoint)?);
    let (model, params) = parsed.map_err(|problem| wrong(checkpoint, problem, CURE))?;
    let spec = pieces(&open(tokenizer)?, model.config().vocab_size);
    let spec = spec.map_err(|problem| wrong(tokenizer, problem, CURE))?;
    Ok(LanguageModel {
        model,
        params,
        tokenizer: Ok(TokenizerSpec::Pieces(spec)),
        tokens: EndTokens { bos: Some(BOS), add_bos: true, eos: vec![EOS, BOS], ..EndTokens::default() },
        chat_template: None,
        defaults: GenerationDefaults::default(),
    })
}

fn open(path: &Path) -> Result<FileBytes, FolderError> {
    let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
    Ok(FileBytes::open(path).map_err(io)?)
}

/// The model and its weights.
fn model(bytes: &[u8]) -> Result<(Decoder, Vec<f32>), String> {
    let config = config(bytes)?;
    let (vocab, width, layers) = (config.vocab_size, config.n_embd, config.n_layer);
    let (head_dim, kv_width) = (config.head_dim(), config.n_kv_head * config.head_dim());
    // The table of sines and cosines for all positions, which is computed here.
    let rotations = config.context.checked_mul(head_dim).ok_or("its context is longer than any file")?;
    let tied = config.tied_embeddings == TiedEmbeddings::Output;
    let per_layer = 2 * width + (2 * width + 2 * kv_width) * width + 3 * config.n_ffn * width;
    // (A configuration that was checked has fewer than 2³² numbers.)
    let needed = if tied { 1 } else { 2 } * vocab * width + layers * per_layer + width;
    let needed = needed.checked_add(rotations).ok_or("its context is longer than any file")?;
    let numbers = &bytes[HEADER..];
    if needed.checked_mul(4) != Some(numbers.len()) {
        return Err(format!(
            "a model of these sizes has {needed} numbers of 4 bytes after the header, but there are {} bytes",
            numbers.len()
        ));
    }
    // The file is as long as it says, so there is a reason for a layout and for this much memory.
    let model = Decoder::new(config).map_err(|ConfigError(problem)| problem)?;
    let mut params = vec![0.0; model.layout().len()];
    let mut left = numbers;
    let mut read = |left: &mut &[u8], name: &str, order: RowOrder| -> Result<(), String> {
        let spec = model.layout().specs().iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| format!("{name} is no part of such a model"))?;
        let (these, rest) = left.split_at(4 * spec.range().len());
        *left = rest;
        let to = &mut params[spec.range()];
        for (at, (to, &four)) in to.iter_mut().zip(these.as_chunks().0).enumerate() {
            *to = f32::from_le_bytes(four);
            if !to.is_finite() {
                return Err(format!("{name} holds {to} at place {at}"));
            }
        }
        order.restore(to, spec.cols);
        Ok(())
    };
    let rotated = RowOrder::Interleaved { head_dim };
    read(&mut left, "model.embed_tokens.weight", RowOrder::Same)?;
    for (part, order) in [
        ("input_layernorm", RowOrder::Same),
        ("self_attn.q_proj", rotated),
        ("self_attn.k_proj", rotated),
        ("self_attn.v_proj", RowOrder::Same),
        ("self_attn.o_proj", RowOrder::Same),
        ("post_attention_layernorm", RowOrder::Same),
        ("mlp.gate_proj", RowOrder::Same),
        ("mlp.down_proj", RowOrder::Same),
        ("mlp.up_proj", RowOrder::Same),
    ] {
        for layer in 0..layers {
            read(&mut left, &format!("model.layers.{layer}.{part}.weight"), order)?;
        }
    }
    read(&mut left, "model.norm.weight", RowOrder::Same)?;
    if !tied {
        // The sines and cosines stand between.
        let (_, rest) = left.split_at(4 * rotations);
        left = rest;
        read(&mut left, "lm_head.weight", RowOrder::Same)?;
    }
    Ok((model, params))
}

/// The configuration in the header.
fn config(bytes: &[u8]) -> Result<DecoderConfig, String> {
    let short = || format!("it has {} bytes, where the header alone has {HEADER}", bytes.len());
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(short)?;
    let integers = header.as_chunks().0;
    if u32::from_le_bytes(integers[0]) == LATER_MAGIC {
        let version = i32::from_le_bytes(integers[1]);
        return Err(format!("it is of version {version}, where gradus reads version 0, which has no magic"));
    }
    const NAMES: [&str; 7] =
        ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];
    let mut sizes = [0_usize; 7];
    let mut tied_embeddings = TiedEmbeddings::Output;
    for (at, name) in NAMES.into_iter().enumerate() {
        let mut size = i32::from_le_bytes(integers[at]);
        if name == "vocab_size" && size < 0 {
            // So the format says that the head has a matrix of its own.
            (tied_embeddings, size) = (TiedEmbeddings::None, size.wrapping_neg());
        }
        sizes[at] = match usize::try_from(size) {
            Ok(size) if size > 0 => size,
            _ => return Err(format!("{name}, at byte {}, is {size}", 4 * at)),
        };
    }
    let [n_embd, n_ffn, n_layer, n_head, n_kv_head, vocab_size, context] = sizes;
    if !n_embd.is_multiple_of(n_head) {
        return Err(format!("n_heads is {n_head}, which does not divide dim, {n_embd}"));
    }
    let config = DecoderConfig {
        context,
        n_layer,
        n_embd,
        n_head,
        n_kv_head,
        n_ffn,
        norm_eps: 1e-5,
        tied_embeddings,
        ..DecoderConfig::llama(vocab_size)
    };
    config.check().map_err(|ConfigError(problem)| problem)?;
    Ok(config)
}

/// The tokenizer. It has as many pieces as the model has tokens.
fn pieces(bytes: &[u8], count: usize) -> Result<PieceSpec, String> {
    let mut at = 0;
    let mut take = |len: usize, what: &dyn Fn() -> String| {
        let taken = bytes[at..].get(..len).ok_or_else(|| {
            format!("at byte {at}, {} has {len} bytes, and {} are left", what(), bytes.len() - at)
        })?;
        at += len;
        Ok::<_, String>(taken)
    };
    let four = |bytes: &[u8]| -> [u8; 4] { *bytes.first_chunk().expect("as many as were asked for") };
    let longest = i32::from_le_bytes(four(take(4, &|| "the length of the longest piece".to_owned())?));
    let mut pieces = Vec::new();
    for id in 0..count {
        let what = |part: &'static str| move || format!("the {part} of piece {id}");
        let score = f32::from_le_bytes(four(take(4, &what("score"))?));
        let len = i32::from_le_bytes(four(take(4, &what("length"))?));
        if !(1..=longest.max(1)).contains(&len) {
            return Err(format!("piece {id} is {len} bytes long, and the longest is to be {longest}"));
        }
        let text = std::str::from_utf8(take(len as usize, &what("text"))?);
        let text = text.map_err(|_| format!("piece {id} is not UTF-8"))?;
        let kind = match id {
            0 => PieceKind::Unknown,
            BOS | EOS => PieceKind::Control,
            FIRST_BYTE..=258 => PieceKind::Byte,
            _ => PieceKind::Normal,
        };
        // There the names of BOS and EOS are between newlines, for the sake of what is printed.
        let text = if kind == PieceKind::Control { text.trim() } else { text };
        pieces.push(Piece { text: text.to_owned(), score, kind });
    }
    if at < bytes.len() {
        return Err(format!(
            "after {count} pieces, as many as the model has tokens, {} bytes are left",
            bytes.len() - at
        ));
    }
    let spec = PieceSpec { pieces, space_prefix: SpacePrefix::Prepend };
    PieceTokenizer::from_spec(&spec).map_err(|SpecError(problem)| problem)?;
    Ok(spec)
}
