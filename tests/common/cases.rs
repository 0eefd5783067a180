//! Every operation of the contract, required and derived, as expressions that any engine can be led through: with
//! several shapes, one row and one column among them, and with rows that are shared, repeated, or part of a larger matrix.

use gradus::counter_rng::CounterRng;
use gradus::random::Random;
use gradus::tensor::{AttentionSpec, Bias, Buckets, Mask, RopeScaling, Rotation, alibi_slopes, packed};
use gradus::{BinaryOp, Tensor, UnaryOp};

use crate::engines::{Expression, Numbers};

/// What is to be done with each case.
pub trait Visitor {
    fn case(&mut self, name: &str, inputs: &[Numbers], expression: &impl Expression);
}

/// `case!(visitor, "name", [inputs], |x| expression of x)`. Anything else that the expression needs is named
/// with its type: `case!(visitor, "name", [inputs], with f: UnaryOp; |x| …)`.
macro_rules! case {
    (
        $visitor:ident, $name:expr, [$($input:expr),*],
        $(with $($field:ident: $type:ty),+;)? |$x:ident| $body:expr
    ) => {{
        struct Case {
            $($($field: $type),+)?
        }
        impl Expression for Case {
            fn of<T: Tensor>(&self, $x: &[T]) -> T {
                $($(let $field = self.$field;)+)?
                $body
            }
        }
        $visitor.case($name.as_ref(), &[$($input),*], &Case { $($($field),+)? });
    }};
}

/// Draws inputs: numbers of ordinary size that keep away from 0, where a ReLU has its corner and a quotient its pole.
struct Draw(Random);

impl Draw {
    fn new(seed: u64) -> Self {
        Draw(Random::new(seed))
    }

    fn positive(&mut self, rows: usize, cols: usize) -> Numbers {
        Numbers { rows, cols, data: (0..rows * cols).map(|_| 0.3 + 1.4 * self.0.uniform()).collect() }
    }

    fn any(&mut self, rows: usize, cols: usize) -> Numbers {
        let mut numbers = self.positive(rows, cols);
        numbers.data.iter_mut().filter(|_| self.0.below(2) == 0).for_each(|x| *x = -*x);
        numbers
    }
}

/// Leads a visitor through all cases.
pub fn all(visitor: &mut impl Visitor) {
    functions(visitor);
    operators(visitor);
    products(visitor);
    rows_and_columns(visitor);
    normalisations(visitor);
    positions(visitor);
    attention(visitor);
    losses(visitor);
    views(visitor);
}

fn functions(v: &mut impl Visitor) {
    let mut d = Draw::new(1);
    for f in UnaryOp::EXAMPLES.into_iter().chain([UnaryOp::Power(-0.5)]) {
        for (rows, cols) in [(3, 4), (1, 5), (4, 1), (1, 1)] {
            let one_side = matches!(f, UnaryOp::Ln | UnaryOp::Power(-0.5));
            let x = if one_side { d.positive(rows, cols) } else { d.any(rows, cols) };
            case!(v, format!("{f:?} of {rows} x {cols}"), [x], with f: UnaryOp; |x| x[0].apply(f));
        }
    }
}

fn combine<T: Tensor>(op: BinaryOp, a: T, b: T) -> T {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
    }
}

fn operators(v: &mut impl Visitor) {
    let mut d = Draw::new(2);
    for op in BinaryOp::ALL {
        for (a, b) in [
            ((3, 4), (3, 4)),
            ((1, 5), (1, 5)),
            ((4, 1), (4, 1)),
            ((1, 1), (1, 1)),
            ((3, 4), (1, 4)),
            ((1, 4), (3, 4)),
            ((3, 4), (3, 1)),
            ((3, 1), (3, 4)),
            ((3, 4), (1, 1)),
            ((1, 1), (3, 4)),
            ((3, 1), (1, 4)),
            ((1, 4), (3, 1)),
        ] {
            let inputs = (d.any(a.0, a.1), d.any(b.0, b.1));
            case!(v, format!("{a:?} {} {b:?}", op.sign()), [inputs.0, inputs.1], with op: BinaryOp;
                |x| combine(op, x[0], x[1]));
        }
        case!(v, format!("x {} x", op.sign()), [d.any(3, 4)], with op: BinaryOp; |x| combine(op, x[0], x[0]));
    }
    case!(v, "x + c", [d.any(3, 4)], |x| x[0] + 2.5);
    case!(v, "x - c", [d.any(1, 5)], |x| x[0] - 2.5);
    case!(v, "x * c", [d.any(4, 1)], |x| x[0] * -1.5);
    case!(v, "x / c", [d.any(3, 4)], |x| x[0] / 0.4);
    case!(v, "-x", [d.any(3, 4)], |x| -x[0]);
}

