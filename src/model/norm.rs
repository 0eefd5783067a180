//! Root mean square normalisation, with or without a gain.

use crate::params::{BoundParams, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// Brings every row to a typical entry of size 1 ([`Tensor::rms_norm`]).
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    gain: Option<Param>,
    eps: f64,
}

impl Norm {
    /// A normalisation without a gain.
    pub fn plain(eps: f64) -> Self {
        Norm { gain: None, eps }
    }

    /// A normalisation of rows of `width` numbers with a learned gain, `name.weight`, which is all ones at first.
    pub fn with_gain(layout: &mut Layout, name: &str, width: usize, eps: f64) -> Self {
        Norm { gain: Some(layout.add(ParamSpec::gain(format!("{name}.weight"), width))), eps }
    }

    /// `[n, width] → [n, width]`.
    pub fn forward<T: Tensor>(&self, w: BoundParams<'_, T>, x: T) -> T {
        x.rms_norm(self.gain.map(|gain| w[gain]), self.eps)
    }

    /// The same for each of several heads side by side: `[n, heads · width] → [n, heads · width]`.
    pub fn forward_heads<T: Tensor>(&self, w: BoundParams<'_, T>, x: T, heads: usize) -> T {
        x.rms_norm_heads(self.gain.map(|gain| w[gain]), heads, self.eps)
    }
}
