//! Learned factors that are stored at one size and used at another.

use crate::params::{BoundParams, Layout, Param, ParamSpec};
use crate::tensor::Tensor;

/// A row of learned factors.
///
/// Adam changes every number by about the learning rate, however large it is. A factor that is stored smaller than it
/// is used therefore changes faster, relative to its size (Loshchilov et al. 2024, section 2.5).
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    param: Param,
    ratio: f64,
}

impl Scale {
    // ANCHOR: scale
    /// `width` factors called `name`, which are used as `start` at first, and stored as `stored`.
    pub fn new(layout: &mut Layout, name: &str, width: usize, start: f64, stored: f64) -> Self {
        Scale { param: layout.add(ParamSpec::scale(name, width, stored)), ratio: start / stored }
    }

    /// The factors as they are used, times a constant: `[1, width]`.
    pub fn times<T: Tensor>(&self, w: BoundParams<'_, T>, constant: f64) -> T {
        w[self.param] * (self.ratio * constant)
    }
    // ANCHOR_END: scale
}
