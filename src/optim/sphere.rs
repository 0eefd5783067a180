//! Geometry on the sphere: the lengths of weight vectors, the angles that a step turns them by, and a step that turns
//! them by a given angle.

use crate::params::{Layout, ParamSpec, UnitNorm};
use crate::real::Real;

/// Something about all vectors of one parameter, be it their lengths or the angles they turned by, in radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// How many vectors it has.
    pub count: usize,
    /// The least of all.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
}

/// The lengths of the rows or columns of a matrix with `cols` columns.
pub fn lengths<R: Real>(matrix: &[R], cols: usize, vectors: UnitNorm) -> Vec<f64> {
    let mut sums = vec![0.0; count(matrix.len(), cols, vectors)];
    each(matrix.len(), cols, vectors, |at, vector| sums[vector] += matrix[at].to_f64().powi(2));
    sums.iter_mut().for_each(|sum| *sum = sum.sqrt());
    sums
}

/// The lengths of the weight vectors of every constrained parameter: 1 after each step of a
/// [`Trainer`](crate::train::Trainer) that restores them in each.
pub fn norms<'a, R: Real>(layout: &'a Layout, params: &[R]) -> Vec<Spread<'a>> {
    let spread = |(spec, vectors): (&'a ParamSpec, UnitNorm)| {
        Spread::of(&spec.name, &lengths(&params[spec.range()], spec.cols, vectors))
    };
    constrained(layout).map(spread).collect()
}

/// The angles between the weight vectors before and after a step, for every constrained parameter.
///
/// # Panics
/// If either has not as many numbers as the layout.
pub fn angles<'a, R: Real>(layout: &'a Layout, before: &[R], after: &[R]) -> Vec<Spread<'a>> {
    assert_eq!([before.len(), after.len()], [layout.len(); 2], "angles: before and after, of their layout");
    let spread = |(spec, vectors): (&'a ParamSpec, UnitNorm)| {
        let (a, b) = (&before[spec.range()], &after[spec.range()]);
        let [a_lengths, b_lengths] = [a, b].map(|matrix| lengths(matrix, spec.cols, vectors));
        let (mut apart, mut together) = (vec![0.0; a_lengths.len()], vec![0.0; a_lengths.len()]);
        each(a.len(), spec.cols, vectors, |at, vector| {
            let (a, b) = (a[at].to_f64() / a_lengths[vector], b[at].to_f64() / b_lengths[vector]);
            apart[vector] += (a - b).powi(2);
            together[vector] += (a + b).powi(2);
        });
        // By half the angle, since the cosine of a small one is 1 in all its digits (Kahan 2006, section 12).
        let angle = |(apart, together): (&f64, &f64)| 2.0 * apart.sqrt().atan2(together.sqrt());
        Spread::of(&spec.name, &apart.iter().zip(&together).map(angle).collect::<Vec<_>>())
    };
    constrained(layout).map(spread).collect()
}

impl<'a> Spread<'a> {
    fn of(name: &'a str, all: &[f64]) -> Self {
        Spread {
            name,
            count: all.len(),
            min: all.iter().copied().fold(f64::INFINITY, f64::min),
            mean: all.iter().sum::<f64>() / all.len() as f64,
            max: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The sums that [`rotate`] needs for each vector, kept from step to step.
#[derive(Clone, Debug, Default)]
pub(super) struct RotationSums {
    /// `w·w`, then the cosine of each angle.
    squares: Vec<f64>,
    /// `w·d / w·w`, then what the tangent is multiplied by.
    along: Vec<f64>,
    /// `t·t` of the tangent.
    tangents: Vec<f64>,
}

/// Turns each row or column `w` of a matrix against the direction `d` of the same shape, so that the mean of the
/// angles is `angle`.
///
/// What points along `w` would only change its length. What is left of `d` is a tangent `t`, and `w` walks along it
/// on the sphere: `w ← cos θ · w - sin θ · t/|t|`, by an angle `θ` in proportion to `|t|`. Lengths stay as they are.
/// Directions without a tangent turn nothing.
pub(super) fn rotate(
    matrix: &mut [f32],
    direction: &mut [f32],
    cols: usize,
    vectors: UnitNorm,
    angle: f64,
    sums: &mut RotationSums,
) {
    let (len, count) = (matrix.len(), count(matrix.len(), cols, vectors));
    let RotationSums { squares, along, tangents } = sums;
    for sums in [&mut *squares, &mut *along, &mut *tangents] {
        sums.clear();
        sums.resize(count, 0.0);
    }
    each(len, cols, vectors, |at, vector| {
        let (w, d) = (f64::from(matrix[at]), f64::from(direction[at]));
        squares[vector] += w * w;
        along[vector] += w * d;
    });
    along.iter_mut().zip(&*squares).for_each(|(along, &square)| *along /= square.max(f64::MIN_POSITIVE));
    each(len, cols, vectors, |at, vector| {
        let t = f64::from(direction[at]) - along[vector] * f64::from(matrix[at]);
        direction[at] = t as f32;
        tangents[vector] += t * t;
    });
    let mean = tangents.iter().map(|square| square.sqrt()).sum::<f64>() / count as f64;
    if mean == 0.0 {
        return;
    }
    for vector in 0..count {
        let (tangent, length) = (tangents[vector].sqrt(), squares[vector].sqrt());
        let (sin, cos) = (angle * tangent / mean).sin_cos();
        squares[vector] = cos;
        along[vector] = if tangent > 0.0 { sin * length / tangent } else { 0.0 };
    }
    each(len, cols, vectors, |at, vector| {
        let turned = squares[vector] * f64::from(matrix[at]) - along[vector] * f64::from(direction[at]);
        matrix[at] = turned as f32;
    });
}

/// Every parameter with a constraint.
fn constrained(layout: &Layout) -> impl Iterator<Item = (&ParamSpec, UnitNorm)> {
    layout.specs().iter().filter_map(|spec| Some((spec, spec.constraint?)))
}

/// How many vectors a matrix of `len` numbers in `cols` columns has.
fn count(len: usize, cols: usize, vectors: UnitNorm) -> usize {
    match vectors {
        UnitNorm::Rows => len / cols,
        UnitNorm::Cols => cols,
    }
}

/// Calls `visit` with the place of each number, row by row, and the vector that it belongs to.
#[inline]
fn each(len: usize, cols: usize, vectors: UnitNorm, mut visit: impl FnMut(usize, usize)) {
    for (row, start) in (0..len).step_by(cols).enumerate() {
        match vectors {
            UnitNorm::Rows => (start..start + cols).for_each(|at| visit(at, row)),
            UnitNorm::Cols => (0..cols).for_each(|col| visit(start + col, col)),
        }
    }
}
