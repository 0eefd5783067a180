//! Where a pass finds its weights: in the flat buffer that training changes, or stored for generation.

use std::convert::Infallible;

use smallvec::SmallVec;

use super::ops::Op;
use super::tape::{Id, Matrix, Recording, TapeView};
use crate::crew::Crew;
use crate::gemm::{Dtype, StoredMatrix};
use crate::params::{Layout, ParamKind, ParamSpec};

/// The parameters of a model, stored to be read: matrices and tables of embeddings in the precision and the order that products
/// like best, everything else (gains, biases, scales) as it is. Adapters stay in 32 bits. A model may be too large for training and yet be read.
#[derive(Debug)]
pub struct StoredParams {
    /// Of each parameter, in the order of the layout.
    places: Vec<Place>,
    matrices: Vec<StoredMatrix>,
    numbers: Vec<f32>,
    dtype: Dtype,
}

/// Where a parameter is, and its shape.
#[derive(Clone, Copy, Debug)]
struct Place {
    shape: (usize, usize),
    store: Store,
}

/// In which of the two lists.
#[derive(Clone, Copy, Debug)]
enum Store {
    /// From this number on.
    Numbers(usize),
    /// The matrix of this number.
    Matrix(usize),
}

impl StoredParams {
    /// Stores the parameters of a model.
    ///
    /// # Panics
    /// If there are more or fewer of them than the layout says.
    pub fn new(layout: &Layout, params: &[f32], dtype: Dtype) -> Self {
        assert_eq!(params.len(), layout.len(), "StoredParams: the parameters against those of the layout");
        let stored = Self::try_from_each(layout, dtype, |spec, numbers| {
            numbers.extend_from_slice(&params[spec.range()]);
            Ok::<_, Infallible>(())
        });
        match stored {
            Ok(stored) => stored,
            Err(never) => match never {},
        }
    }

    /// The same, one parameter after another, in the order of the layout: `read` adds the numbers of one, row by row, to an empty
    /// list. So there is never more than one of them in 32 bits.
    ///
    /// # Errors
    /// The first error of `read`.
    ///
    /// # Panics
    /// If it adds more or fewer numbers than a parameter has.
    pub fn try_from_each<X>(
        layout: &Layout,
        dtype: Dtype,
        mut read: impl FnMut(&ParamSpec, &mut Vec<f32>) -> Result<(), X>,
    ) -> Result<Self, X> {
        let (mut places, mut matrices, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut one = Vec::new();
        for spec in layout.specs() {
            one.clear();
            read(spec, &mut one)?;
            assert_eq!(one.len(), spec.rows * spec.cols, "StoredParams: the numbers of {}", spec.name);
            // An adapter is small: rounding it would spoil what it has learned and spare nothing.
            let dtype = if spec.is_adapter() { Dtype::F32 } else { dtype };
            let store = match spec.kind {
                ParamKind::Matrix | ParamKind::Embedding => {
                    matrices.push(StoredMatrix::new(dtype, &one, spec.rows, spec.cols));
                    Store::Matrix(matrices.len() - 1)
                }
                ParamKind::Gain | ParamKind::Bias | ParamKind::Scale => {
                    numbers.extend_from_slice(&one);
                    Store::Numbers(numbers.len() - one.len())
                }
            };
            places.push(Place { shape: (spec.rows, spec.cols), store });
        }
        Ok(StoredParams { places, matrices, numbers, dtype })
    }

    /// How matrices and tables are stored, but for those of adapters.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How many bytes all of it takes.
    pub fn bytes(&self) -> usize {
        self.matrices.iter().map(StoredMatrix::bytes).sum::<usize>() + size_of_val(&self.numbers[..])
    }

    /// Where the parameters of a layout are.
    ///
    /// # Panics
    /// If they are those of another layout.
    fn places(&self, layout: &Layout) -> &[Place] {
        let specs = layout.specs();
        let fit = specs.len() == self.places.len()
            && specs.iter().zip(&self.places).all(|(spec, place)| (spec.rows, spec.cols) == place.shape);
        assert!(fit, "StoredParams: these are the parameters of another model");
        &self.places
    }
}

/// The weights of a pass.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// In one flat buffer.
    Flat(&'a [f32]),
    /// Stored for generation, with the threads that compute with them.
    Stored(&'a StoredParams, &'a Crew),
}

impl<'a> Weights<'a> {
    /// Those that are not stored as matrices.
    pub fn numbers(self) -> &'a [f32] {
        match self {
            Weights::Flat(numbers) => numbers,
            Weights::Stored(params, _) => &params.numbers,
        }
    }

    /// A stored matrix.
    ///
    /// # Panics
    /// If nothing is stored.
    pub fn matrix(self, at: usize) -> &'a StoredMatrix {
        match self {
            Weights::Flat(_) => panic!("weights in a flat buffer are not stored as matrices"),
            Weights::Stored(params, _) => &params.matrices[at],
        }
    }

    /// The threads, where weights are stored for generation.
    pub fn crew(self) -> Option<&'a Crew> {
        match self {
            Weights::Flat(_) => None,
            Weights::Stored(_, crew) => Some(crew),
        }
    }
}

impl<'t> Recording<'t> {
    /// Puts all weights of a model on the tape, without copying them.
    pub fn bind(&'t self, layout: &Layout) -> SmallVec<[Matrix<'t>; 256]> {
        let place = |op, rows, cols| self.append(op, rows, cols, 0, |_, _, _| ());
        match self.weights {
            Weights::Flat(_) => {
                let op = |spec: &ParamSpec| Op::Param {
                    offset: spec.offset,
                    grad: spec.grad_range().map(|range| range.start),
                };
                layout.specs().iter().map(|spec| place(op(spec), spec.rows, spec.cols)).collect()
            }
            Weights::Stored(params, _) => {
                let op = |store| match store {
                    Store::Numbers(offset) => Op::Param { offset, grad: None },
                    Store::Matrix(at) => Op::Stored(at as u32),
                };
                params
                    .places(layout)
                    .iter()
                    .map(|Place { store, shape }| place(op(*store), shape.0, shape.1))
                    .collect()
            }
        }
    }
}

impl Matrix<'_> {
    /// Whether it is a weight that is stored for generation.
    pub fn is_stored(self) -> bool {
        matches!(self.recording.tape.op(self.id), Op::Stored(_))
    }
}

impl<'a> TapeView<'a> {
    /// The threads of a pass whose weights are stored.
    pub fn crew(self) -> &'a Crew {
        self.weights.crew().expect("threads, where weights are stored")
    }

    /// A node as a stored matrix, if it is one.
    pub fn stored(self, id: Id) -> Option<&'a StoredMatrix> {
        match self.nodes[id as usize].op {
            Op::Stored(at) => Some(self.weights.matrix(at as usize)),
            _ => None,
        }
    }
}