fn products(v: &mut impl Visitor) {
    let mut d = Draw::new(3);
    // Widths around 16 and 32, since engines take their dot products in pieces.
    for (n, k, m) in
        [(3, 4, 5), (1, 4, 1), (3, 1, 4), (1, 1, 1), (1, 5, 3), (2, 16, 3), (2, 20, 17), (3, 35, 2)]
    {
        let (a, b) = (d.any(n, k), d.any(k, m));
        case!(v, format!("matmul {n} x {k} x {m}"), [a, b], |x| x[0].matmul(x[1]));
        let (a, b) = (d.any(n, k), d.any(m, k));
        case!(v, format!("matmul_t {n} x {k} x {m}"), [a, b], |x| x[0].matmul_t(x[1]));
        let (a, b) = (d.any(n, k), d.any(m, k));
        case!(v, format!("linear {n} x {k} x {m}"), [a, b], |x| x[0].linear(x[1]));
        let (a, b) = (d.any(n, k), d.any(n, k));
        case!(v, format!("row_dot {n} x {k}"), [a, b], |x| x[0].row_dot(x[1]));
        case!(v, format!("row_dot with itself {n} x {k}"), [d.any(n, k)], |x| x[0].row_dot(x[0]));
        case!(v, format!("matmul_t with itself {n} x {k}"), [d.any(n, k)], |x| x[0].matmul_t(x[0]));
    }
    case!(v, "matmul with itself", [d.any(3, 3)], |x| x[0].matmul(x[0]));
}

fn rows_and_columns(v: &mut impl Visitor) {
    let mut d = Draw::new(4);
    for (rows, cols) in [(3, 4), (1, 5), (4, 1), (2, 20)] {
        case!(v, format!("row_sum {rows} x {cols}"), [d.any(rows, cols)], |x| x[0].row_sum());
    }
    case!(v, "gather_rows with repeats", [d.any(3, 4)], |x| x[0].gather_rows(&[2, 0, 2, 1, 2]));
    case!(v, "gather_rows of some", [d.any(3, 4)], |x| x[0].gather_rows(&[1]));
    case!(v, "gather_rows of one row", [d.any(1, 3)], |x| x[0].gather_rows(&[0, 0]));
    case!(v, "gather_rows of a column", [d.any(3, 1)], |x| x[0].gather_rows(&[1, 0, 1]));
    case!(v, "pick", [d.any(3, 4)], |x| x[0].pick(&[3, 0, 3]));
    case!(v, "pick of one row", [d.any(1, 5)], |x| x[0].pick(&[4]));
    case!(v, "pick of a column", [d.any(4, 1)], |x| x[0].pick(&[0, 0, 0, 0]));
    case!(v, "slice_cols", [d.any(3, 4)], |x| x[0].slice_cols(1..3));
    case!(v, "slice_cols of all", [d.any(1, 5)], |x| x[0].slice_cols(0..5));
    case!(v, "slice_cols of the last", [d.any(3, 4)], |x| x[0].slice_cols(3..4));
    case!(v, "slice_rows", [d.any(4, 3)], |x| x[0].slice_rows(1..3));
    case!(v, "slice_rows of all", [d.any(4, 1)], |x| x[0].slice_rows(0..4));
    case!(v, "slice_rows of the last", [d.any(4, 3)], |x| x[0].slice_rows(3..4));
    case!(v, "concat_cols", [d.any(3, 2), d.any(3, 1), d.any(3, 4)], |x| T::concat_cols(x));
    case!(v, "concat_cols of one row", [d.any(1, 2), d.any(1, 3)], |x| T::concat_cols(x));
    case!(v, "concat_cols with a constant", [d.any(3, 2)], |x| {
        T::concat_cols(&[x[0], x[0].constant(3, 1, &[0.5, -1.0, 2.0]), x[0]])
    });
    case!(v, "concat_cols of one part", [d.any(3, 2)], |x| T::concat_cols(x));
    case!(v, "concat_cols with repeats", [d.any(3, 2), d.any(3, 1)], |x| {
        T::concat_cols(&[x[0], x[1], x[0], x[1], x[1]])
    });
    case!(v, "concat_rows", [d.any(2, 3), d.any(1, 3), d.any(4, 3)], |x| T::concat_rows(x));
    case!(v, "concat_rows of columns", [d.any(2, 1), d.any(3, 1)], |x| T::concat_rows(x));
    case!(v, "concat_rows with a constant", [d.any(2, 3)], |x| {
        T::concat_rows(&[x[0], x[0].constant(1, 3, &[0.5, -1.0, 2.0]), x[0]])
    });
    case!(v, "concat_rows of one part", [d.any(2, 3)], |x| T::concat_rows(x));
    case!(v, "concat_rows with repeats", [d.any(2, 3), d.any(1, 3)], |x| {
        T::concat_rows(&[x[0], x[1], x[0], x[1], x[1]])
    });
}

