//! What the code of a "write it yourself" exercise has to do, be it the solution or a reader's.

use gradus::Tensor;
use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::params::{Init, Layout, ParamSpec};
use gradus::random::Random;
use gradus::scalar::Arena;
use gradus::tensor::{AttentionSpec, Mask, packed};

/// Whether code does what it should, and if not, what is wrong.
pub type Check = Result<(), String>;

/// Numbers are what they should be, up to rounding.
pub fn close(what: &str, actual: &[f64], expected: &[f64]) -> Check {
    let same = actual.len() == expected.len()
        && actual.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0));
    if same { Ok(()) } else { Err(format!("{what}: {actual:?} instead of {expected:?}")) }
}

/// 1.4, of a module with a `Tape`: the neuron of the chapter.
macro_rules! check_tape {
    ($module:ident) => {{
        let mut tape = $module::Tape::default();
        let [x1, x2] = [2.0, 0.0].map(|x| tape.leaf(x));
        let [w1, w2, b] = [-3.0, 1.0, 6.881373587019543].map(|x| tape.leaf(x));
        let (first, second) = (tape.mul(x1, w1), tape.mul(x2, w2));
        let both = tape.add(first, second);
        let n = tape.add(both, b);
        let o = tape.tanh(n);
        let indices = [x1, x2, w1, w2, b, first, second, both, n, o];
        let leaf = Vec::new;
        let operands =
            [leaf(), leaf(), leaf(), leaf(), leaf(), vec![0, 2], vec![1, 3], vec![5, 6], vec![7, 4], vec![8]];
        let numbers =
            [2.0, 0.0, -3.0, 1.0, 6.881373587019543, -6.0, 0.0, -6.0, 0.881373587019543, 0.5_f64.sqrt()];
        if indices != [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
            Err(format!("the indices are {indices:?}, and should count from 0"))
        } else if tape.operands != operands {
            Err(format!("the operands are {:?} instead of {operands:?}", tape.operands))
        } else {
            crate::checks::close("the numbers", &tape.data, &numbers)
        }
    }};
}

/// 2.4.
pub fn gradients(gradients: impl Fn(&[[(usize, f64); 2]], usize) -> Vec<f64>) -> Check {
    const NONE: (usize, f64) = (0, 0.0);
    // a = 2, b = 3, c = a + b, y = c * b, and one more that y does not depend on.
    let mut tape = vec![[NONE; 2], [NONE; 2], [(0, 1.0), (1, 1.0)], [(2, 3.0), (1, 5.0)], [(3, 7.0), NONE]];
    close("y = (a + b) * b", &gradients(&tape, 3), &[3.0, 8.0, 3.0, 1.0, 0.0])?;
    close("7 * y", &gradients(&tape, 4), &[21.0, 56.0, 21.0, 7.0, 1.0])?;
    // y = x + x + …, deep enough to overflow the stack of a recursion.
    tape = vec![[NONE; 2]];
    (0..1_000_000).for_each(|y| tape.push([(y, 1.0), (0, 1.0)]));
    close("a million additions", &gradients(&tape, 1_000_000)[..1], &[1_000_001.0])
}

/// 3.4, of a module with a `View`.
macro_rules! check_view {
    ($module:ident) => {{
        let places = |view: $module::View| -> Vec<Vec<usize>> {
            let row = |row| (0..view.cols).map(|col| view.place(row, col)).collect();
            (0..view.rows).map(row).collect()
        };
        let whole = $module::View::whole(10, 3, 4);
        let expected = |what: &str, view, expected: Vec<Vec<usize>>| {
            let found = places(view);
            if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}")) }
        };
        let rows = |rows: &[&[usize]]| rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>();
        let all = rows(&[&[10, 11, 12, 13], &[14, 15, 16, 17], &[18, 19, 20, 21]]);
        let turned = rows(&[&[10, 14, 18], &[11, 15, 19], &[12, 16, 20], &[13, 17, 21]]);
        let memory = [whole.start, whole.row_stride, whole.col_stride];
        let memory =
            if memory == [10, 4, 1] { Ok(()) } else { Err(format!("start and strides: {memory:?}")) };
        memory
            .and_then(|()| expected("whole", whole, all.clone()))
            .and_then(|()| expected("transpose", whole.transpose(), turned))
            .and_then(|()| expected("transposed twice", whole.transpose().transpose(), all))
            .and_then(|()| expected("a part", whole.part(1..3, 2..4), rows(&[&[16, 17], &[20, 21]])))
            .and_then(|()| {
                let part = whole.transpose().part(1..3, 1..3).part(1..2, 0..2);
                expected("a part of a part of the transpose", part, rows(&[&[16, 20]]))
            })
    }};
}
pub(crate) use {check_tape, check_view};

