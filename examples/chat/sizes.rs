//! The sizes of a model that is made here.

use clap::ValueEnum;
use gradus::model::{DecoderConfig, Preset};
use serde::{Deserialize, Serialize};
use support::args::{at_least_1, whole};

/// The sizes of a Llama. Those that no option says are those of a preset.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
pub struct Sizes {
    /// The sizes of the model, as far as no option says otherwise
    #[arg(long, value_enum, default_value_t = PresetName::Small)]
    preset: PresetName,
    /// Blocks of the transformer. All sizes together may give a model at most 2^32 parameters
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    layers: Option<usize>,
    /// Its width
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    embd: Option<usize>,
    /// Heads of queries, which must divide the width
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    heads: Option<usize>,
    /// Heads of keys and values, which must divide those of queries
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    kv_heads: Option<usize>,
    /// The inner width of the feed-forward networks
    #[arg(long, value_name = "N", value_parser = at_least_1)]
    ffn: Option<usize>,
    /// The longest sequence it can read: at most 1048576 tokens
    #[arg(long, value_name = "N", value_parser = whole(1..=1 << 20))]
    pub context: Option<usize>,
}

/// The presets that can be made here.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")] // as on the command line
enum PresetName {
    /// 4 blocks, 192 wide, 6 heads of queries and 3 of keys, a context of 512: for two processors and some minutes
    Small,
    /// 8 blocks, 512 wide, 8 heads of queries and 4 of keys: 41.6 million parameters with 32,000 tokens
    Llama,
}

impl Sizes {
    /// The options that say what a model that is there already has.
    pub const OPTIONS: [&str; 6] = ["preset", "layers", "embd", "heads", "kv_heads", "ffn"];

    /// A model of these sizes.
    pub fn config(&self, vocab_size: usize) -> DecoderConfig {
        let llama = Preset::Llama.config(vocab_size);
        let preset = match self.preset {
            PresetName::Llama => llama,
            PresetName::Small => DecoderConfig {
                n_layer: 4,
                n_embd: 192,
                n_head: 6,
                n_kv_head: 3,
                n_ffn: 512,
                context: 512,
                ..llama
            },
        };
        let n_head = self.heads.unwrap_or(preset.n_head);
        // With other heads, as many query heads as before share one of keys, where that is possible.
        let shared = preset.n_head / preset.n_kv_head;
        let n_kv_head = if n_head.is_multiple_of(shared) { n_head / shared } else { n_head };
        let n_embd = self.embd.unwrap_or(preset.n_embd);
        let in_proportion = n_embd.saturating_mul(preset.n_ffn) / preset.n_embd;
        DecoderConfig {
            n_layer: self.layers.unwrap_or(preset.n_layer),
            n_embd,
            n_head,
            n_kv_head: self.kv_heads.unwrap_or(n_kv_head),
            n_ffn: self.ffn.unwrap_or(in_proportion.max(1)),
            context: self.context.unwrap_or(preset.context),
            ..preset
        }
    }
}