fn normalisations(v: &mut impl Visitor) {
    let mut d = Draw::new(5);
    for (rows, cols) in [(3, 4), (1, 7), (4, 1), (2, 20)] {
        case!(v, format!("softmax {rows} x {cols}"), [d.any(rows, cols)], |x| x[0].softmax());
        for eps in [1e-5, 0.5] {
            let name = format!("rms_norm {rows} x {cols}, eps {eps}");
            case!(v, name, [d.any(rows, cols)], with eps: f64; |x| x[0].rms_norm(None, eps));
            let (x, gain) = (d.any(rows, cols), d.any(1, cols));
            case!(v, name + " with gain", [x, gain], with eps: f64; |x| x[0].rms_norm(Some(x[1]), eps));
            let name = format!("layer_norm {rows} x {cols}, eps {eps}");
            let [x, gain, bias] = [(rows, cols), (1, cols), (1, cols)].map(|(rows, cols)| d.any(rows, cols));
            case!(v, name.clone(), [d.any(rows, cols)], with eps: f64; |x| x[0].layer_norm(None, None, eps));
            case!(v, name.clone() + " with gain", [x.clone(), gain.clone()], with eps: f64;
                |x| x[0].layer_norm(Some(x[1]), None, eps));
            case!(v, name.clone() + " with bias", [x.clone(), bias.clone()], with eps: f64;
                |x| x[0].layer_norm(None, Some(x[1]), eps));
            case!(v, name + " with gain and bias", [x, gain, bias], with eps: f64;
                |x| x[0].layer_norm(Some(x[1]), Some(x[2]), eps));
        }
    }
    case!(v, "layer_norm with its own row", [d.any(1, 4)], |x| x[0].layer_norm(Some(x[0]), Some(x[0]), 0.1));
    for (rows, heads, width) in [(3, 3, 2), (1, 2, 3), (4, 1, 5), (2, 4, 1)] {
        let name = format!("rms_norm_heads {rows} x {heads} heads of {width}");
        let x = d.any(rows, heads * width);
        case!(v, name, [x], with heads: usize; |x| x[0].rms_norm_heads(None, heads, 0.1));
        let (x, gain) = (d.any(rows, heads * width), d.any(1, width));
        case!(v, name.clone() + " with gain", [x, gain], with heads: usize;
            |x| x[0].rms_norm_heads(Some(x[1]), heads, 1e-5));
        let (x, gain) = (d.any(rows, heads * width), d.any(1, heads * width));
        case!(v, name + " with a gain each", [x, gain], with heads: usize;
            |x| x[0].rms_norm_heads(Some(x[1]), heads, 1e-5));
        let name = format!("layer_norm_heads {rows} x {heads} heads of {width}");
        let (x, gain, bias) = (d.any(rows, heads * width), d.any(1, width), d.any(1, width));
        case!(v, name.clone(), [d.any(rows, heads * width)], with heads: usize;
            |x| x[0].layer_norm_heads(None, None, heads, 0.1));
        case!(v, name + " with gain and bias", [x, gain, bias], with heads: usize;
            |x| x[0].layer_norm_heads(Some(x[1]), Some(x[2]), heads, 0.1));
    }
    for (rows, cols) in [(3, 4), (1, 7), (4, 2), (2, 20)] {
        case!(v, format!("unit {rows} x {cols}"), [d.any(rows, cols)], |x| x[0].unit());
        let (x, to, alpha) = (d.any(rows, cols), d.any(rows, cols), d.any(1, cols));
        case!(v, format!("step_toward {rows} x {cols}"), [x, to, alpha], |x| x[0].step_toward(x[1], x[2]));
        let (x, alpha) = (d.any(rows, cols), d.any(1, cols));
        case!(v, format!("step_toward twice its own {rows} x {cols}"), [x, alpha], |x| {
            x[0].step_toward(x[0] * 2.0, x[1])
        });
    }
    case!(v, "step_toward itself", [d.any(3, 4), d.any(1, 4)], |x| x[0].step_toward(x[0], x[1]));
    case!(v, "step_toward all the same", [d.any(1, 4)], |x| x[0].step_toward(x[0], x[0]));
    case!(v, "step_toward a constant", [d.any(2, 2), d.any(1, 2)], |x| {
        x[0].step_toward(x[0].constant(2, 2, &[1.0, -2.0, 0.5, 0.5]), x[1])
    });
    case!(v, "step_toward from a constant", [d.any(2, 2), d.any(1, 2)], |x| {
        x[0].constant(2, 2, &[1.0, -2.0, 0.5, 0.5]).step_toward(x[0], x[1])
    });
    for (rows, cols) in [(3, 4), (1, 5), (4, 1)] {
        let (gate, up) = (d.any(rows, cols), d.any(rows, cols));
        case!(v, format!("swiglu {rows} x {cols}"), [gate.clone(), up.clone()], |x| x[0].swiglu(x[1]));
        case!(v, format!("glu {rows} x {cols}"), [gate.clone(), up.clone()], |x| x[0].glu(x[1]));
        case!(v, format!("geglu {rows} x {cols}"), [gate, up], |x| x[0].geglu(x[1]));
        for rate in [0.1, 0.5] {
            case!(v, format!("dropout {rows} x {cols} of {rate}"), [d.any(rows, cols)], with rate: f64;
                |x| x[0].dropout(rate, CounterRng::new(7)));
        }
    }
    for (rows, cols, outputs) in [(3, 4, 2), (1, 5, 3), (4, 1, 1), (9, 20, 5)] {
        let name = format!("dropout_linear {rows} x {cols} to {outputs}");
        case!(v, name, [d.any(rows, cols), d.any(outputs, cols)], |x| x[0].dropout_linear(
            0.3,
            CounterRng::new(7).fork(1),
            x[1]
        ));
        // A layer with an adapter, one without, and another one with the same second matrix.
        let name = format!("linear_all_adapted {rows} x {cols} to {outputs}");
        let [first, second, b] = [cols, cols, 2].map(|cols| d.any(outputs, cols));
        let (x, low) = (d.any(rows, cols), d.any(rows, 2));
        case!(v, name, [x, first, second, low, b], |x| Tensor::concat_cols(
            &x[0]
                .linear_all_adapted([x[1], x[2], x[2]], [Some((x[3], x[4])), None, Some((x[3] * 0.5, x[4]))])
        ));
    }
    case!(v, "dropout_linear by itself", [d.any(3, 3)], |x| x[0].dropout_linear(
        0.3,
        CounterRng::new(7),
        x[0]
    ));
    case!(v, "linear_all_adapted by itself", [d.any(3, 3)], |x| {
        let [y] = x[0].linear_all_adapted([x[0]], [Some((x[0], x[0]))]);
        y
    });
    case!(v, "dropout, later in its stream", [d.any(3, 4)], |x| x[0]
        .dropout(0.4, CounterRng::new(7).fork(2).skip(5)));
    case!(v, "dropout of nothing", [d.any(3, 4)], |x| x[0].dropout(0.0, CounterRng::new(7)));
}