/// What the library's specification of attention makes of one head.
pub fn library_attention(q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>], scale: f64) -> Vec<Vec<f64>> {
    let (n, d) = (q.len(), q[0].len());
    let mut arena = Arena::new();
    let graph = arena.graph();
    let [q, k, v] = [q, k, v].map(|rows| graph.matrix(n, d, &rows.concat()));
    let queries = &packed(&[n]);
    let keys = queries;
    let spec =
        AttentionSpec { n_head: 1, n_kv_head: 1, scale, mask: Mask::Causal, bias: None, queries, keys };
    let out = q.attention(k, v, spec);
    (0..n).map(|row| out.read_row(row, <[f64]>::to_vec)).collect()
}

/// 4.4.
pub fn attention(attention: impl Fn(&[Vec<f64>], &[Vec<f64>], &[Vec<f64>], f64) -> Vec<Vec<f64>>) -> Check {
    let mut random = Random::new(4);
    for (tokens, width, scale) in [(2, 2, 1.0), (1, 3, 0.5), (6, 4, 0.5), (3, 2, 1000.0)] {
        let mut rows = || -> Vec<Vec<f64>> {
            (0..tokens).map(|_| (0..width).map(|_| random.gauss(0.0, 2.0)).collect()).collect()
        };
        let (q, k, v) = (rows(), rows(), rows());
        let what = format!("{tokens} tokens of {width} numbers, scale {scale}");
        let ours = library_attention(&q, &k, &v, scale);
        close(&what, &attention(&q, &k, &v, scale).concat(), &ours.concat())?;
    }
    Ok(())
}

/// The library's Adam with microgpt's settings, for this many parameters.
pub fn library_adam(len: usize) -> Adam<f64> {
    let mut layout = Layout::default();
    layout.add(ParamSpec::matrix("w", 1, len, Init::Constant(0.0)));
    Adam::new(&layout, AdamSettings::MICROGPT)
}

/// 5.8.
pub fn adam(adam: impl Fn(&mut [f64], &[f64], &mut [f64], &mut [f64], i32, f64)) -> Check {
    let (mut ours, mut theirs) = ([0.3, -0.1, 2.0, 0.0], [0.3, -0.1, 2.0, 0.0]);
    let (mut optimizer, mut m, mut v) = (library_adam(4), [0.0; 4], [0.0; 4]);
    for t in 1..=20 {
        let sign = if t % 2 == 0 { -1.0 } else { 1.0 };
        let (grads, rate) = ([2.0, 0.1 * sign, 1e-7, 0.0], 0.01 / f64::from(t));
        optimizer.update(&mut ours, &grads, rate);
        adam(&mut theirs, &grads, &mut m, &mut v, t, rate);
        close(&format!("the parameters after step {t}"), &theirs, &ours)?;
    }
    Ok(())
}

/// 6.4.
pub fn draw(draw: impl Fn(&[f64], f64, f64) -> usize) -> Check {
    // Probabilities of 0.5, 0.3 and 0.2, and at temperature 0.5 of 0.25, 0.09 and 0.04 in 0.38.
    let logits = [0.5_f64.ln(), 0.3_f64.ln(), 0.2_f64.ln()];
    for (temperature, dart, token) in [
        (1.0, 0.0, 0),
        (1.0, 0.49, 0),
        (1.0, 0.51, 1),
        (1.0, 0.79, 1),
        (1.0, 0.81, 2),
        (1.0, 0.9999, 2),
        (0.5, 0.65, 0),
        (0.5, 0.67, 1),
        (0.5, 0.90, 2),
        (0.0, 0.99, 0),
    ] {
        let drawn = draw(&logits, temperature, dart);
        if drawn != token {
            return Err(format!("temperature {temperature}, dart {dart}: token {drawn} instead of {token}"));
        }
    }
    let high = draw(&[1000.0, 1001.0], 1.0, 0.5);
    if high == 1 { Ok(()) } else { Err(format!("of the logits 1000 and 1001, token {high} at 0.5")) }
}
