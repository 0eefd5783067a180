//! How much memory a training will need, said before it is asked for; and how much there is, and was.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use gradus::fast::Precision;
use gradus::model::DecoderConfig;

use crate::Usage;

/// Fails if the system has less memory free than a training of this model will need. Where that cannot be found out (it is
/// read from `/proc/meminfo`), only what no machine has is refused.
///
/// `tokens` are those of a micro-batch, whose rows are all kept at a time. Of the `step_tokens` of all micro-batches in a step
/// only the tokens are.
pub fn check_memory(
    config: &DecoderConfig,
    tokens: usize,
    step_tokens: usize,
    weighting: bool,
    precision: Precision,
) -> Result<()> {
    let table = if weighting { of_weighting(config.vocab_size) } else { 0.0 };
    let (rows, text) = (of_training(config, tokens, precision), of_tokens(step_tokens, weighting));
    let cure = if table > text.max(1e9) {
        "leave --weighting out"
    } else if text > rows {
        "give a smaller --accumulate"
    } else {
        "give a smaller --batch, --context, --embd or --layers"
    };
    let what = format!("a training of this model, {tokens} tokens at a time,");
    check_free(&what, rows + text + table, cure)
}

/// Fails if the system has less memory free than it will need to read this text.
pub fn check_text(path: &Path) -> Result<()> {
    // The text, a copy with plain line ends, and four bytes for each token, in vectors that may be half empty.
    let length = fs::metadata(path).map_or(0, |file| file.len());
    check_free(&format!("to read {}", path.display()), 10.0 * length as f64, "take a part of it")
}

/// Fails if `what` needs more bytes than the system has free. `cure` says what to do about it.
pub fn check_free(what: &str, need: f64, cure: &str) -> Result<()> {
    let free = free_memory();
    let (need_gb, free_gb) = (need / 1e9, free / 1e9);
    let problem =
        format!("{what} needs about {need_gb:.1} GB of memory, and {free_gb:.1} GB are free: {cure}");
    ensure!(need <= free, Usage(problem));
    Ok(())
}

/// About how many bytes. In floating point, since sizes that make no sense have products that do not fit into an integer.
fn of_training(config: &DecoderConfig, tokens: usize, precision: Precision) -> f64 {
    let size = |x: usize| x as f64;
    let DecoderConfig { n_layer, n_embd, n_ffn, n_head, vocab_size, context, .. } = *config;
    let block = size(n_embd) * (4.0 * size(n_embd) + 3.0 * size(n_ffn));
    let params = size(n_layer) * block + (2.0 * size(vocab_size) + size(context)) * size(n_embd);
    // A token's results in each block and its logits; and what is saved: a probability for every head and every place it can
    // look at, and for every next token.
    let results = size(n_layer) * (10.0 * size(n_embd) + 3.0 * size(n_ffn)) + size(vocab_size);
    let saved = size(n_layer) * size(n_head) * size(context) + size(vocab_size);
    // Parameters, gradient, two moments and an average; in mixed precision also a rounded copy, and results of two bytes.
    // All else has four, also the gradients of rows.
    let (copies, result) = if precision == Precision::F32 { (5.0, 4.0) } else { (6.0, 2.0) };
    4.0 * copies * params + size(tokens) * (result * results + 4.0 * saved + 4.0 * (results + saved))
}

/// The tokens of a step with their positions, targets and weights, eight bytes each, in vectors that may be half empty;
/// and copies with other weights.
fn of_tokens(tokens: usize, weighting: bool) -> f64 {
    let copies = if weighting { 3.0 } else { 2.0 };
    copies * 4.0 * 8.0 * tokens as f64
}

/// The table of all bigrams, and two copies of it while the state is saved.
fn of_weighting(vocab_size: usize) -> f64 {
    3.0 * 4.0 * (vocab_size as f64).powi(2)
}

/// The bytes that are free, as Linux says; elsewhere more than any machine has.
pub fn free_memory() -> f64 {
    proc_bytes("/proc/meminfo", "MemAvailable:").unwrap_or(1e13)
}

/// The most bytes that this program has had in memory at a time, if the system says.
pub fn peak_memory() -> Option<f64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// A line such as `MemAvailable:   20123456 kB`.
fn proc_bytes(file: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(1024.0 * line.trim().strip_suffix(" kB")?.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a step is one micro-batch, and the tokens of all.
    #[test]
    fn micro_batches_need_the_memory_of_one() {
        let config = DecoderConfig::dialog(70);
        let [one, all] = [2048, 64 * 2048].map(|tokens| of_training(&config, tokens, Precision::F32));
        let accumulated = one + of_tokens(64 * 2048, true);
        assert!(accumulated < 1.2 * one && accumulated < all / 10.0, "{one} {accumulated} {all}");
        check_memory(&config, 2048, 64 * 2048, true, Precision::F32).unwrap();
        let error = check_memory(&config, 2048, 1 << 50, false, Precision::F32).unwrap_err();
        assert!(error.to_string().contains("--accumulate"), "{error}");
    }

    /// The dialog model took 192 MB at its peak with 2,048 tokens a step (`/usr/bin/time -v`).
    #[test]
    fn the_estimate_has_the_right_size() {
        let megabytes = of_training(&DecoderConfig::dialog(70), 2048, Precision::F32) / 1e6;
        assert!((95.0..380.0).contains(&megabytes), "{megabytes}");
        let half = of_training(&DecoderConfig::dialog(70), 2048, Precision::F16) / 1e6;
        assert!((0.5 * megabytes..megabytes).contains(&half), "{half} with results of 16 bits");
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        let huge = DecoderConfig { n_embd: 1 << 20, n_layer: 1 << 20, ..DecoderConfig::dialog(70) };
        let error = check_memory(&huge, 1, 1, false, Precision::Bf16).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("GB"), "{error}");
        check_memory(&DecoderConfig::microgpt(27), 16, 16, true, Precision::F32).unwrap();
        let error = check_memory(&DecoderConfig::dialog(1 << 20), 1, 1, true, Precision::F32).unwrap_err();
        assert!(error.to_string().contains("--weighting"), "{error}");
    }
}
