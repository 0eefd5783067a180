//! Dot products, forward and backward: most of the work of a transformer.

use std::array::from_fn;
use std::cell::Cell;

use super::backward::{add, chain};
use super::view::{Row, View};

/// How many running sums a dot product has: as many `f64`s as the widest vector register holds.
const LANES: usize = 8;

// ANCHOR: dot
/// The dot product of two rows, in [`LANES`] running sums that are added up at the end. With a single sum, each addition
/// would have to wait for the one before. The order of the additions is fixed here, so the result is the same on every
/// machine.
#[inline]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        sums = from_fn(|k| sums[k] + a[k] * b[k]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    if a_chunks.is_empty() { rest } else { total(sums) + rest }
}
// ANCHOR_END: dot

/// The sum of all lanes: one half is added to the other until a single number is left.
#[inline]
fn total(mut sums: [f64; LANES]) -> f64 {
    let mut len = LANES;
    while len > 1 {
        len /= 2;
        for k in 0..len {
            sums[k] += sums[k + len];
        }
    }
    sums[0]
}

// ANCHOR: dot_rows_backward
/// The backward of the dot products of one row `a` with every row of `b`: the n-th, with gradient `gₙ`, adds `gₙ·bₙ` to the
/// gradient of `a` and `gₙ·a` to that of `bₙ`.
///
/// It goes through the columns in strips: a strip of 16 fills two of the widest registers, 4 is the width of a head of the
/// names GPT, and 1 is for what is left.
pub(super) fn dot_rows_backward(a: Row<'_>, b: View<'_>, grads: &[Cell<f64>]) {
    let mut col = 0;
    while a.data.len() - col >= 16 {
        dot_strip_backward::<16>(a, b, grads, col);
        col += 16;
    }
    while a.data.len() - col >= 4 {
        dot_strip_backward::<4>(a, b, grads, col);
        col += 4;
    }
    while a.data.len() - col >= 1 {
        dot_strip_backward::<1>(a, b, grads, col);
        col += 1;
    }
}

/// The same for the `N` columns from `col` on. All these dot products add to the gradient of the same `a`. Nodes that know
/// nothing of each other would load and store it every time; here the sum stays in registers until the end.
#[inline]
fn dot_strip_backward<const N: usize>(a: Row<'_>, b: View<'_>, grads: &[Cell<f64>], col: usize) {
    let a_data: [f64; N] = from_fn(|k| a.data[col..][..N][k]);
    let mut sum = [0.0; N];
    for (n, g) in grads.iter().enumerate() {
        let (b, g) = (b.row(n), g.get());
        let (b_data, b_grad) = (&b.data[col..][..N], &b.grad[col..][..N]);
        // Read everything before writing anything, so that the compiler may use vector instructions.
        let updated: [f64; N] = from_fn(|k| b_grad[k].get() + chain(g, a_data[k]));
        sum = from_fn(|k| sum[k] + chain(g, b_data[k]));
        b_grad.iter().zip(updated).for_each(|(grad, updated)| grad.set(updated));
    }
    // Only now, since a row of `b` may be `a` itself.
    a.grad[col..].iter().zip(sum).for_each(|(grad, sum)| add(grad, sum));
}
// ANCHOR_END: dot_rows_backward
