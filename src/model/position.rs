//! How a model knows where a token stands.
//!
//! Attention by itself does not: it mixes the values of keys, in whatever order they come. There are three places to tell it,
//! and [`Positions`] has a method for each:
//!
//! - beside the tokens, before the first block: *sinusoidal* and *learned* encodings are added to the embeddings;
//! - in queries and keys: *RoPE* rotates them, so that their product depends on how far apart they are;
//! - in the scores: *ALiBi* and *relative* positions add a number that depends on the distance alone.
//!
//! What depends on distances alone goes on beyond the longest sequence that was met in training.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConfigError, DecoderConfig};
use crate::params::{BoundParams, Init, Layout, Param, ParamSpec};
use crate::tensor::{Bias, Buckets, Mask, RopeScaling, Rotation, Tensor, alibi_slopes};

/// How a model knows the position of a token in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Position {
    /// Not at all. A causal mask still tells the tokens apart, by how many each of them sees (Kazemnejad et al. 2023).
    None,
    /// Sines and cosines of many wavelengths, added to the embeddings (Vaswani et al. 2017, section 3.5). They are computed,
    /// not stored; [`Tensor::sinusoids`] says which column is which.
    Sinusoidal,
    /// A learned vector for each position, added to the token's (GPT).
    Learned,
    /// Queries and keys are rotated by an angle that grows with the position: RoPE (Su et al. 2021).
    Rope {
        /// The slowest pair of columns rotates about this many times slower than the fastest; usually 10,000.
        base: f64,
        /// How rotations are slowed down for longer texts than those of the first training.
        #[serde(default, skip_serializing_if = "RopeScaling::is_none")]
        scaling: RopeScaling,
    },
    /// Scores are lowered in proportion to the distance, with a fixed slope for each head: ALiBi (Press et al. 2021).
    Alibi,
    /// Scores are changed by a number that is learned for each bucket of distances and each head, the same in all blocks: T5
    /// (Raffel et al. 2019, section 2.1).
    Relative {
        /// How many buckets there are: half of them for one distance each, and the others for longer and longer ranges. T5
        /// has 32.
        buckets: usize,
        /// From this distance on, all share the last bucket; more than half of `buckets`. T5 has 128.
        max_distance: usize,
    },
}

impl Position {
    /// RoPE that is not scaled.
    pub const fn rope(base: f64) -> Self {
        Position::Rope { base, scaling: RopeScaling::None }
    }

    /// Checks that a model of these sizes can have such positions.
    pub(super) fn check(self, config: &DecoderConfig) -> Result<(), ConfigError> {
        let err = |message: String| Err(ConfigError(message));
        match self {
            Position::None | Position::Learned | Position::Alibi => Ok(()),
            Position::Sinusoidal => match config.n_embd.is_multiple_of(2) {
                true => Ok(()),
                false => err(format!("sinusoidal positions need an even width, not {}", config.n_embd)),
            },
            Position::Rope { base, scaling } => {
                if !(base >= 1.0 && base.is_finite()) {
                    let name = "the base of the rotary positions";
                    return err(format!("{name} is {base}, but it has to be a number of at least 1"));
                }
                if let Some(problem) = scaling.problem() {
                    return err(format!("the scaling of the rotary positions is wrong: {problem}"));
                }
                if !config.head_dim().is_multiple_of(2) {
                    return err(format!(
                        "rotary positions need heads of even width, not {}",
                        config.head_dim()
                    ));
                }
                Ok(())
            }
            Position::Relative { buckets, max_distance } => {
                let (least, each) = match bidirectional(config.mask) {
                    true => (4, buckets / 2),
                    false => (2, buckets),
                };
                if buckets < least || bidirectional(config.mask) && buckets % 2 == 1 {
                    let even = if least == 4 { ", and an even number" } else { "" };
                    return err(format!(
                        "relative positions need at least {least} buckets{even}, not {buckets}"
                    ));
                }
                if max_distance <= each / 2 {
                    return err(format!(
                        "{buckets} buckets need a max_distance of more than {}, not {max_distance}",
                        each / 2
                    ));
                }
                Ok(())
            }
        }
    }
}

/// Whether a query sees keys on both sides, so that one half of the buckets is for later ones.
fn bidirectional(mask: Mask) -> bool {
    mask == Mask::Full
}

/// The positions of a model with what they need: parameters, or numbers that follow from its sizes.
#[derive(Clone, Debug)]
pub enum Positions {
    /// [`Position::None`].
    None,
    /// [`Position::Sinusoidal`].
    Sinusoidal,
    /// [`Position::Learned`]: a table `[context, n_embd]`.
    Learned(Param),
    /// [`Position::Rope`].
    Rope(Rotation),
    /// [`Position::Alibi`]: a slope for each query head.
    Alibi(Arc<[f64]>),
    /// [`Position::Relative`]: a table `[buckets, n_head]`.
    Relative(Param, Buckets),
}

impl Positions {
    /// The positions of this configuration. Those that are learned are added to the layout, with names that begin with `name`.
    pub fn new(config: &DecoderConfig, name: &str, layout: &mut Layout) -> Self {
        let init = Init::Normal(config.init_std);
        match config.position {
            Position::None => Positions::None,
            Position::Sinusoidal => Positions::Sinusoidal,
            Position::Learned => {
                let name = format!("{name}.embed_positions.weight");
                let table = ParamSpec::embedding(name, config.context, config.n_embd, init);
                Positions::Learned(layout.add(table))
            }
            Position::Rope { base, scaling } => Positions::Rope(Rotation { base, scaling }),
            Position::Alibi => Positions::Alibi(alibi_slopes(config.n_head).into()),
            Position::Relative { buckets: count, max_distance } => {
                let name = format!("{name}.relative_attention_bias.weight");
                let table = layout.add(ParamSpec::embedding(name, count, config.n_head, init));
                let bidirectional = bidirectional(config.mask);
                Positions::Relative(table, Buckets { count, max_distance, bidirectional })
            }
        }
    }

    /// What is added to the embeddings: `[n, n_embd] → [n, n_embd]`.
    pub fn embed<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, positions: &[usize]) -> T {
        match self {
            Positions::Sinusoidal => x + x.sinusoids(positions, x.shape().1),
            Positions::Learned(table) => x + w[*table].gather_rows(positions),
            Positions::None | Positions::Rope(_) | Positions::Alibi(_) | Positions::Relative(..) => x,
        }
    }

    /// What is done to queries or keys: `[n, heads · head_dim] → [n, heads · head_dim]`.
    pub fn rotate<T: Tensor>(&self, x: T, positions: &[usize], heads: usize) -> T {
        match self {
            Positions::Rope(rotation) => x.rope(positions, heads, *rotation),
            Positions::None
            | Positions::Sinusoidal
            | Positions::Learned(_)
            | Positions::Alibi(_)
            | Positions::Relative(..) => x,
        }
    }

    /// What is added to the scores.
    pub fn bias<T: Tensor>(&self, w: BoundParams<'_, T>) -> Option<Bias<'_, T>> {
        match self {
            Positions::Alibi(slopes) => Some(Bias::Alibi(slopes)),
            Positions::Relative(table, buckets) => Some(Bias::Table(w[*table], *buckets)),
            Positions::None | Positions::Sinusoidal | Positions::Learned(_) | Positions::Rope(_) => None,
        }
    }
}
