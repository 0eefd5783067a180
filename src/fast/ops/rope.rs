//! Rotary positions: each pair of numbers `(a, b)` of a head is rotated by an angle that grows with the position, to
//! `(a·cos - b·sin, b·cos + a·sin)`.
//!
//! As a matrix the rotation is `[[cos, -sin], [sin, cos]]`, and backward multiplies by its transpose: the rotation by the
//! same angle in the other direction, with `-sin`.

use super::Op;
use crate::fast::tape::{Gradients, Id, Matrix, Node};
use crate::tensor::{Rotation, SINUSOID_BASE};

#[derive(Clone, Copy, Debug)]
pub struct Rope {
    x: Id,
    heads: u32,
}

impl Rope {
    /// Rotates each head of each row by its position. Saves cosines and sines, row by row.
    pub fn forward<'t>(x: Matrix<'t>, positions: &[usize], heads: usize, rotation: Rotation) -> Matrix<'t> {
        assert_eq!(x.rows, positions.len(), "rope: {} rows but {} positions", x.rows, positions.len());
        let (d, half) = (x.cols / heads, x.cols / heads / 2);
        let fits = d * heads == x.cols && half * 2 == d;
        assert!(fits, "rope: {} columns are not {heads} heads of even width", x.cols);
        let mut rotary = x.recording.tape.rotary.borrow_mut();
        rotary.prepare(half, rotation, positions.iter().max().map_or(0, |last| last + 1));
        let op = Rope { x: x.id, heads: heads as u32 };
        x.recording.compute(Op::Rope(op), (x.rows, x.cols), |view, y, saved| {
            saved.clear();
            for &position in positions {
                saved.extend_from_slice(&rotary.table[position * d..][..d]);
            }
            rotate(view.data(x.id), saved, (d, heads), 1.0, y, false);
        })
    }

    // ANCHOR: backward
    pub fn backward(self, grads: &mut Gradients, node: &Node, dy: &[f32]) {
        let heads = self.heads as usize;
        grads.add(self.x, |_, dx, accumulate| {
            rotate(dy, &node.saved, (node.cols / heads, heads), -1.0, dx, accumulate);
        });
    }
    // ANCHOR_END: backward
}

/// Rotates all heads of all rows in one direction or the other, and writes or adds the result.
// ANCHOR: rotate
fn rotate(
    x: &[f32],
    rotary: &[f32],
    (d, heads): (usize, usize),
    direction: f32,
    y: &mut [f32],
    accumulate: bool,
) {
    let half = d / 2;
    let rows = x.chunks_exact(d * heads).zip(y.chunks_exact_mut(d * heads));
    for ((x, y), rotary) in rows.zip(rotary.chunks_exact(d)) {
        let (cos, sin) = rotary.split_at(half);
        for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
            let (a, b) = x.split_at(half);
            let (to_a, to_b) = y.split_at_mut(half);
            for i in 0..half {
                let (cos, sin) = (cos[i], direction * sin[i]);
                let (old_a, old_b) = if accumulate { (to_a[i], to_b[i]) } else { (0.0, 0.0) };
                to_a[i] = old_a + (a[i] * cos - b[i] * sin);
                to_b[i] = old_b + (b[i] * cos + a[i] * sin);
            }
        }
    }
}
// ANCHOR_END: rotate

/// The sines and cosines themselves, as constants: sinusoidal position encodings. Their angles are those of a head as wide
/// as the whole row.
pub fn sinusoids<'t>(x: Matrix<'t>, positions: &[usize], width: usize) -> Matrix<'t> {
    let half = width / 2;
    assert!(half > 0 && half * 2 == width, "sinusoids: {width} columns are not pairs");
    let mut rotary = x.recording.tape.rotary.borrow_mut();
    rotary.prepare(half, Rotation::plain(SINUSOID_BASE), positions.iter().max().map_or(0, |last| last + 1));
    x.recording.compute(Op::Constant, (positions.len(), width), |_, y, _| {
        for (y, &position) in y.chunks_exact_mut(width).zip(positions) {
            let (cos, sin) = rotary.table[position * width..][..width].split_at(half);
            y[..half].copy_from_slice(sin);
            y[half..].copy_from_slice(cos);
        }
    })
}

/// Cosines and sines of all positions met so far, for one width of head and one rotation.
#[derive(Default)]
pub struct RotaryTable {
    half: usize,
    rotation: Option<Rotation>,
    /// For each position, `half` cosines and then `half` sines.
    table: Vec<f32>,
}

/// For so many positions room is asked for at once, so that a session that goes on asks for no more. What is never written to
/// takes no memory.
const POSITIONS: usize = 4096;

impl RotaryTable {
    /// Makes sure that the first `positions` are there.
    fn prepare(&mut self, half: usize, rotation: Rotation, positions: usize) {
        if (self.half, self.rotation) != (half, Some(rotation)) {
            let table = Vec::with_capacity(2 * half * POSITIONS);
            *self = RotaryTable { half, rotation: Some(rotation), table };
        }
        for position in self.table.len() / (2 * half)..positions {
            let angle = |i: usize| position as f64 * rotation.frequency(i, half);
            self.table.extend((0..half).map(|i| angle(i).cos() as f32));
            self.table.extend((0..half).map(|i| angle(i).sin() as f32));
        }
    }
}
