//! Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): what a stage of the model computes
//! is forgotten, but for what it hands on, and computed again when its gradient is needed.
//!
//! Forward goes through the stages on a tape that is rewound for each; only what they hand on is copied. Backward goes through
//! them from the last to the first. Each is computed once more from what was handed to it, and its part of the walk back begins
//! with the gradients of what it handed on, and ends with those of what was handed to it:
//!
//! ```text
//! forward      ──► stage 1 ──x₁──► stage 2 ──x₂──► stage 3 ──► loss        x₁ and x₂ are kept
//! backward     ◄── stage 1 ◄─dx₁── stage 2 ◄─dx₂── stage 3 ◄── 1           each forward once more, but the last
//! ```
//!
//! So there is room for one stage at a time instead of all, for the price of one more forward. The same numbers are added in the
//! same order as without, dropout drops the same: gradients are equal to the last bit.

use smallvec::SmallVec;

use super::backward::walk;
use super::tape::{Gradients, HandedOn, Matrix, Recording, Tape};
use super::weights::Weights;
use crate::data::Batch;
use crate::model::{Mode, Model, State};
use crate::params::BoundParams;
use crate::tensor::Tensor;

/// What stages hand on, and the gradients of it. It reuses its memory.
#[derive(Default)]
pub(super) struct Stages {
    /// What was handed to each stage, but for the first.
    states: Vec<SmallVec<[HandedOn; 2]>>,
    gradients: [SmallVec<[Vec<f32>; 2]>; 2],
}

/// A model at work on a part of a batch.
pub(super) struct Work<'a, M> {
    pub model: &'a M,
    pub weights: Weights<'a>,
    pub batch: &'a Batch,
    pub mode: Mode,
}

impl Stages {
    /// The losses of the batch, appended to `losses`, and their weighted sum. What the stages have handed on stays.
    pub fn forward<M: Model>(&mut self, tape: &Tape, work: &Work<'_, M>, losses: &mut Vec<f64>) -> f64 {
        let count = work.model.stages();
        self.states.resize_with(count, SmallVec::new);
        for stage in 0..count - 1 {
            let [before, next] = self.states.get_disjoint_mut([stage, stage + 1]).expect("there is one more");
            let on = Recording { tape, weights: work.weights };
            let state = run(&on, work, stage, before);
            next.resize_with(state.len(), HandedOn::default);
            tape.read(work.weights, |view| {
                next.iter_mut().zip(&state).for_each(|(kept, x)| kept.copy(view, *x));
            });
        }
        let on = Recording { tape, weights: work.weights };
        let column = run(&on, work, count - 1, &self.states[count - 1])[0];
        let sum = column.weighted_sum(work.batch.loss_weights());
        tape.read(work.weights, |view| {
            losses.extend(view.data(column.id).iter().map(|&loss| f64::from(loss)));
            f64::from(view.data(sum.id)[0])
        })
    }

    /// The gradient, written over `gradient`, after `forward` has left the last stage on the tape.
    pub fn backward<M: Model>(&mut self, tape: &Tape, work: &Work<'_, M>, gradient: &mut [f32]) {
        let Stages { states, gradients: [after, before] } = self;
        for stage in (0..work.model.stages()).rev() {
            let is_last = stage + 1 == work.model.stages();
            let on = Recording { tape, weights: work.weights };
            let state = if is_last { State::new() } else { run(&on, work, stage, &states[stage]) };
            let handed = states[stage].len();
            before.resize_with(before.len().max(handed), Vec::new); // never fewer, so that their memory stays
            for (gradient, handed) in before.iter_mut().zip(&states[stage]) {
                gradient.clear();
                gradient.resize(handed.len(), 0.0);
            }
            let mut pool = tape.pool.borrow_mut(); // not before: forward works with it, too
            tape.read(work.weights, |view| {
                let grads = &mut match is_last {
                    true => Gradients::new(view, &mut pool, gradient),
                    false => Gradients::go_on(view, &mut pool, gradient),
                };
                if is_last {
                    grads.add(view.nodes.len() as u32 - 1, |_, dy, _| dy.fill(1.0));
                }
                for (x, dx) in state.iter().zip(after.iter()) {
                    grads.add(x.id, |_, to, _| to.copy_from_slice(dx));
                }
                walk(grads, before);
                if stage == 0 {
                    grads.finish();
                }
            });
            std::mem::swap(after, before);
        }
    }
}

/// A stage on an empty tape.
fn run<'t, M: Model>(
    on: &'t Recording<'t>,
    Work { model, batch, mode, .. }: &Work<'_, M>,
    stage: usize,
    handed: &[HandedOn],
) -> State<Matrix<'t>> {
    on.tape.rewind();
    let matrices = on.bind(model.layout());
    let state: State<Matrix<'t>> = handed.iter().enumerate().map(|(at, x)| on.handed_on(at, x)).collect();
    model.stage(BoundParams::new(&matrices), (batch, *mode), stage, &state)
}
