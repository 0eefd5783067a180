//! How many parameters each part of a model has.

use crate::params::{Layout, ParamKind, ParamSpec};

/// A part of a model, as parameters belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Vectors of tokens. A head that shares them is counted here.
    TokenTable,
    /// Learned positions: vectors, or numbers that are added to scores.
    Positions,
    /// The layers of attention, of a translator's across to the source as well.
    Attention,
    /// The layers of the feed-forward networks.
    FeedForward,
    /// Gains and biases of normalisations.
    Norms,
    /// Other learned factors, as the normalized transformer has them.
    Scales,
    /// The head, if it has a table of its own, and its bias.
    Head,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::TokenTable,
        Part::Positions,
        Part::Attention,
        Part::FeedForward,
        Part::Norms,
        Part::Scales,
        Part::Head,
    ];

    /// The part that a parameter belongs to, by its kind and its name. What has no other place is a norm.
    pub fn of(spec: &ParamSpec) -> Part {
        let named = |part: &str| spec.name.split('.').any(|piece| piece == part);
        let below = |part: &str| spec.name.contains(&format!(".{part}."));
        match spec.kind {
            ParamKind::Gain => Part::Norms,
            ParamKind::Scale => Part::Scales,
            // The bias of a normalisation of queries or keys.
            ParamKind::Bias if named("q_norm") || named("k_norm") => Part::Norms,
            _ if named("embed_tokens") || named("shared") => Part::TokenTable,
            _ if named("embed_positions") || named("relative_attention_bias") => Part::Positions,
            _ if named("lm_head") || named("final_logits_bias") => Part::Head,
            _ if below("self_attn") || below("encoder_attn") => Part::Attention,
            _ if below("mlp") => Part::FeedForward,
            _ => Part::Norms,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Part::TokenTable => "token table",
            Part::Positions => "positions",
            Part::Attention => "attention",
            Part::FeedForward => "feed-forward",
            Part::Norms => "norms",
            Part::Scales => "scales",
            Part::Head => "head",
        }
    }
}

/// How many parameters each part has, in the order of [`Part::ALL`].
pub fn parameters(layout: &Layout) -> [(Part, usize); 7] {
    let count = |part| {
        layout.specs().iter().filter(|spec| Part::of(spec) == part).map(|spec| spec.range().len()).sum()
    };
    Part::ALL.map(|part| (part, count(part)))
}
