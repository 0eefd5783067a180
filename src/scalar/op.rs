//! How a number was made, and how its gradient is handed down to what it was made from.

use std::cell::Cell;

use super::value::{Block, Run, Value};
use crate::function::{Binary, Function};

/// The operation behind one number, with its operands: blocks, and where in them.
///
/// Each operand is a block and a 32-bit index rather than a `Value`, which packs the whole into 32 bytes: half
/// a cache line. Shared operands of several numbers are told apart by nothing but these fields.
#[derive(Clone, Copy)]
pub(super) enum Op<'g> {
    /// `f(x[i])`.
    Unary { f: Function, x: &'g Block<'g>, i: u32 },
    /// `a[i] ∘ b[j]`.
    Binary { op: Binary, a: &'g Block<'g>, i: u32, b: &'g Block<'g>, j: u32 },
    /// `x[i] + x[i + 1] + …`, `len` terms.
    SumRun { x: &'g Block<'g>, i: u32, len: u32 },
    /// `a[i]·b[j] + a[i + 1]·b[j + 1] + …`, `len` products.
    DotRun { a: &'g Block<'g>, i: u32, b: &'g Block<'g>, j: u32, len: u32 },
    /// `a[i]·b₀ + a[i + 1]·b₁ + …` where `b₀, b₁, …` stand in column `j` of the rows of `b`.
    DotColumn { a: &'g Block<'g>, i: u32, b: &'g &'g [Run<'g>], j: u32 },
    /// The sum of any values.
    Sum { terms: &'g [Value<'g>] },
    /// The dot product of any values.
    DotPairs { pairs: &'g [(Value<'g>, Value<'g>)] },
}

/// How many numbers the inner loops of dot products take at a time: eight `f64` fill the widest vector
/// register there is at present, and narrower machines use several.
pub(super) const LANES: usize = 8;

impl<'g> Op<'g> {
    /// Hands the gradients of all numbers of a block down to their operands, which lie in earlier blocks.
    ///
    /// A number with gradient zero has nothing to hand down and is passed over: the many that a ReLU switched
    /// off, and those in a block of which the result needs only a part.
    pub(super) fn backward(block: &'g Block<'g>, generation: u64) {
        let mut at = 0;
        while let Some(op) = block.ops.get(at) {
            let g = block.grad[at].get();
            match *op {
                Op::DotRun { a, i, len, .. } => {
                    at += backward_dots(block, at, Run { block: a, start: i }, len, generation);
                    continue;
                }
                _ if g == 0.0 => {}
                Op::Unary { f, x, i } => {
                    let i = i as usize;
                    add(&x.reach(generation)[i], g * f.slope(x.data[i], block.data[at]));
                }
                Op::Binary { op, a, i, b, j } => {
                    let (i, j) = (i as usize, j as usize);
                    let (to_a, to_b) = op.slopes(a.data[i], b.data[j], block.data[at]);
                    add(&a.reach(generation)[i], g * to_a);
                    add(&b.reach(generation)[j], g * to_b);
                }
                Op::SumRun { x, i, len } => {
                    for grad in &x.reach(generation)[i as usize..][..len as usize] {
                        add(grad, g);
                    }
                }
                Op::DotColumn { a, i, b, j } => {
                    let i = i as usize;
                    let to_a = &a.reach(generation)[i..][..b.len()];
                    for ((to_a, a), row) in to_a.iter().zip(&a.data[i..]).zip(b.iter()) {
                        let at = (row.start + j) as usize;
                        add(to_a, g * row.block.data[at]);
                        add(&row.block.reach(generation)[at], g * a);
                    }
                }
                Op::Sum { terms } => {
                    for x in terms {
                        add(&x.block.reach(generation)[x.index as usize], g);
                    }
                }
                Op::DotPairs { pairs } => {
                    for (a, b) in pairs {
                        add(&a.block.reach(generation)[a.index as usize], g * b.data());
                        add(&b.block.reach(generation)[b.index as usize], g * a.data());
                    }
                }
            }
            at += 1;
        }
    }

    /// Calls `visit` with every operand, once for each time it is used.
    pub(super) fn operands(&self, mut visit: impl FnMut(Value<'g>)) {
        match *self {
            Op::Unary { x, i, .. } => visit(x.value(i)),
            Op::Binary { a, i, b, j, .. } => {
                visit(a.value(i));
                visit(b.value(j));
            }
            Op::SumRun { x, i, len } => (i..i + len).for_each(|i| visit(x.value(i))),
            Op::DotRun { a, i, b, j, len } => {
                for k in 0..len {
                    visit(a.value(i + k));
                    visit(b.value(j + k));
                }
            }
            Op::DotColumn { a, i, b, j } => {
                for (k, row) in (i..).zip(b.iter()) {
                    visit(a.value(k));
                    visit(row.block.value(row.start + j));
                }
            }
            Op::Sum { terms } => terms.iter().for_each(|&x| visit(x)),
            Op::DotPairs { pairs } => {
                for &(a, b) in pairs {
                    visit(a);
                    visit(b);
                }
            }
        }
    }

    /// The operation's sign, for the drawing.
    pub(super) fn sign(&self) -> String {
        match self {
            Op::Unary { f, .. } => f.sign(),
            Op::Binary { op, .. } => op.sign().to_owned(),
            Op::SumRun { .. } | Op::Sum { .. } => "sum".to_owned(),
            Op::DotRun { .. } | Op::DotColumn { .. } | Op::DotPairs { .. } => "dot".to_owned(),
        }
    }
}

#[inline]
fn add(grad: &Cell<f64>, term: f64) {
    grad.set(grad.get() + term);
}

/// The dot product of two stretches, in [`LANES`] running sums that are added up at the end. The order of
/// the additions is fixed, so the result is the same on every machine.
#[inline]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    let mut total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

/// Dot products of one stretch `a` with several others, from `first` on: a row of a matrix product. Returns how
/// many there were.
///
/// The gradient of dot product n toward `a` is `gₙ·bₙ`, and toward `bₙ` it is `gₙ·a`. Since all of them add to the
/// gradient of the same `a`, it is kept in registers, [`LANES`] numbers of it at a time, while the dot products
/// pass by, instead of being loaded and stored for each.
fn backward_dots<'g>(
    block: &'g Block<'g>,
    first: usize,
    shared: Run<'g>,
    len: u32,
    generation: u64,
) -> usize {
    let same = |op: &Op<'g>| match *op {
        Op::DotRun { a, i, len: l, .. } => std::ptr::eq(a, shared.block) && i == shared.start && l == len,
        _ => false,
    };
    let count = block.ops[first..].iter().take_while(|op| same(op)).count();
    let (ops, grads) = (&block.ops[first..][..count], &block.grad[first..][..count]);
    let len = len as usize;
    let dots = || {
        ops.iter().zip(grads).filter_map(|(op, g)| match *op {
            Op::DotRun { b, j, .. } if g.get() != 0.0 => Some((b, j as usize, g.get())),
            _ => None,
        })
    };
    let to_a = &shared.block.reach(generation)[shared.range(len)];
    let a = shared.data(len);
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    for (c, a) in a_chunks.iter().enumerate() {
        let mut sum = [0.0; LANES];
        for (b, j, g) in dots() {
            let j = j + c * LANES;
            let to_b = &b.reach(generation)[j..][..LANES];
            let b = &b.data[j..][..LANES];
            for lane in 0..LANES {
                sum[lane] += g * b[lane];
                to_b[lane].set(to_b[lane].get() + g * a[lane]);
            }
        }
        for (to_a, sum) in to_a[c * LANES..].iter().zip(sum) {
            add(to_a, sum); // only now: `b` may be `a` itself
        }
    }
    let done = len - a_rest.len();
    if done < len {
        for (b, j, g) in dots() {
            let to_b = &b.reach(generation)[j + done..][..a_rest.len()];
            for (k, (to_b, a)) in to_b.iter().zip(a_rest).enumerate() {
                add(&to_a[done + k], g * b.data[j + done + k]);
                add(to_b, g * a);
            }
        }
    }
    count
}
