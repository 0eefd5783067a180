//! Where a model keeps its parameters: named matrices, one after another in a flat buffer.
//!
//! The numbers themselves are a plain slice that belongs to no engine. A [`Layout`] says which matrix begins where. An
//! engine binds the slice to tensors for one step and returns the gradient as another slice. So an optimizer is a loop
//! over slices, and a checkpoint is the buffer with its names.
//!
//! Frozen parameters have a place in the flat buffer but none in the gradient, which holds the trainable ones alone,
//! in the same order. What an optimizer remembers is laid out like the gradient.

use std::ops::{Index, Range};

use crate::random::Random;
use crate::real::Real;

/// What a parameter is to the model. Optimizers follow it: it says what decays, and what Muon updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A weight matrix: multiplied with activations.
    Matrix,
    /// A table that is looked up row by row, or the head that turns the last activations into logits.
    Embedding,
    /// Multiplied column by column after a normalisation, about 1.
    Gain,
    /// Added to the output of a layer, about 0.
    Bias,
    /// A learned factor of any other sort. It may be stored at one size and used at another: Adam steps by about the
    /// learning rate whatever the size, so the stored size sets how fast the factor changes.
    Scale,
}

impl ParamKind {
    /// Whether weight decay applies: always to matrices, to embeddings if asked for, never to the rest.
    ///
    /// Decay is meant to keep the model simple, and a small matrix makes a layer simpler. A gain, a bias or a scale of
    /// zero does not: it switches a column off.
    pub fn decays(self, embeddings: bool) -> bool {
        match self {
            ParamKind::Matrix => true,
            ParamKind::Embedding => embeddings,
            ParamKind::Gain | ParamKind::Bias | ParamKind::Scale => false,
        }
    }
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Drawn from a normal distribution around 0 with this standard deviation.
    Normal(f64),
    /// Drawn evenly between minus this bound and plus this bound.
    Uniform(f64),
    /// The same number everywhere.
    Constant(f64),
}

/// Which vectors of a matrix have length 1. The trainer restores it after each update ([`constrain`](crate::optim::constrain)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitNorm {
    /// Each row.
    Rows,
    /// Each column.
    Cols,
}

/// How the names of the two matrices of a low-rank adapter end, after the name of the layer that it adapts: those of peft.
pub const ADAPTER_SUFFIXES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// A handle to one parameter of a model: an index into its [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param(usize);

/// Everything there is to know about one parameter, except its numbers.
///
/// ```
/// use gradus::params::{Init, Layout, ParamSpec, UnitNorm};
/// let mut layout = Layout::default();
/// let table = layout.add(ParamSpec::embedding("wte", 27, 16, Init::Normal(0.02)).frozen());
/// layout.add(ParamSpec::matrix("q", 16, 16, Init::Normal(0.02)).with_constraint(UnitNorm::Rows));
/// layout.add(ParamSpec::gain("norm", 16));
/// assert_eq!((layout.len(), layout.trainable_len()), (27 * 16 + 16 * 16 + 16, 16 * 16 + 16));
/// assert_eq!(layout[table].grad_range(), None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its name in a checkpoint: Hugging Face's, where it has the architecture.
    pub name: String,
    /// Rows; for the weight of a layer, its outputs.
    pub rows: usize,
    /// Columns; for the weight of a layer, its inputs.
    pub cols: usize,
    /// Where its first number is in the flat buffer. The layout sets it.
    pub offset: usize,
    /// What it is to the model.
    pub kind: ParamKind,
    /// How it starts.
    pub init: Init,
    /// Whether training changes it. If not, it has no gradient and optimizers keep nothing for it.
    pub trainable: bool,
    /// What holds for it after every update.
    pub constraint: Option<UnitNorm>,
    /// How many trainable numbers come before it: where its gradient begins, if it has one. The layout sets it.
    grad_offset: usize,
}

impl ParamSpec {
    /// A weight matrix of a layer with `rows` outputs and `cols` inputs.
    pub fn matrix(name: impl Into<String>, rows: usize, cols: usize, init: Init) -> Self {
        Self::new(name, rows, cols, ParamKind::Matrix, init)
    }

    /// A table of `rows` vectors, or a head with as many outputs.
    pub fn embedding(name: impl Into<String>, rows: usize, cols: usize, init: Init) -> Self {
        Self::new(name, rows, cols, ParamKind::Embedding, init)
    }

    /// The gain of a normalisation: a row of ones.
    pub fn gain(name: impl Into<String>, width: usize) -> Self {
        Self::new(name, 1, width, ParamKind::Gain, Init::Constant(1.0))
    }

    /// The bias of a layer: a row of zeros.
    pub fn bias(name: impl Into<String>, width: usize) -> Self {
        Self::new(name, 1, width, ParamKind::Bias, Init::Constant(0.0))
    }

    /// A row of learned factors, all stored as `start` at first.
    pub fn scale(name: impl Into<String>, width: usize, start: f64) -> Self {
        Self::new(name, 1, width, ParamKind::Scale, Init::Constant(start))
    }

    fn new(name: impl Into<String>, rows: usize, cols: usize, kind: ParamKind, init: Init) -> Self {
        ParamSpec {
            name: name.into(),
            rows,
            cols,
            offset: 0,
            kind,
            init,
            trainable: true,
            constraint: None,
            grad_offset: 0,
        }
    }

