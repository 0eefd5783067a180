//! How a number was made, and how its gradient is handed down to what it was made from.

use std::array::from_fn;
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
const LANES: usize = 8;

/// How many of the backward pass: twice that, since there the loop over dot products is the outer one.
const WIDE: usize = 2 * LANES;

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
        sums = from_fn(|lane| sums[lane] + a[lane] * b[lane]);
    }
    let halves: [f64; 4] = from_fn(|lane| sums[lane] + sums[lane + 4]);
    let quarters: [f64; 2] = from_fn(|lane| halves[lane] + halves[lane + 2]);
    let mut total = quarters[0] + quarters[1];
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += a * b;
    }
    total
}

/// Dot products of one stretch `a` with several others, from `first` on: a row of a matrix product. Returns how
/// many there were.
///
/// The gradient of dot product n toward `a` is `gₙ·bₙ`, and toward `bₙ` it is `gₙ·a`. Since all of them add to the
/// gradient of the same `a`, its sum is kept in registers, [`WIDE`] numbers of it at a time, while the dot
/// products pass by, instead of being loaded and stored for each.
fn backward_dots<'g>(block: &'g Block<'g>, first: usize, a: Run<'g>, len: u32, generation: u64) -> usize {
    let shared = |op: &Op<'g>| match *op {
        Op::DotRun { a: b, i, len: l, .. } => std::ptr::eq(a.block, b) && i == a.start && l == len,
        _ => false,
    };
    let count = block.ops[first..].iter().take_while(|op| shared(op)).count();
    let dots = block.ops[first..][..count].iter().zip(&block.grad[first..]).filter_map(|(op, g)| match *op {
        Op::DotRun { b, j, .. } if g.get() != 0.0 => Some((b, j as usize, g.get())),
        _ => None,
    });
    let len = len as usize;
    let to_a = &a.block.reach(generation)[a.range(len)];
    let (a_chunks, a_rest) = a.data(len).as_chunks::<WIDE>();
    let (to_a_chunks, to_a_rest) = to_a.as_chunks::<WIDE>();
    let mut from = 0;
    for (a, to_a) in a_chunks.iter().zip(to_a_chunks) {
        let mut sum = [0.0; WIDE];
        for (b, j, g) in dots.clone() {
            let Some(to_b) = b.reach(generation)[j + from..].first_chunk::<WIDE>() else { unreachable!() };
            let Some(b) = b.data[j + from..].first_chunk::<WIDE>() else { unreachable!() };
            // All is read before anything is written, so that the compiler may do it in one go.
            let grad: [f64; WIDE] = from_fn(|k| to_b[k].get() + g * a[k]);
            sum = from_fn(|k| sum[k] + g * b[k]);
            for (to_b, grad) in to_b.iter().zip(grad) {
                to_b.set(grad);
            }
        }
        for (to_a, sum) in to_a.iter().zip(sum) {
            add(to_a, sum); // only now, since `b` may be `a` itself
        }
        from += WIDE;
    }
    if !a_rest.is_empty() {
        for (b, j, g) in dots {
            let to_b = &b.reach(generation)[j + from..][..a_rest.len()];
            let b = &b.data[j + from..][..a_rest.len()];
            for (((to_a, a), to_b), b) in to_a_rest.iter().zip(a_rest).zip(to_b).zip(b) {
                add(to_a, g * b);
                add(to_b, g * a);
            }
        }
    }
    count
}
