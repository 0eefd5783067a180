//! What is added to the scores: ALiBi, or a learned table of relative positions.
//!
//! With `S = scale·Q·Kᵀ + B` the bias gets the gradient of the scores as it is, `dB = dS`. The slopes of ALiBi are given. An
//! element of a table stands in `B` for every query and key of its bucket and head, so its gradient is the sum over these.

use crate::fast::ops::{GatherRows, Op};
use crate::fast::tape::{Gradients, Id, Matrix, Recording, Span, TapeView};
use crate::tensor::Bias;

/// [`Bias`] on the tape. Both have a matrix there: slopes `[1, n_head]`, or the table `[buckets, n_head]`.
#[derive(Clone, Copy, Debug)]
pub enum BiasOp {
    Alibi(Id),
    /// The buckets of the distances from `-reach` to `reach`.
    Table {
        table: Id,
        buckets: Span,
        reach: u32,
    },
}

impl BiasOp {
    pub fn new<'t>(recording: &'t Recording<'t>, bias: Bias<'_, Matrix<'t>>, longest: usize) -> Self {
        match bias {
            Bias::Alibi(slopes) => {
                let constant = recording.compute(Op::Constant, (1, slopes.len()), |_, y, _| {
                    y.iter_mut().zip(slopes).for_each(|(y, slope)| *y = *slope as f32);
                });
                BiasOp::Alibi(constant.id)
            }
            Bias::Table(table, buckets) => {
                let table = if table.is_stored() { GatherRows::all(table) } else { table };
                let reach = longest as isize;
                let buckets = recording.span((-reach..=reach).map(|distance| buckets.bucket(distance)));
                BiasOp::Table { table: table.id, buckets, reach: reach as u32 }
            }
        }
    }

    /// The table, if there is one to learn.
    pub fn learned(self) -> Option<Id> {
        match self {
            BiasOp::Alibi(_) => None,
            BiasOp::Table { table, .. } => Some(table),
        }
    }

    /// With the numbers it is made of.
    pub fn bound(self, view: TapeView<'_>) -> BoundBias<'_> {
        match self {
            BiasOp::Alibi(slopes) => BoundBias::Alibi(view.data(slopes)),
            BiasOp::Table { table, buckets, reach } => BoundBias::Table {
                table: view.data(table),
                n_head: view.shape(table).1,
                buckets: view.indices(buckets),
                reach: reach as isize,
            },
        }
    }

    /// As [`BoundBias::add_to`].
    pub fn add_to(self, view: TapeView<'_>, head: usize, distance: isize, scores: &mut [f32]) {
        self.bound(view).add_to(head, distance, scores);
    }

    /// Adds the gradients of the same scores to that of the table.
    pub fn backward(self, grads: &mut Gradients, head: usize, distance: isize, ds: &[f32]) {
        let BiasOp::Table { table, buckets, reach } = self else { return };
        grads.add(table, |view, to, _| {
            let (_, n_head) = view.shape(table);
            let buckets = view.indices(buckets)[..=(reach as isize + distance) as usize].iter().rev();
            for (ds, bucket) in ds.iter().zip(buckets) {
                to[*bucket as usize * n_head + head] += ds;
            }
        });
    }
}

/// A bias with its numbers: the slopes, or the table and the buckets of all distances.
#[derive(Clone, Copy)]
pub enum BoundBias<'a> {
    Alibi(&'a [f32]),
    Table { table: &'a [f32], n_head: usize, buckets: &'a [u32], reach: isize },
}

impl BoundBias<'_> {
    /// Adds it to the scores of one query and neighbouring keys, the first of which lies `distance` before the query, the
    /// next one less, and so on.
    pub fn add_to(self, head: usize, distance: isize, scores: &mut [f32]) {
        match self {
            BoundBias::Alibi(slopes) => {
                let slope = slopes[head];
                let distances = (0..).map(|key| (distance - key).unsigned_abs() as f32);
                scores.iter_mut().zip(distances).for_each(|(score, distance)| *score -= slope * distance);
            }
            BoundBias::Table { table, n_head, buckets, reach } => {
                let buckets = buckets[..=(reach + distance) as usize].iter().rev();
                for (score, bucket) in scores.iter_mut().zip(buckets) {
                    *score += table[*bucket as usize * n_head + head];
                }
            }
        }
    }
}
