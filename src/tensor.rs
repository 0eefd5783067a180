//! The contract between models and engines.
//!
//! A model is written once, generic over [`Tensor`], and runs on every engine. The trait has two parts:
//!
//! - **Required**: about a dozen primitives that every engine implements, each with its gradient.
//! - **Derived**: what a transformer is made of, each with a short default body made of primitives. These bodies are
//!   the specification. An engine may override one with something faster, never with something else;
//!   the parity tests compare the two, values and gradients.
//!
//! Every tensor is a matrix with one row per token. A batch is simply more rows: sequences of different lengths lie
//! one after another with their lengths beside them, so no padding is ever computed. Only attention and
//! positions know where one sequence ends and the next begins.

mod attention;
mod memory;
mod rotation;

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Neg, Range, Sub};

use smallvec::SmallVec;

pub use attention::{AttentionSpec, Bias, Buckets, Mask, alibi_slopes, packed};
pub use memory::{CopiedMemory, Memories, Memory, MemoryId};
pub use rotation::{RopeScaling, Rotation};

use crate::counter_rng::CounterRng;
use crate::function::UnaryOp;

/// A matrix that remembers how it was made. `Copy`: only a handle into its graph or tape.
///
/// The operators work element by element. Where one operand has a single row, a single column, or both, it is
/// repeated to the shape of the other (broadcasting). An `f64` may stand on the right.
///
/// A shape that does not fit is a mistake of the program, not of its user: operations panic, naming the
/// operation and both shapes.
pub trait Tensor:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    // ---- Required: what every engine implements ----

    /// Rows and columns.
    fn shape(self) -> (usize, usize);

    /// A matrix of given numbers, row by row, in the graph of `self`. No gradient flows into it.
    fn constant(self, rows: usize, cols: usize, data: &[f64]) -> Self;

    /// The function of every element.
    fn apply(self, f: UnaryOp) -> Self;

    /// `self · b`: `[n, k] · [k, m] → [n, m]`.
    fn matmul(self, b: Self) -> Self;

    /// `self · bᵀ`: `[n, k] · [m, k]ᵀ → [n, m]`.
    fn matmul_t(self, b: Self) -> Self;

    /// The sum of each row: `[n, m] → [n, 1]`.
    fn row_sum(self) -> Self;

    /// The greatest element of each row, as a constant: `[n, m] → [n, 1]`. No gradient flows through it: it only keeps
    /// exponentials small, and the results do not depend on it.
    fn row_max(self) -> Self;

    /// The named rows in the named order, any of them any number of times: `[n, m] → [rows.len(), m]`. An
    /// embedding is this, of a table.
    fn gather_rows(self, rows: &[usize]) -> Self;

    /// One element of each row: `[n, m] → [n, 1]`.
    fn pick(self, cols: &[usize]) -> Self;

    /// Some neighbouring columns: `[n, m] → [n, cols.len()]`.
    fn slice_cols(self, cols: Range<usize>) -> Self;

    /// Matrices of equal height side by side.
    fn concat_cols(parts: &[Self]) -> Self;

    /// Matrices of equal width one below another.
    fn concat_rows(parts: &[Self]) -> Self;

    // ---- Derived: what follows from it ----

    /// Some neighbouring rows: `[n, m] → [rows.len(), m]`.
    fn slice_rows(self, rows: Range<usize>) -> Self {
        self.gather_rows(&rows.collect::<SmallVec<[usize; 32]>>())
    }

    /// The dot product of each row with the same row of `b`: `[n, m], [n, m] → [n, 1]`.
    fn row_dot(self, b: Self) -> Self {
        (self * b).row_sum()
    }

    /// A layer of weights, stored as `[out, in]` like everywhere: `[n, in] → [n, out]`.
    fn linear(self, weight: Self) -> Self {
        self.matmul_t(weight)
    }

    /// Several layers of weights that read the same: `[n, in] → [n, out]`, each with an `out` of its own.
    fn linear_all<const N: usize>(self, weights: [Self; N]) -> [Self; N] {
        weights.map(|weight| self.linear(weight))
    }

    /// The same, and beside each layer perhaps a low-rank adapter: what it has made of `self` so far, `[n, rank]`, and its second
    /// matrix, `[out, rank]`. Their product is added.
    fn linear_all_adapted<const N: usize>(
        self,
        weights: [Self; N],
        adapters: [Option<(Self, Self)>; N],
    ) -> [Self; N] {
        added(self.linear_all(weights), adapters)
    }

    /// A layer of weights that reads with [`dropout`](Self::dropout): `[n, in] → [n, out]`.
    fn dropout_linear(self, rate: f64, rng: CounterRng, weight: Self) -> Self {
        self.dropout(rate, rng).linear(weight)
    }

    // ANCHOR: softmax
    /// Each row as probabilities: `eˣ / Σ eˣ`. To subtract the greatest first changes nothing but keeps `eˣ` from
    /// overflowing.
    fn softmax(self) -> Self {
        let exp = (self - self.row_max()).apply(UnaryOp::Exp);
        exp / exp.row_sum()
    }
    // ANCHOR_END: softmax

    // ANCHOR: rms_norm
    /// Root mean square normalisation (Zhang & Sennrich 2019): each row divided by `√(mean(x²) + eps)`, then, where
    /// there is a `gain` `[1, m]`, multiplied by it column by column.
    fn rms_norm(self, gain: Option<Self>, eps: f64) -> Self {
        let (_, cols) = self.shape();
        let mean_square = self.row_dot(self) * (1.0 / cols as f64);
        let normal = self * (mean_square + eps).apply(UnaryOp::Power(-0.5));
        match gain {
            Some(gain) => normal * gain,
            None => normal,
        }
    }
    // ANCHOR_END: rms_norm

    /// [`rms_norm`](Tensor::rms_norm) of each of several heads side by side, which share a gain `[1, m / heads]`, or
    /// have one each: `[1, m]`.
    fn rms_norm_heads(self, gain: Option<Self>, heads: usize, eps: f64) -> Self {
        let d = self.shape().1 / heads;
        let own = |head: usize| head * d..(head + 1) * d;
        let norm = |head| {
            let shared = |gain: Self| gain.shape().1 == d;
            let gain = gain.map(|gain| if shared(gain) { gain } else { gain.slice_cols(own(head)) });
            self.slice_cols(own(head)).rms_norm(gain, eps)
        };
        Self::concat_cols(&(0..heads).map(norm).collect::<SmallVec<[Self; 8]>>())
    }

    /// Layer normalisation (Ba et al. 2016): each row minus its mean, divided by its standard deviation (`eps` is added to
    /// the variance), then, where there are a `gain` and a `bias` `[1, m]`, multiplied and added column by column. So it is
    /// [`rms_norm`](Tensor::rms_norm) of what is left without the mean.
    fn layer_norm(self, gain: Option<Self>, bias: Option<Self>, eps: f64) -> Self {
        let (_, cols) = self.shape();
        let mean = self.row_sum() * (1.0 / cols as f64);
        let normal = (self - mean).rms_norm(gain, eps);
        match bias {
            Some(bias) => normal + bias,
            None => normal,
        }
    }

    /// [`layer_norm`](Tensor::layer_norm) of each of several heads side by side, which share a gain and a bias
    /// `[1, m / heads]`.
    fn layer_norm_heads(self, gain: Option<Self>, bias: Option<Self>, heads: usize, eps: f64) -> Self {
        let d = self.shape().1 / heads;
        let norm = |head| self.slice_cols(head * d..(head + 1) * d).layer_norm(gain, bias, eps);
        Self::concat_cols(&(0..heads).map(norm).collect::<SmallVec<[Self; 8]>>())
    }

    /// Each row divided by its length, `x / |x|`: a root mean square normalisation in another unit. Rows of zeros
    /// stay zeros; what is added for their sake ([`UNIT_EPS`]) is too little to change any other row.
    fn unit(self) -> Self {
        let (_, cols) = self.shape();
        self.rms_norm(None, UNIT_EPS) * (cols as f64).sqrt().recip()
    }

    /// A step on the sphere from rows of length 1 toward the directions of other rows:
    /// `unit(x + alpha · (unit(to) - x))`. It takes the place of a residual connection in the normalized transformer
    /// (Loshchilov et al. 2024, section 2.2).
    /// `alpha` `[1, m]` says for each column how far it goes.
    fn step_toward(self, to: Self, alpha: Self) -> Self {
        (self + (to.unit() - self) * alpha).unit()
    }

    /// Rotary position embedding (Su et al. 2021, section 3.4): in each head, columns `i` and `i + d/2` are the two
    /// coordinates of a point that is rotated by the angle `position · base^(-2i/d)`, or a smaller one where the rotation is
    /// scaled. The dot product of two rows then depends on how far apart they are, not on where. (The pairing is Hugging
    /// Face's; the paper's pairs `2i` and `2i + 1` are the same up to the order of columns.)
    fn rope(self, positions: &[usize], heads: usize, rotation: Rotation) -> Self {
        let (rows, cols) = self.shape();
        assert_eq!(rows, positions.len(), "rope: {rows} rows but {} positions", positions.len());
        let (d, half) = (cols / heads, cols / heads / 2);
        assert!(
            d * heads == cols && half * 2 == d,
            "rope: {cols} columns are not {heads} heads of even width"
        );
        let angle = |row: usize, i: usize| positions[row] as f64 * rotation.frequency(i, half);
        let table = |f: fn(f64) -> f64| -> Vec<f64> {
            (0..rows * half).map(|at| f(angle(at / half, at % half))).collect()
        };
        let cos = self.constant(rows, half, &table(f64::cos));
        let sin = self.constant(rows, half, &table(f64::sin));
        let mut parts = SmallVec::<[Self; 16]>::new();
        for head in 0..heads {
            let x = self.slice_cols(head * d..head * d + half);
            let y = self.slice_cols(head * d + half..(head + 1) * d);
            parts.push(x * cos - y * sin);
            parts.push(y * cos + x * sin);
        }
        Self::concat_cols(&parts)
    }

    /// Sinusoidal position encodings (Vaswani et al. 2017, section 3.5) of `width` columns, as constants in the graph of
    /// `self`: `[positions.len(), width]`. Pair `i` of columns has the angle `position · 10000^(-2i/width)`; its sine is in
    /// column `i`, in the first half of the columns, and its cosine in column `i + width/2`, in the second. (The paper has
    /// them in turns, in the columns `2i` and `2i + 1`, which is the same up to the order of columns. Halves are
    /// the layout of MarianMT.)
    fn sinusoids(self, positions: &[usize], width: usize) -> Self {
        let half = width / 2;
        assert!(half > 0 && half * 2 == width, "sinusoids: {width} columns are not pairs");
        let entry = |at: usize| {
            let (position, col) = (positions[at / width] as f64, at % width);
            let angle = position * SINUSOID_BASE.powf(-((col % half) as f64) / half as f64);
            if col < half { angle.sin() } else { angle.cos() }
        };
        let all: Vec<f64> = (0..positions.len() * width).map(entry).collect();
        self.constant(positions.len(), width, &all)
    }

    /// GLU, the gated linear unit (Dauphin et al. 2016): `sigmoid(self) · up`, element by element, `self` being the gate.
    fn glu(self, up: Self) -> Self {
        self.apply(UnaryOp::Sigmoid) * up
    }

    /// GeGLU (Shazeer 2020): `gelu(self) · up`, with the exact GELU.
    fn geglu(self, up: Self) -> Self {
        self.apply(UnaryOp::Gelu) * up
    }

    /// SwiGLU (Shazeer 2020): `silu(self) · up`, element by element, `self` being the gate.
    fn swiglu(self, up: Self) -> Self {
        self.apply(UnaryOp::Silu) * up
    }

    // ANCHOR: attention
    /// Scaled dot-product attention (Vaswani et al. 2017, section 3.2), many heads at once, over packed sequences.
    ///
    /// `self` holds the queries `[q, n_head · d]`, `k` and `v` the keys and values `[s, n_kv_head · d]`. Each query looks at
    /// the keys of its own sequence that the mask lets it see, and mixes their values in proportion to
    /// `softmax(query · key · scale + bias)`. Queries of no sequence (padding) get zeros.
    ///
    /// The keys that a query sees are neighbours, so nothing has to be masked out: the others are never multiplied. The
    /// last query of a sequence stands at its last key, so the same lines serve sampling, where earlier keys come
    /// from a cache, and heads that share a key and value head (grouped queries, Ainslie et al. 2023).
    fn attention(self, k: Self, v: Self, spec: AttentionSpec<'_, Self>) -> Self {
        let d = spec.head_dim(self, k, v);
        let zeros = || self.constant(1, d, &SmallVec::<[f64; 32]>::from_elem(0.0, d));
        let mut heads = SmallVec::<[Self; 8]>::new();
        for head in 0..spec.n_head {
            let shared = head * spec.n_kv_head / spec.n_head;
            let q = self.slice_cols(head * d..(head + 1) * d) * spec.scale; // [q, d]
            let k = k.slice_cols(shared * d..(shared + 1) * d); // [s, d]
            let v = v.slice_cols(shared * d..(shared + 1) * d);
            let mut rows = SmallVec::<[Self; 32]>::new();
            for (queries, keys) in spec.sequences() {
                rows.resize_with(queries.start, zeros); // what is between the sequences
                for query in 0..queries.len() {
                    let seen = spec.mask.seen(query, queries.len(), keys.len());
                    let seen_rows = keys.start + seen.start..keys.start + seen.end;
                    let q = q.slice_rows(queries.start + query..queries.start + query + 1);
                    let mut scores = q.matmul_t(k.slice_rows(seen_rows.clone())); // [1, seen]
                    if let Some(bias) = spec.bias {
                        let position = (keys.len() + query) as isize - queries.len() as isize;
                        scores = bias.add_to(scores, head, seen.map(|key| position - key as isize));
                    }
                    rows.push(scores.softmax().matmul(v.slice_rows(seen_rows))); // [1, d]
                }
            }
            rows.resize_with(self.shape().0, zeros);
            heads.push(Self::concat_rows(&rows)); // [q, d]
        }
        Self::concat_cols(&heads) // [q, n_head · d]
    }
    // ANCHOR_END: attention

    // ANCHOR: cross_entropy
    /// The cross entropy of each row of logits with its target, in nats: `[n, vocab] → [n, 1]`.
    ///
    /// Without smoothing it is `-ln softmax(row)[target]`. With label smoothing `s` (Szegedy et al. 2016, section 7) the
    /// target counts `1 - s`, and `s` is spread evenly over the whole vocabulary.
    fn cross_entropy(self, targets: &[usize], smoothing: f64) -> Self {
        let (_, vocab) = self.shape();
        let logits = self - self.row_max();
        let log_total = logits.apply(UnaryOp::Exp).row_sum().apply(UnaryOp::Ln);
        let loss = log_total - logits.pick(targets);
        if smoothing == 0.0 {
            return loss;
        }
        let spread = log_total - logits.row_sum() * (1.0 / vocab as f64);
        loss * (1.0 - smoothing) + spread * smoothing
    }
    // ANCHOR_END: cross_entropy

    /// The weighted sum of a column: `[n, 1] → [1, 1]`.
    fn weighted_sum(self, weights: &[f64]) -> Self {
        self.constant(1, weights.len(), weights).matmul(self)
    }

    /// The weighted mean of a column: `[n, 1] → [1, 1]`.
    fn weighted_mean(self, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        self.weighted_sum(&weights.iter().map(|w| w / total).collect::<SmallVec<[f64; 32]>>())
    }

    /// Dropout (Srivastava et al. 2014): each element becomes zero with probability `rate`, and the others grow by
    /// `1 / (1 - rate)` so that the expectation stays. Which ones is a function of `rng` and of the element's place
    /// alone, so that two engines, or a pass that is computed twice, drop the same.
    fn dropout(self, rate: f64, rng: CounterRng) -> Self {
        let (rows, cols) = self.shape();
        let keep = 1.0 / (1.0 - rate);
        let mask: Vec<f64> =
            (0..rows * cols).map(|at| if rng.drops(at as u32, rate) { 0.0 } else { keep }).collect();
        self * self.constant(rows, cols, &mask)
    }
}

