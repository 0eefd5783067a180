//! LoRA (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"): a decoder whose weights are frozen, and beside
//! some of its layers small matrices that are trained.
//!
//! A layer computes `x·Wᵀ + scale · (x·Aᵀ)·Bᵀ`, as if its weight were `W + scale · B·A`. `A` `[rank, inputs]` is drawn at random,
//! `B` `[outputs, rank]` is zero at first: before the first step the model is its base. What is trained is a hundredth of the
//! numbers, and so are its gradient and what the optimizer remembers.
//!
//! The parameters of all adapters come after those of the base. So the base's are the first part of the flat buffer, and other
//! numbers behind them are another adapter on the same base.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Decoder, LowRank};
use crate::params::ParamSpec;
use crate::random::Random;
use crate::real::Real;

/// Which adapters a decoder gets.
///
/// ```
/// use gradus::model::{Decoder, LoraConfig, LoraTarget, Model, Preset};
/// let base = Decoder::new(Preset::Llama.config(32_000))?;
/// let lora = LoraConfig { rank: 8, targets: vec![LoraTarget::QProj, LoraTarget::VProj], ..LoraConfig::default() };
/// let model = base.clone().with_adapters(&lora)?;
/// assert_eq!(model.layout().trainable_len(), 8 * 8 * (512 + 512 + 512 + 256));
/// assert_eq!(model.layout().len(), base.layout().len() + model.layout().trainable_len());
/// # Ok::<(), gradus::model::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// How many rows `A` has, and columns `B`.
    pub rank: usize,
    /// How much an adapter counts: `scale` is `alpha / rank`, so that another rank needs no other learning rate (section 4.1).
    pub alpha: f64,
    /// The probability that an element of what an adapter reads is dropped, during training.
    pub dropout: f64,
    /// Which layers get one, in every block.
    pub targets: Vec<LoraTarget>,
}

impl Default for LoraConfig {
    /// Rank 16, alpha 32, dropout 0.1, and every layer of the blocks.
    fn default() -> Self {
        LoraConfig { rank: 16, alpha: 32.0, dropout: 0.1, targets: LoraTarget::ALL.to_vec() }
    }
}

/// A layer of each block that may get an adapter, by the name that it has in peft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraTarget {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// The output of attention.
    OProj,
    /// The gate of the feed-forward network.
    GateProj,
    /// What the gate lets through.
    UpProj,
    /// The output of the feed-forward network.
    DownProj,
}

impl LoraTarget {
    /// All of them, in the order of their parameters.
    pub const ALL: [LoraTarget; 7] = [
        LoraTarget::QProj,
        LoraTarget::KProj,
        LoraTarget::VProj,
        LoraTarget::OProj,
        LoraTarget::GateProj,
        LoraTarget::UpProj,
        LoraTarget::DownProj,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            LoraTarget::QProj => "q_proj",
            LoraTarget::KProj => "k_proj",
            LoraTarget::VProj => "v_proj",
            LoraTarget::OProj => "o_proj",
            LoraTarget::GateProj => "gate_proj",
            LoraTarget::UpProj => "up_proj",
            LoraTarget::DownProj => "down_proj",
        }
    }
}

impl fmt::Display for LoraTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LoraTarget {
    type Err = ConfigError;

    /// The target of a name.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        if let Some(target) = Self::ALL.into_iter().find(|target| target.name() == name) {
            return Ok(target);
        }
        let known = Self::ALL.map(Self::name).join(", ");
        Err(ConfigError(match name {
            "lm_head" | "embed_tokens" => format!(
                "{name} cannot have an adapter. Where the head shares the table of tokens, as in Llama's small models, both are \
                 one matrix: an adapter of one would leave the other as it is, and once it is merged both would change, so the \
                 merged model would be another than the one that was trained. Choose among {known}"
            ),
            _ => format!("{name:?} is no layer that can have an adapter. Choose among {known}"),
        }))
    }
}

/// The adapters that a decoder has.
#[derive(Clone, Debug)]
pub(super) struct Adapters {
    config: LoraConfig,
    /// Weight and adapter of each layer that has one.
    layers: Vec<(ParamSpec, LowRank)>,
    /// How many parameters the base has, and how many numbers they are.
    base: (usize, usize),
}

