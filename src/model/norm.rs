//! Normalisation: every row is brought to numbers of ordinary size.

use serde::{Deserialize, Serialize};

use crate::params::{BoundParams, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// Which normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// RMSNorm (Zhang & Sennrich 2019): divided by the root of the mean square. If it is learned, it has a gain.
    #[default]
    Rms,
    /// LayerNorm (Ba et al. 2016): the mean is subtracted first. If it is learned, it has a gain and a bias.
    Layer,
}

/// A normalisation of rows, with or without learned parameters.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    kind: NormKind,
    gain: Option<Param>,
    bias: Option<Param>,
    eps: f64,
}

impl Norm {
    /// A normalisation without parameters.
    pub fn plain(kind: NormKind, eps: f64) -> Self {
        Norm { kind, gain: None, bias: None, eps }
    }

    /// A normalisation of rows of `width` numbers with a learned gain, `name.weight`, which is all ones at first; LayerNorm
    /// has a bias as well, `name.bias`, all zeros at first.
    pub fn learned(kind: NormKind, layout: &mut Layout, name: &str, width: usize, eps: f64) -> Self {
        let gain = Some(layout.add(ParamSpec::gain(format!("{name}.weight"), width)));
        let bias = match kind {
            NormKind::Rms => None,
            NormKind::Layer => Some(layout.add(ParamSpec::bias(format!("{name}.bias"), width))),
        };
        Norm { kind, gain, bias, eps }
    }

    /// `[n, width] → [n, width]`.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        let [gain, bias] = self.affine(w);
        match self.kind {
            NormKind::Rms => x.rms_norm(gain, self.eps),
            NormKind::Layer => x.layer_norm(gain, bias, self.eps),
        }
    }

    /// The same for each of several heads side by side: `[n, heads · width] → [n, heads · width]`.
    pub fn forward_heads<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, heads: usize) -> T {
        let [gain, bias] = self.affine(w);
        match self.kind {
            NormKind::Rms => x.rms_norm_heads(gain, heads, self.eps),
            NormKind::Layer => x.layer_norm_heads(gain, bias, heads, self.eps),
        }
    }

    /// Gain and bias, `[1, width]` each, where there are any.
    fn affine<T: Tensor>(&self, w: BoundParams<'_, T>) -> [Option<T>; 2] {
        [self.gain, self.bias].map(|param| param.map(|param| w[param]))
    }
}
