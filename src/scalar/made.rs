//! How numbers were made, and how their gradients are handed down to what they were made from.

use std::array::from_fn;
use std::cell::Cell;

use super::value::{Block, Value};
use crate::function::{Binary, Function};

/// The operation behind the numbers of one block, and the operands of each of them in order.
///
/// Where an operation takes many operands that lie side by side, the first of them stands for all.
#[derive(Clone, Copy)]
pub(super) enum Made<'g> {
    /// By nothing: leaves, given from outside.
    Given,
    /// `f(x)`.
    Unary(Function, &'g [Value<'g>]),
    /// `a ∘ b`.
    Binary(Binary, &'g [(Value<'g>, Value<'g>)]),
    /// `x₀ + x₁ + …`: so many terms, side by side from `x₀` on.
    SumRun(usize, &'g [Value<'g>]),
    /// `a₀·b₀ + a₁·b₁ + …`: so many products, of numbers side by side from `a₀` and from `b₀` on.
    DotRun(usize, &'g [(Value<'g>, Value<'g>)]),
    /// The same where only the `a` lie side by side, and the `b` one in each row of a matrix, in a column of it.
    DotColumn(&'g [(Value<'g>, Column<'g>)]),
    /// The sum of any values.
    Sum(&'g [Value<'g>]),
    /// The dot product of any values.
    Dot(&'g [(Value<'g>, Value<'g>)]),
}

/// One number of each row: the `offset`-th after the row's first.
#[derive(Clone, Copy)]
pub(super) struct Column<'g> {
    pub(super) rows: &'g [Value<'g>],
    pub(super) offset: u32,
}

impl<'g> Column<'g> {
    fn iter(self) -> impl Iterator<Item = Value<'g>> {
        self.rows.iter().map(move |row| row.later(self.offset))
    }
}

/// Hands the gradients of all numbers of a block down to their operands, which lie in earlier blocks.
///
/// A number with gradient zero has nothing to hand down and is passed over: all those behind a ReLU that was
/// shut, and those in a block of which the result needs only a part.
pub(super) fn hand_down<'g>(block: &'g Block<'g>, generation: u64) {
    let grads = || block.grad.iter().map(Cell::get);
    match block.made {
        Made::Given => {}
        // ANCHOR: hand_down
        Made::Unary(f, xs) => {
            for ((&x, y), g) in xs.iter().zip(block.data).zip(grads()) {
                if g != 0.0 {
                    add(x, g * f.slope(x.data(), *y), generation);
                }
            }
        }
        Made::Binary(op, pairs) => {
            for ((&(a, b), y), g) in pairs.iter().zip(block.data).zip(grads()) {
                if g != 0.0 {
                    let (to_a, to_b) = op.slopes(a.data(), b.data(), *y);
                    add(a, g * to_a, generation);
                    add(b, g * to_b, generation);
                }
            }
        }
        // ANCHOR_END: hand_down
        Made::SumRun(len, firsts) => {
            for (first, g) in firsts.iter().zip(grads()).filter(|(_, g)| *g != 0.0) {
                for grad in &first.block.reach(generation)[first.run(len)] {
                    grad.set(grad.get() + g);
                }
            }
        }
        Made::DotRun(len, pairs) => {
            let mut done = 0;
            while done < pairs.len() {
                done += hand_down_dots(len, &pairs[done..], &block.grad[done..], generation);
            }
        }
        Made::DotColumn(pairs) => {
            for (&(a, column), g) in pairs.iter().zip(grads()).filter(|(_, g)| *g != 0.0) {
                for (k, b) in (0..).zip(column.iter()) {
                    let a = a.later(k);
                    add(a, g * b.data(), generation);
                    add(b, g * a.data(), generation);
                }
            }
        }
        Made::Sum(terms) => {
            let g = block.grad[0].get();
            terms.iter().for_each(|&x| add(x, g, generation));
        }
        Made::Dot(pairs) => {
            let g = block.grad[0].get();
            for &(a, b) in pairs {
                add(a, g * b.data(), generation);
                add(b, g * a.data(), generation);
            }
        }
    }
}

/// Adds to a gradient, which starts afresh in each generation.
#[inline]
fn add(x: Value<'_>, term: f64, generation: u64) {
    let grad = &x.block.reach(generation)[x.index as usize];
    grad.set(grad.get() + term);
}

/// How many numbers the inner loop of a dot product takes at a time: eight `f64` fill the widest vector register that
/// there is at present, and narrower machines use several.
const LANES: usize = 8;

