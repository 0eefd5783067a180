//! Where a model's weights lie: named windows on one flat buffer.
//!
//! The numbers themselves are a plain slice, outside of all engines. An engine binds them for a step and
//! hands back the gradient as a slice of the same layout. So an optimizer is a loop over slices, and a checkpoint
//! is the buffer with the names.

use std::ops::Index;

use crate::random::Random;
use crate::real::Real;

/// What a weight is to the model; optimizers treat the kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Multiplied with activations.
    Matrix,
    /// Looked up row by row, or the output layer that turns the last activations into logits.
    Embedding,
    /// Multiplied element by element: a normalisation's gain.
    Gain,
}

/// What a weight is before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Drawn from a normal distribution around 0 with this standard deviation.
    Normal(f64),
    /// All ones.
    Ones,
}

/// A weight of a model: which of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param(usize);

/// One named matrix in the flat buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// As Hugging Face writes it, where it has the architecture.
    pub name: String,
    /// Rows; of a layer of weights, its outputs.
    pub rows: usize,
    /// Columns; of a layer of weights, its inputs.
    pub cols: usize,
    /// Where the first element lies in the flat buffer.
    pub offset: usize,
    /// How optimizers treat it.
    pub kind: ParamKind,
    /// How it begins.
    pub init: Init,
}

impl ParamSpec {
    /// The places of its elements in the flat buffer, row by row.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }
}

/// All windows of a model, one after another without deviations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    windows: Vec<ParamSpec>,
}

impl Layout {
    /// Adds a window at the end.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        kind: ParamKind,
        init: Init,
    ) -> Param {
        self.windows.push(ParamSpec { name: name.into(), rows, cols, offset: self.len(), kind, init });
        Param(self.windows.len() - 1)
    }

    /// The windows in order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.windows
    }

    /// How many numbers all windows hold.
    pub fn len(&self) -> usize {
        self.windows.last().map_or(0, |window| window.range().end)
    }

    /// Whether there is no window.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Fresh weights, drawn window by window, row by row.
    pub fn initial<R: Real>(&self, random: &mut Random) -> Vec<R> {
        let draw = |window: &ParamSpec| -> Vec<R> {
            let mut one = || match window.init {
                Init::Normal(std) => R::from_f64(random.gauss(0.0, std)),
                Init::Ones => R::from_f64(1.0),
            };
            (0..window.range().len()).map(|_| one()).collect()
        };
        self.windows.iter().flat_map(draw).collect()
    }
}

/// The weights of a model as an engine holds them during a step, to be taken by their [`Param`].
#[derive(Clone, Copy)]
pub struct BoundParams<'a, T> {
    tensors: &'a [T],
}

impl<'a, T> BoundParams<'a, T> {
    /// The tensors in the order of the layout's windows.
    pub fn new(tensors: &'a [T]) -> Self {
        BoundParams { tensors }
    }

    /// All of them, in that order.
    pub fn tensors(self) -> &'a [T] {
        self.tensors
    }
}

impl<T> Index<Param> for BoundParams<'_, T> {
    type Output = T;

    fn index(&self, param: Param) -> &T {
        &self.tensors[param.0]
    }
}