    /// The same parameter, not trained.
    pub fn frozen(self) -> Self {
        ParamSpec { trainable: false, ..self }
    }

    /// The same parameter with rows or columns of length 1.
    pub fn with_constraint(self, constraint: UnitNorm) -> Self {
        ParamSpec { constraint: Some(constraint), ..self }
    }

    /// Whether it is a matrix of a low-rank adapter, which its name says.
    pub fn is_adapter(&self) -> bool {
        ADAPTER_SUFFIXES.iter().any(|suffix| self.name.ends_with(suffix))
    }

    /// Where its numbers are in the flat buffer, row by row.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.rows * self.cols
    }

    /// Where its gradient is in that of the model: the same as [`range`](Self::range) if nothing before it is frozen,
    /// and `None` if it is frozen itself.
    pub fn grad_range(&self) -> Option<Range<usize>> {
        self.trainable.then(|| self.grad_offset..self.grad_end())
    }

    /// How many trainable numbers there are up to its end.
    fn grad_end(&self) -> usize {
        self.grad_offset + if self.trainable { self.rows * self.cols } else { 0 }
    }
}

/// All parameters of a model, one after another without gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    specs: Vec<ParamSpec>,
}

impl Layout {
    /// Adds a parameter at the end.
    pub fn add(&mut self, spec: ParamSpec) -> Param {
        let (offset, grad_offset) = (self.len(), self.trainable_len());
        self.specs.push(ParamSpec { offset, grad_offset, ..spec });
        Param(self.specs.len() - 1)
    }

    /// Freezes every parameter that `which` picks. Parameters that are frozen already stay so.
    ///
    /// To be called before an optimizer or a trainer is made: they lay out their memory for what is trainable then.
    pub fn freeze(&mut self, which: impl Fn(&ParamSpec) -> bool) {
        let mut grad_offset = 0;
        for spec in &mut self.specs {
            spec.trainable &= !which(spec);
            spec.grad_offset = grad_offset;
            grad_offset = spec.grad_end();
        }
    }

    /// Gives a parameter rows or columns of length 1, which the trainer restores after each update.
    pub fn constrain(&mut self, param: Param, constraint: UnitNorm) {
        self.specs[param.0].constraint = Some(constraint);
    }

    /// The same for every parameter that `which` picks.
    pub fn constrain_where(&mut self, which: impl Fn(&ParamSpec) -> bool, constraint: UnitNorm) {
        let picked = self.specs.iter_mut().filter(|spec| which(spec));
        picked.for_each(|spec| spec.constraint = Some(constraint));
    }

    /// All parameters in order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Those that are trained, in order, with their places in the flat buffer and in the gradient.
    pub fn trainable(&self) -> impl Iterator<Item = (&ParamSpec, Range<usize>, Range<usize>)> {
        self.specs.iter().filter_map(|spec| Some((spec, spec.range(), spec.grad_range()?)))
    }

    /// How many numbers all parameters hold.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |spec| spec.range().end)
    }

    /// How many of them are trained: the length of a gradient.
    pub fn trainable_len(&self) -> usize {
        self.specs.last().map_or(0, ParamSpec::grad_end)
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Fresh numbers for all parameters, drawn one parameter after another, row by row.
    pub fn initial<R: Real>(&self, random: &mut Random) -> Vec<R> {
        self.initial_from(0, random)
    }

    /// Fresh numbers for the parameters from this place in the order on; none are drawn for those before it. So a model whose
    /// numbers are known can get new parameters at its end.
    ///
    /// # Panics
    /// If there are fewer parameters.
    pub fn initial_from<R: Real>(&self, first: usize, random: &mut Random) -> Vec<R> {
        let specs = &self.specs[first..];
        let mut params = Vec::with_capacity(specs.iter().map(|spec| spec.range().len()).sum());
        for spec in specs {
            let draw = || {
                R::from_f64(match spec.init {
                    Init::Normal(std) => random.gauss(0.0, std),
                    Init::Uniform(bound) => bound * (2.0 * random.uniform() - 1.0),
                    Init::Constant(x) => x,
                })
            };
            params.extend(std::iter::repeat_with(draw).take(spec.range().len()));
        }
        params
    }

    /// The trainable numbers out of a flat buffer, laid out like a gradient.
    pub fn gather_trainable<R: Real>(&self, params: &[R]) -> Vec<R> {
        let mut trainable = Vec::with_capacity(self.trainable_len());
        for (_, range, _) in self.trainable() {
            trainable.extend_from_slice(&params[range]);
        }
        trainable
    }

    /// Writes numbers laid out like a gradient to their places in a flat buffer. The frozen ones stay.
    pub fn scatter_trainable<R: Real>(&self, trainable: &[R], params: &mut [R]) {
        for (_, range, grad_range) in self.trainable() {
            params[range].copy_from_slice(&trainable[grad_range]);
        }
    }
}

impl Index<Param> for Layout {
    type Output = ParamSpec;

    fn index(&self, param: Param) -> &ParamSpec {
        &self.specs[param.0]
    }
}

/// A model's parameters as an engine's tensors, bound for one step: `params[param]` is the tensor of a [`Param`].
#[derive(Clone, Copy)]
pub struct BoundParams<'a, T> {
    tensors: &'a [T],
}

impl<'a, T> BoundParams<'a, T> {
    /// One tensor for each parameter, in the order of the layout.
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