/// How many that of the backward pass takes: twice as many, since there the loop over dot products is the outer one.
const WIDE: usize = 2 * LANES;

// ANCHOR: dot
/// The dot product of two stretches, in [`LANES`] running sums that are added up at the end. The order of the
/// additions is fixed, so the result is the same on every machine.
#[inline]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}
// ANCHOR_END: dot

/// Hands down the gradients of the first dot products of a list: all that share their stretch `a`, as those in a row of
/// a matrix product do. Returns how many these were.
///
/// The gradient of the n-th toward `a` is `gₙ·bₙ`, and toward `bₙ` it is `gₙ·a`. Since all of them add to the gradient of
/// the same `a`, its sum is kept in registers, [`WIDE`] numbers of it at a time, while the dot products pass by,
/// instead of being loaded and stored for each.
fn hand_down_dots<'g>(
    len: usize,
    pairs: &'g [(Value<'g>, Value<'g>)],
    grads: &'g [Cell<f64>],
    generation: u64,
) -> usize {
    let a = pairs[0].0;
    let count = pairs.iter().take_while(|pair| pair.0.is(a)).count();
    let dots = || {
        let all = pairs[..count].iter().zip(grads).map(|((_, b), g)| (*b, g.get()));
        all.filter(|(_, g)| *g != 0.0)
    };
    let to_a = &a.block.reach(generation)[a.run(len)];
    let (a_chunks, a_rest) = a.block.data[a.run(len)].as_chunks::<WIDE>();
    let (to_a_chunks, to_a_rest) = to_a.as_chunks::<WIDE>();
    let mut from = 0;
    for (a, to_a) in a_chunks.iter().zip(to_a_chunks) {
        let mut sum = [0.0; WIDE];
        for (b, g) in dots() {
            let b_run = b.later(from).run(WIDE);
            let to_b = &b.block.reach(generation)[b_run.clone()];
            let b = &b.block.data[b_run];
            // All is read before anything is written, so that the compiler may do it in one go.
            let grad: [f64; WIDE] = from_fn(|k| to_b[k].get() + g * a[k]);
            sum = from_fn(|k| sum[k] + g * b[k]);
            for (to_b, grad) in to_b.iter().zip(grad) {
                to_b.set(grad);
            }
        }
        for (to_a, sum) in to_a.iter().zip(sum) {
            to_a.set(to_a.get() + sum); // only now, since `b` may be `a` itself
        }
        from += WIDE as u32;
    }
    if !a_rest.is_empty() {
        for (b, g) in dots() {
            let b_run = b.later(from).run(a_rest.len());
            let to_b = &b.block.reach(generation)[b_run.clone()];
            let b = &b.block.data[b_run];
            for (((to_a, a), to_b), b) in to_a_rest.iter().zip(a_rest).zip(to_b).zip(b) {
                to_a.set(to_a.get() + g * b);
                to_b.set(to_b.get() + g * a);
            }
        }
    }
    count
}

impl<'g> Made<'g> {
    /// Calls `visit` with every operand of the `n`-th number, once for each time it is used.
    pub(super) fn operands(&self, n: usize, mut visit: impl FnMut(Value<'g>)) {
        match *self {
            Made::Given => {}
            Made::Unary(_, xs) => visit(xs[n]),
            Made::Binary(_, pairs) => {
                visit(pairs[n].0);
                visit(pairs[n].1);
            }
            Made::SumRun(len, firsts) => (0..len as u32).for_each(|k| visit(firsts[n].later(k))),
            Made::DotRun(len, pairs) => {
                for k in 0..len as u32 {
                    visit(pairs[n].0.later(k));
                    visit(pairs[n].1.later(k));
                }
            }
            Made::DotColumn(pairs) => {
                for (k, b) in (0..).zip(pairs[n].1.iter()) {
                    visit(pairs[n].0.later(k));
                    visit(b);
                }
            }
            Made::Sum(terms) => terms.iter().for_each(|&x| visit(x)),
            Made::Dot(pairs) => {
                for &(a, b) in pairs {
                    visit(a);
                    visit(b);
                }
            }
        }
    }

    /// The operation's sign, for the drawing; none for a leaf.
    pub(super) fn sign(&self) -> Option<String> {
        match self {
            Made::Given => None,
            Made::Unary(f, _) => Some(f.sign()),
            Made::Binary(op, _) => Some(op.sign().to_owned()),
            Made::SumRun(..) | Made::Sum(_) => Some("sum".to_owned()),
            Made::DotRun(..) | Made::DotColumn(_) | Made::Dot(_) => Some("dot".to_owned()),
        }
    }
}