impl Decoder {
    /// This decoder with adapters. Every parameter that it had is frozen; those of the adapters are added at the end, block by
    /// block, and are all that is trained.
    ///
    /// What the decoder is saved as ([`SavedModel`](super::SavedModel), checkpoints, folders of other programs) is a model without
    /// adapters: [`merge`](Self::merge) them first, or save them alone ([`checkpoint::adapter`](crate::checkpoint::adapter)).
    ///
    /// # Errors
    /// If the numbers do not fit together, if a target is no layer of this decoder, or if it has adapters already.
    pub fn with_adapters(mut self, config: &LoraConfig) -> Result<Self, ConfigError> {
        if self.adapters.is_some() {
            return Err(ConfigError(
                "this decoder has adapters already: merge them first, or take its base (Decoder::base)"
                    .to_owned(),
            ));
        }
        check(config)?;
        let base = (self.layout.specs().len(), self.layout.len());
        self.layout.freeze(|_| true);
        check_layers(config, &mut self)?;
        // After the points of the residual connections, two for each block.
        let (first_point, scale) = (2 * self.blocks.len(), config.alpha / config.rank as f64);
        let mut layers = Vec::new();
        for (block, part) in self.blocks.iter_mut().enumerate() {
            for layer in part.layers_mut() {
                let weight = self.layout[layer.weight].clone();
                let Some(target) = target_of(&weight).filter(|target| config.targets.contains(target)) else {
                    continue;
                };
                // A point of its own, whatever else has an adapter.
                let point = first_point + LoraTarget::ALL.len() * block + target as usize;
                *layer = layer
                    .with_adapter(&mut self.layout, config.rank, scale)
                    .with_adapter_dropout(config.dropout, point);
                layers.extend(layer.adapter.map(|adapter| (weight, adapter)));
            }
        }
        self.adapters = Some(Adapters { config: config.clone(), layers, base });
        Ok(self)
    }

    /// Which adapters it has, if any.
    pub fn adapters(&self) -> Option<&LoraConfig> {
        self.adapters.as_ref().map(|adapters| &adapters.config)
    }

    /// How many numbers the base has. They are the first in the flat buffer, and those of the adapters follow.
    pub fn base_len(&self) -> usize {
        self.adapters.as_ref().map_or(self.layout.len(), |adapters| adapters.base.1)
    }

    /// The same decoder without adapters. Nothing of it is frozen.
    pub fn base(&self) -> Decoder {
        Decoder::new(self.config.clone()).expect("a configuration that was checked")
    }

    /// The base's numbers with those of fresh adapters behind them, which change nothing yet. None are drawn for the base.
    ///
    /// # Panics
    /// If the base has more or fewer numbers.
    pub fn with_fresh_adapters<R: Real>(&self, base: &[R], random: &mut Random) -> Vec<R> {
        assert_eq!(
            base.len(),
            self.base_len(),
            "with_fresh_adapters: the given numbers against those of the base"
        );
        let first = self.adapters.as_ref().map_or(self.layout.specs().len(), |adapters| adapters.base.0);
        [base, &self.layout.initial_from(first, random)].concat()
    }

    // ANCHOR: merge
    /// The numbers of the plain base with every adapter added to its weight, `W + scale · B·A`, computed in `f64`: what
    /// [`base`](Self::base) makes of them is what this decoder makes of its own, up to rounding.
    ///
    /// # Panics
    /// If there are not as many numbers as the layout says.
    pub fn merge<R: Real>(&self, params: &[R]) -> Vec<R> {
        assert_eq!(params.len(), self.layout.len(), "merge: the given numbers against those of the layout");
        let mut merged = params[..self.base_len()].to_vec();
        let layers = self.adapters.as_ref().map_or(&[][..], |adapters| &adapters.layers);
        for (weight, LowRank { a, b, scale, .. }) in layers {
            let [a, b] = [a, b].map(|matrix| &params[self.layout[*matrix].range()]);
            let (inputs, rank) = (weight.cols, b.len() / weight.rows);
            let rows = merged[weight.range()].chunks_exact_mut(inputs);
            for (w, b) in rows.zip(b.chunks_exact(rank)) {
                let mut sum = vec![0.0; inputs]; // a row of B·A
                for (b, a) in b.iter().zip(a.chunks_exact(inputs)) {
                    sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += b.to_f64() * a.to_f64());
                }
                w.iter_mut().zip(sum).for_each(|(w, sum)| *w = R::from_f64(w.to_f64() + scale * sum));
            }
        }
        merged
    }
    // ANCHOR_END: merge
}

