//! A model as it is written to disk.

use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Decoder, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, Model, Sphere, SphereConfig,
};
use crate::params::Layout;

/// Which model: all but its weights, a variant for each family. In JSON the field `type` tells them apart:
/// `{"type": "decoder", "vocab_size": 27, …}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelSpec {
    /// A [`Decoder`].
    Decoder(DecoderConfig),
    /// A [`Sphere`].
    Sphere(SphereConfig),
    /// An [`EncoderDecoder`].
    EncoderDecoder(EncoderDecoderConfig),
}

impl ModelSpec {
    /// What the family is called: its [`SavedModel::FAMILY`].
    pub fn family(&self) -> &'static str {
        match self {
            ModelSpec::Decoder(_) => Decoder::FAMILY,
            ModelSpec::Sphere(_) => Sphere::FAMILY,
            ModelSpec::EncoderDecoder(_) => EncoderDecoder::FAMILY,
        }
    }

    /// How many tokens the model knows.
    pub fn vocab_size(&self) -> usize {
        match self {
            ModelSpec::Decoder(config) => config.vocab_size,
            ModelSpec::Sphere(config) => config.vocab_size,
            ModelSpec::EncoderDecoder(config) => config.decoder.vocab_size,
        }
    }

    /// At least how many matrices its weights are. A file with fewer lies, which is found out before any memory is asked
    /// for on the strength of these sizes.
    pub fn least_matrices(&self) -> usize {
        match self {
            ModelSpec::Decoder(config) => config.n_layer,
            ModelSpec::Sphere(config) => config.n_layer,
            ModelSpec::EncoderDecoder(config) => config.encoder_layers.saturating_add(config.decoder.n_layer),
        }
    }

    /// The parameters of the model: their names, shapes and order.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn layout(&self) -> Result<Layout, ConfigError> {
        Ok(match self {
            ModelSpec::Decoder(config) => Decoder::new(config.clone())?.layout().clone(),
            ModelSpec::Sphere(config) => Sphere::new(config.clone())?.layout().clone(),
            ModelSpec::EncoderDecoder(config) => EncoderDecoder::new(config.clone())?.layout().clone(),
        })
    }
}

/// A model that can be saved and built again.
pub trait SavedModel: Model + Sized {
    /// What such models are called, with the article: "a decoder".
    const FAMILY: &'static str;

    /// What is written to disk, beside the weights.
    fn spec(&self) -> ModelSpec;

    /// The model of a spec, without weights.
    ///
    /// # Errors
    /// If the spec is of another family, or its numbers do not fit together.
    fn from_spec(spec: ModelSpec) -> Result<Self, ConfigError>;
}

impl SavedModel for Decoder {
    const FAMILY: &'static str = "a decoder";

    fn spec(&self) -> ModelSpec {
        ModelSpec::Decoder(self.config().clone())
    }

    fn from_spec(spec: ModelSpec) -> Result<Self, ConfigError> {
        match spec {
            ModelSpec::Decoder(config) => Decoder::new(config),
            other => Err(other_family::<Self>(&other)),
        }
    }
}

impl SavedModel for Sphere {
    const FAMILY: &'static str = "a normalized transformer";

    fn spec(&self) -> ModelSpec {
        ModelSpec::Sphere(self.config().clone())
    }

    fn from_spec(spec: ModelSpec) -> Result<Self, ConfigError> {
        match spec {
            ModelSpec::Sphere(config) => Sphere::new(config),
            other => Err(other_family::<Self>(&other)),
        }
    }
}

impl SavedModel for EncoderDecoder {
    const FAMILY: &'static str = "an encoder-decoder";

    fn spec(&self) -> ModelSpec {
        ModelSpec::EncoderDecoder(self.config().clone())
    }

    fn from_spec(spec: ModelSpec) -> Result<Self, ConfigError> {
        match spec {
            ModelSpec::EncoderDecoder(config) => EncoderDecoder::new(config),
            other => Err(other_family::<Self>(&other)),
        }
    }
}

/// The error of a spec that describes a model of another family than `M`.
fn other_family<M: SavedModel>(spec: &ModelSpec) -> ConfigError {
    ConfigError(format!("the spec describes {}, where {} is needed", spec.family(), M::FAMILY))
}