fn positions(v: &mut impl Visitor) {
    let mut d = Draw::new(6);
    case!(v, "rope", [d.any(3, 4)], |x| x[0].rope(&[0, 1, 2], 1, Rotation::plain(10_000.0)));
    case!(v, "rope of heads", [d.any(3, 12)], |x| x[0].rope(&[4, 1, 9], 2, Rotation::plain(100.0)));
    case!(v, "rope of one row", [d.any(1, 6)], |x| x[0].rope(&[1000], 3, Rotation::plain(10_000.0)));
    case!(v, "sinusoids", [d.any(3, 6)], |x| x[0] * x[0].sinusoids(&[0, 7, 1000], 6));
    case!(v, "sinusoids of packed sequences, added", [d.any(5, 2)], |x| x[0]
        + x[0].sinusoids(&[0, 1, 2, 0, 1], 2));
    case!(v, "sinusoids of another width", [d.any(2, 4)], |x| x[0].matmul_t(x[0].sinusoids(&[3, 5, 2], 4)));
    case!(v, "rope of packed sequences", [d.any(5, 4)], |x| x[0].rope(
        &[0, 1, 2, 0, 1],
        2,
        Rotation::plain(500_000.0)
    ));
    // Of three pairs, one stays as fast as it was, one is slowed down a little, and one by the whole factor.
    const LLAMA3: RopeScaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 64,
    };
    const SLOWER: Rotation = Rotation { base: 100.0, scaling: RopeScaling::Linear { factor: 4.0 } };
    case!(v, "rope of Llama 3", [d.any(3, 12)], |x| {
        x[0].rope(&[4, 1, 90], 2, Rotation { base: 100.0, scaling: LLAMA3 })
    });
    case!(v, "rope, scaled evenly", [d.any(3, 12)], |x| x[0].rope(&[4, 1, 90], 2, SLOWER));
}