/// Whether there can be such adapters, whatever the decoder.
fn check(config: &LoraConfig) -> Result<(), ConfigError> {
    let LoraConfig { rank, alpha, dropout, targets } = config;
    let problem = if *rank == 0 {
        "a rank of 0 adapts nothing: take at least 1".to_owned()
    } else if !(*alpha > 0.0 && alpha.is_finite()) {
        format!("alpha is {alpha}, but it has to be a number above 0")
    } else if !(0.0..1.0).contains(dropout) {
        format!("an adapter's dropout of {dropout} is no probability below 1")
    } else if targets.is_empty() {
        format!(
            "no layer is to be adapted. Choose among {}",
            LoraTarget::ALL.map(LoraTarget::name).join(", ")
        )
    } else {
        return Ok(());
    };
    Err(ConfigError(problem))
}

/// Whether this decoder has such layers, and one buffer has room for their adapters.
fn check_layers(config: &LoraConfig, decoder: &mut Decoder) -> Result<(), ConfigError> {
    let Decoder { layout, blocks, .. } = decoder;
    let Some(first) = blocks.first_mut() else { return Ok(()) };
    let layers: Vec<&ParamSpec> = first.layers_mut().map(|layer| &layout[layer.weight]).collect();
    let find = |target: &LoraTarget| layers.iter().find(|weight| target_of(weight) == Some(*target));
    let mut sides = 0_usize;
    for target in &config.targets {
        let Some(weight) = find(target) else {
            let names: Vec<&str> = layers.iter().map(|weight| layer_name(weight)).collect();
            return Err(ConfigError(format!("there is no {target} in this model, but {}", names.join(", "))));
        };
        sides = sides.saturating_add(weight.rows).saturating_add(weight.cols);
    }
    let numbers = sides.checked_mul(config.rank).and_then(|numbers| numbers.checked_mul(blocks.len()));
    match numbers.and_then(|numbers| numbers.checked_add(layout.len())) {
        Some(all) if all <= u32::MAX as usize => Ok(()),
        _ => Err(ConfigError(format!(
            "with adapters of rank {} the model has more parameters than the 2³² that one buffer holds",
            config.rank
        ))),
    }
}

/// What a layer is called within its block, from its weight: the last part of the name.
fn layer_name(weight: &ParamSpec) -> &str {
    let layer = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
    layer.rsplit('.').next().unwrap_or(layer)
}

/// The target that the layer of a weight is.
fn target_of(weight: &ParamSpec) -> Option<LoraTarget> {
    LoraTarget::ALL.into_iter().find(|target| target.name() == layer_name(weight))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::DecoderConfig;

    fn points(targets: &[LoraTarget]) -> Vec<usize> {
        let config = DecoderConfig { n_layer: 3, ..DecoderConfig::llama(10) };
        let lora = LoraConfig { targets: targets.to_vec(), ..LoraConfig::default() };
        let mut model = Decoder::new(config).and_then(|base| base.with_adapters(&lora)).expect("a Llama");
        let layers = model.blocks.iter_mut().flat_map(|block| block.layers_mut());
        layers.filter_map(|layer| Some(layer.adapter?.dropout_point)).collect()
    }

    /// Each block has two points of its own before the first adapter's. What else is adapted does not move a point.
    #[test]
    fn no_two_adapters_drop_alike() {
        let all = points(&LoraTarget::ALL);
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (21, 21));
        assert!(all.iter().all(|point| *point >= 2 * 3));
        for (at, target) in LoraTarget::ALL.into_iter().enumerate() {
            let own: Vec<usize> = all.iter().copied().skip(at).step_by(7).collect();
            assert_eq!(points(&[target]), own, "{target}");
        }
    }
}