/// Adds the second products of adapters to those of their layers.
pub(crate) fn added<T: Tensor, const N: usize>(products: [T; N], adapters: [Option<(T, T)>; N]) -> [T; N] {
    from_fn(|at| match adapters[at] {
        Some((low, b)) => products[at] + low.linear(b),
        None => products[at],
    })
}

/// What [`Tensor::unit`] adds to the mean square of a row. Relative to that of a row of length 1 and any practical
/// width it is below the rounding of `f64`, yet its inverse root is an ordinary number of `f32`.
pub const UNIT_EPS: f64 = 1e-24;

/// How much slower the slowest pair of columns of [`Tensor::sinusoids`] turns than the fastest, about.
pub const SINUSOID_BASE: f64 = 10_000.0;

/// The shape of `a ∘ b` where a single row or column is repeated as often as needed.
///
/// # Panics
/// If the shapes do not fit.
pub fn broadcast(op: &str, a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    let fits = |a: usize, b: usize| a == b || a == 1 || b == 1;
    assert!(
        fits(a.0, b.0) && fits(a.1, b.1),
        "{op}: {a:?} and {b:?} neither agree nor have a single row or column to repeat"
    );
    (a.0.max(b.0), a.1.max(b.1))
}

/// The operators of the contract for an engine's matrix, each in terms of what the engine writes once: its method `combine`
/// for two matrices, and [`Tensor::apply`] for a matrix and a number.
macro_rules! operators {
    ($matrix:ident<$life:lifetime>) => {
        $crate::tensor::operators! {@each $matrix, $life,
            Add add $crate::UnaryOp::Shift;
            Sub sub |c: f64| $crate::UnaryOp::Shift(-c);
            Mul mul $crate::UnaryOp::Scale;
            Div div |c: f64| $crate::UnaryOp::Scale(1.0 / c);
        }

        impl<$life> std::ops::Neg for $matrix<$life> {
            type Output = Self;
            fn neg(self) -> Self {
                $crate::Tensor::apply(self, $crate::UnaryOp::Neg)
            }
        }
    };
    (@each $matrix:ident, $life:lifetime, $($trait:ident $method:ident $with_number:expr;)*) => {$(
        impl<$life> std::ops::$trait for $matrix<$life> {
            type Output = Self;
            fn $method(self, b: Self) -> Self {
                self.combine(b, $crate::BinaryOp::$trait)
            }
        }

        impl<$life> std::ops::$trait<f64> for $matrix<$life> {
            type Output = Self;
            fn $method(self, c: f64) -> Self {
                $crate::Tensor::apply(self, $with_number(c))
            }
        }
    )*};
}
pub(crate) use operators;