/// Attention without its matrices: heads, their width, mask and lengths, and which bias.
#[derive(Clone, Copy)]
struct Attention {
    n_head: usize,
    n_kv_head: usize,
    width: usize,
    mask: Mask,
    bias: Biased,
    queries: &'static [usize],
    keys: &'static [usize],
}

#[derive(Clone, Copy)]
enum Biased {
    No,
    Alibi,
    Table(Buckets),
}

impl Attention {
    /// Of queries, keys, values, and the table if there is one.
    fn of<T: Tensor>(self, x: &[T]) -> T {
        let Attention { n_head, n_kv_head, mask, queries, keys, .. } = self;
        let slopes = alibi_slopes(n_head);
        let bias = match self.bias {
            Biased::No => None,
            Biased::Alibi => Some(Bias::Alibi(&slopes)),
            Biased::Table(buckets) => Some(Bias::Table(x[3], buckets)),
        };
        let scale = (self.width as f64).sqrt().recip();
        let (queries, keys) = (&packed(queries)[..], &packed(keys)[..]);
        x[0].attention(x[1], x[2], AttentionSpec { n_head, n_kv_head, scale, mask, bias, queries, keys })
    }

    fn case(self, v: &mut impl Visitor, d: &mut Draw, name: &str) {
        let attention = self;
        let q = d.any(self.queries.iter().sum(), self.n_head * self.width);
        let [k, v_] = [(); 2].map(|()| d.any(self.keys.iter().sum(), self.n_kv_head * self.width));
        match self.bias {
            Biased::Table(buckets) => {
                let table = d.any(buckets.count, self.n_head);
                case!(v, name, [q, k, v_, table], with attention: Attention; |x| attention.of(x));
            }
            _ => case!(v, name, [q, k, v_], with attention: Attention; |x| attention.of(x)),
        }
    }
}

/// What the mask, the lengths and the heads may be, as names say: heads, those of keys, their width, mask, queries, keys.
type Shape = (&'static str, usize, usize, usize, Mask, &'static [usize], &'static [usize]);

const SHAPES: [Shape; 20] = [
    ("one head", 1, 1, 4, Mask::Causal, &[4], &[4]),
    ("one token", 2, 2, 3, Mask::Causal, &[1], &[1]),
    ("packed", 2, 2, 2, Mask::Causal, &[2, 1, 3], &[2, 1, 3]),
    ("one column", 1, 1, 1, Mask::Causal, &[2, 3], &[2, 3]),
    ("wide heads", 1, 1, 20, Mask::Causal, &[3], &[3]),
    ("grouped", 4, 2, 2, Mask::Causal, &[4], &[4]),
    ("grouped by one, packed", 3, 1, 2, Mask::Causal, &[2, 3], &[2, 3]),
    ("cached", 2, 2, 2, Mask::Causal, &[1], &[5]),
    ("cached, grouped, packed", 4, 2, 1, Mask::Causal, &[2, 1, 2], &[4, 2, 2]),
    ("full", 2, 2, 2, Mask::Full, &[3, 2], &[3, 2]),
    ("full, fewer keys", 2, 2, 2, Mask::Full, &[3, 2], &[1, 4]),
    ("full, grouped", 4, 2, 2, Mask::Full, &[1, 2], &[3, 2]),
    ("full, in vectors", 2, 1, 4, Mask::Full, &[4, 1], &[2, 3]),
    ("full, sequences without queries", 1, 1, 2, Mask::Full, &[2, 0, 0, 1], &[2, 3, 0, 1]),
    ("full, more queries than a vector has numbers", 1, 1, 4, Mask::Full, &[17], &[2]),
    ("window of one", 1, 1, 2, Mask::Window(1), &[3], &[3]),
    ("window of two, packed", 2, 2, 2, Mask::Window(2), &[4, 1], &[4, 1]),
    ("window, in vectors", 2, 1, 4, Mask::Window(3), &[5, 2], &[5, 4]),
    ("window, cached, grouped", 4, 2, 1, Mask::Window(2), &[2, 1], &[4, 3]),
    ("window, wider than the sequence", 1, 1, 3, Mask::Window(9), &[3], &[4]),
];

fn attention(v: &mut impl Visitor) {
    let mut d = Draw::new(7);
    // Few buckets, so that some are shared by several distances, and others by none.
    let one_way = Buckets { count: 4, max_distance: 4, bidirectional: false };
    let both_ways = Buckets { count: 6, max_distance: 3, bidirectional: true };
    let biases = [
        ("", Biased::No),
        (", ALiBi", Biased::Alibi),
        (", a table", Biased::Table(one_way)),
        (", a table of both directions", Biased::Table(both_ways)),
    ];
    for (with, bias) in biases {
        for (name, n_head, n_kv_head, width, mask, queries, keys) in SHAPES {
            let attention = Attention { n_head, n_kv_head, width, mask, bias, queries, keys };
            attention.case(v, &mut d, &format!("attention, {name}{with}"));
        }
    }
    case!(v, "attention of a matrix to itself", [d.any(4, 6)], |x| {
        let spec = AttentionSpec {
            n_head: 2,
            n_kv_head: 2,
            scale: 0.7,
            mask: Mask::Causal,
            bias: None,
            queries: &packed(&[3, 1]),
            keys: &packed(&[3, 1]),
        };
        x[0].attention(x[0], x[0], spec)
    });
    case!(v, "attention to itself, which is its table too", [d.any(4, 2)], |x| {
        let buckets = Buckets { count: 4, max_distance: 3, bidirectional: true };
        let spec = AttentionSpec {
            n_head: 2,
            n_kv_head: 2,
            scale: 0.7,
            mask: Mask::Full,
            bias: Some(Bias::Table(x[0], buckets)),
            queries: &packed(&[3, 1]),
            keys: &packed(&[3, 1]),
        };
        x[0].attention(x[0], x[0], spec)
    });
}

fn losses(v: &mut impl Visitor) {
    let mut d = Draw::new(8);
    for smoothing in [0.0, 0.1, 1.0] {
        let s = format!("smoothing {smoothing}");
        case!(v, format!("cross_entropy, {s}"), [d.any(4, 5)], with smoothing: f64;
            |x| x[0].cross_entropy(&[0, 4, 2, 2], smoothing));
        case!(v, format!("cross_entropy of one row, {s}"), [d.any(1, 7)], with smoothing: f64;
            |x| x[0].cross_entropy(&[6], smoothing));
        case!(v, format!("cross_entropy of one column, {s}"), [d.any(3, 1)], with smoothing: f64;
            |x| x[0].cross_entropy(&[0, 0, 0], smoothing));
        case!(v, format!("weighted cross_entropy, {s}"), [d.any(3, 20)], with smoothing: f64;
            |x| x[0].cross_entropy(&[19, 0, 7], smoothing).weighted_mean(&[1.0, 0.0, 2.5]));
    }
    case!(v, "weighted_sum", [d.any(4, 1)], |x| x[0].weighted_sum(&[1.0, -0.25, 0.0, 3.5]));
    case!(v, "weighted_mean", [d.any(4, 1)], |x| x[0].weighted_mean(&[1.0, 0.25, 0.0, 3.5]));
    case!(v, "weighted_mean of one", [d.any(1, 1)], |x| x[0].weighted_mean(&[0.3]));
}

/// Operations on parts of matrices and on rows that occur more than once: an engine may keep those as mere views.
fn views(v: &mut impl Visitor) {
    let mut d = Draw::new(9);
    case!(v, "slices of slices", [d.any(4, 6)], |x| x[0].slice_cols(1..5).slice_rows(1..4).slice_cols(1..3));
    case!(v, "operators on slices", [d.any(3, 6)], |x| x[0].slice_cols(0..3) * x[0].slice_cols(2..5));
    case!(v, "overlapping concat_cols", [d.any(3, 4)], |x| {
        T::concat_cols(&[x[0].slice_cols(0..3), x[0].slice_cols(1..4)])
    });
    case!(v, "overlapping concat_rows", [d.any(4, 3)], |x| {
        T::concat_rows(&[x[0].slice_rows(1..4), x[0].slice_rows(0..3)]).apply(UnaryOp::Tanh)
    });
    case!(v, "matmul with gathered rows", [d.any(2, 3), d.any(2, 4)], |x| {
        x[0].matmul(x[1].gather_rows(&[1, 0, 1]))
    });
    case!(v, "matmul of columns of both", [d.any(2, 5), d.any(3, 5)], |x| {
        x[0].slice_cols(1..4).matmul(x[1].slice_cols(2..5))
    });
    case!(v, "matmul_t with gathered rows", [d.any(2, 20), d.any(3, 20)], |x| {
        x[0].gather_rows(&[1, 1, 0]).matmul_t(x[1].gather_rows(&[2, 0, 2, 2]))
    });
    case!(v, "matmul_t of a matrix with its own rows", [d.any(3, 20)], |x| {
        x[0].matmul_t(x[0].gather_rows(&[2, 0, 1, 1]))
    });
    case!(v, "matmul_t of overlapping columns", [d.any(3, 24)], |x| {
        x[0].slice_cols(0..20).matmul_t(x[0].slice_cols(4..24))
    });
    case!(v, "row_dot of overlapping columns", [d.any(3, 24)], |x| {
        x[0].slice_cols(0..20).row_dot(x[0].slice_cols(4..24))
    });
    case!(v, "row_sum of repeated rows", [d.any(2, 3)], |x| x[0].gather_rows(&[0, 0, 1]).row_sum());
    case!(v, "pick of a slice", [d.any(3, 6)], |x| x[0].slice_cols(2..5).pick(&[2, 0, 0]));
    case!(v, "a part of a computed block", [d.any(3, 4)], |x| x[0].apply(UnaryOp::Exp).slice_rows(1..2));
    case!(v, "softmax of a slice", [d.any(3, 6)], |x| x[0].slice_cols(1..5).softmax());
    case!(v, "a result that is an input", [d.any(3, 4)], |x| x[0]);
    case!(v, "an input without effect", [d.any(3, 4), d.any(3, 4)], |x| x[0] * 2.0);
    case!(v, "a constant's share", [d.any(2, 2)], |x| x[0] * x[0].constant(2, 2, &[1.0, -2.0, 0.0, 0.5]));
    case!(v, "everything twice", [d.any(3, 4), d.any(4, 4)], |x| {
        let y = x[0].rms_norm(None, 1e-5).linear(x[1]) + x[0];
        y.softmax().matmul(x[1]) - y.apply(UnaryOp::Silu)
    });
}
