//! What the primitives of the contract compute, by hand; what the scalar engine computes in a way of its own, against
//! the definition; and what a shape that does not fit is answered with.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::params::{Init, Layout, ParamSpec};
use gradus::random::Random;
use gradus::scalar::{Arena, Graph, Matrix, Value};
use gradus::tensor::{AttentionSpec, Bias, Buckets, Mask, Rotation, packed};
use gradus::{Tensor, UnaryOp};

fn matrix<'g, const N: usize, const M: usize>(graph: &'g Graph<'g>, rows: [[f64; M]; N]) -> Matrix<'g> {
    graph.matrix(N, M, rows.as_flattened())
}

fn assert_rows<const N: usize, const M: usize>(x: Matrix, rows: [[f64; M]; N]) {
    assert_eq!(x.shape(), (N, M));
    for (at, row) in rows.iter().enumerate() {
        x.read_row(at, |x| assert_eq!(x, row, "row {at}"));
        assert!(row.iter().enumerate().all(|(col, y)| x.at(at, col).data() == *y), "row {at}");
    }
}

#[test]
fn primitives_by_hand() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let a = matrix(graph, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let b = matrix(graph, [[1.0, 0.0], [2.0, -1.0], [0.0, 3.0]]);
    let c = matrix(graph, [[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]);
    let (row, column) = (matrix(graph, [[10.0, 20.0, 30.0]]), matrix(graph, [[2.0], [-1.0]]));
    let one = matrix(graph, [[2.0]]);

    assert_rows(a.matmul(b), [[5.0, 7.0], [14.0, 13.0]]);
    assert_rows(a.matmul_t(c), [[5.0, 7.0], [14.0, 13.0]]);
    assert_rows(a.row_sum(), [[6.0], [15.0]]);
    assert_rows(c.row_max(), [[2.0], [3.0]]);
    assert_rows((-a).row_max(), [[-1.0], [-4.0]]);
    assert_rows(a.gather_rows(&[1, 0, 1]), [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_rows(a.pick(&[2, 0]), [[3.0], [4.0]]);
    assert_rows(a.slice_cols(1..3), [[2.0, 3.0], [5.0, 6.0]]);
    assert_rows(a.slice_rows(1..2), [[4.0, 5.0, 6.0]]);
    assert_rows(Tensor::concat_cols(&[a, column]), [[1.0, 2.0, 3.0, 2.0], [4.0, 5.0, 6.0, -1.0]]);
    assert_rows(Tensor::concat_rows(&[row, a]), [[10.0, 20.0, 30.0], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_rows(a.row_dot(c), [[5.0], [13.0]]);
    assert_rows(a.apply(UnaryOp::Neg), [[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]);
    assert_rows(a.constant(1, 2, &[7.0, 8.0]), [[7.0, 8.0]]);

    assert_rows(a + c, [[2.0, 4.0, 3.0], [4.0, 4.0, 9.0]]);
    assert_rows(a - row, [[-9.0, -18.0, -27.0], [-6.0, -15.0, -24.0]]);
    assert_rows(row - a, [[9.0, 18.0, 27.0], [6.0, 15.0, 24.0]]);
    assert_rows(a * column, [[2.0, 4.0, 6.0], [-4.0, -5.0, -6.0]]);
    assert_rows(column * a, [[2.0, 4.0, 6.0], [-4.0, -5.0, -6.0]]);
    assert_rows(a / one, [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]);
    assert_rows(one - a, [[1.0, 0.0, -1.0], [-2.0, -3.0, -4.0]]);
    assert_rows(column + row, [[12.0, 22.0, 32.0], [9.0, 19.0, 29.0]]);
    assert_rows(row + column, [[12.0, 22.0, 32.0], [9.0, 19.0, 29.0]]);
    assert_rows(a + 1.0, [[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]);
    assert_rows(a - 1.0, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    assert_rows(a * 2.0, [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]);
    assert_rows(a / 2.0, [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]);
    assert_rows(-row, [[-10.0, -20.0, -30.0]]);
}

#[test]
fn the_greatest_of_a_row_is_a_constant() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = matrix(graph, [[1.0, 5.0, 2.0]]);
    let y = (x - x.row_max()).row_sum();
    y.at(0, 0).backward();
    assert_eq!(y.at(0, 0).data(), -7.0);
    assert_eq!([0, 1, 2].map(|col| x.at(0, col).grad()), [1.0, 1.0, 1.0]);
}

/// A softmax or a cross entropy may not overflow, however large what goes in.
#[test]
fn large_logits_do_not_overflow() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = matrix(graph, [[1e4, 0.0, -1e4], [-1e300, 1e300, 0.0]]);
    assert_rows(x.softmax(), [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    let loss = x.cross_entropy(&[1, 1], 0.0);
    assert_rows(loss, [[1e4], [0.0]]);
    loss.weighted_mean(&[1.0, 1.0]).at(0, 0).backward();
    assert_eq!([0, 1, 2].map(|col| x.at(0, col).grad()), [0.5, -0.5, 0.0]);
}

/// Two ways to the same: values and gradients of both must agree.
fn same(name: &str, inputs: &[(usize, usize)], ways: [for<'g> fn(&[Matrix<'g>]) -> Matrix<'g>; 2]) {
    let mut arena = Arena::new();
    let mut go = |way: for<'g> fn(&[Matrix<'g>]) -> Matrix<'g>| {
        let mut random = Random::new(8);
        let graph = arena.graph();
        let mut draw = |&(rows, cols): &(usize, usize)| {
            let data: Vec<f64> = (0..rows * cols).map(|_| random.gauss(0.0, 1.0)).collect();
            graph.matrix(rows, cols, &data)
        };
        let x: Vec<Matrix> = inputs.iter().map(&mut draw).collect();
        let all = |x: Matrix<'_>| -> Vec<(usize, usize)> {
            let (rows, cols) = x.shape();
            (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))).collect()
        };
        let y = way(&x);
        let values: Vec<f64> = all(y).into_iter().map(|(row, col)| y.at(row, col).data()).collect();
        let parts: Vec<Value> =
            all(y).into_iter().map(|(row, col)| y.at(row, col) * (row as f64 + 0.3 * col as f64)).collect();
        Value::sum(&parts).backward();
        let grad = |x: &Matrix| -> Vec<f64> {
            all(*x).into_iter().map(|(row, col)| x.at(row, col).grad()).collect()
        };
        (y.shape(), [values, x.iter().flat_map(grad).collect()].concat())
    };
    let [(shape, ours), (defined, definition)] = ways.map(&mut go);
    assert_eq!(shape, defined, "{name}");
    for (at, (a, b)) in ours.iter().zip(&definition).enumerate() {
        assert!((a - b).abs() <= 1e-13 * b.abs().max(1.0), "{name}, number {at}: {a} and {b}");
    }
}

/// What the engine overrides is what the default says, and what it has two ways for is the same by both.
#[test]
fn a_shortcut_computes_what_its_definition_computes() {
    for (rows, cols) in [(3, 4), (1, 7), (5, 1), (2, 16), (3, 37)] {
        let two = [(rows, cols), (rows, cols)];
        same("row_dot", &two, [|x| x[0].row_dot(x[1]), |x| (x[0] * x[1]).row_sum()]);
        same("row_dot with itself", &two[..1], [|x| x[0].row_dot(x[0]), |x| (x[0] * x[0]).row_sum()]);
        same("linear", &two, [|x| x[0].linear(x[1]), |x| x[0].matmul_t(x[1])]);
    }
    same("slice_rows", &[(5, 3)], [|x| x[0].slice_rows(1..4), |x| x[0].gather_rows(&[1, 2, 3])]);
    same(
        "a product of rows taken one by one",
        &[(3, 20), (4, 20)],
        [
            |x| x[0].matmul_t(x[1]),
            |x| {
                let rows = [0, 1, 2].map(|row| x[0].slice_rows(row..row + 1).matmul_t(x[1]));
                Tensor::concat_rows(&rows)
            },
        ],
    );
    same(
        "a product of columns taken one by one",
        &[(3, 20), (20, 4)],
        [
            |x| x[0].matmul(x[1]),
            |x| Tensor::concat_cols(&[0, 1, 2, 3].map(|col| x[0].matmul(x[1].slice_cols(col..col + 1)))),
        ],
    );
}

/// Each mistake is met by an assertion that names the operation and the shapes.
#[test]
fn shapes_that_do_not_fit_are_named() {
    type Mistake = for<'g> fn(Matrix<'g>, Matrix<'g>) -> Matrix<'g>;
    let spec = AttentionSpec {
        n_head: 1,
        n_kv_head: 1,
        scale: 1.0,
        mask: Mask::Causal,
        bias: None,
        queries: &packed(&[2]),
        keys: &packed(&[4]),
    };
    let shape_of = |x: Matrix<'_>| format!("{:?}", x.shape());
    let mistakes: [(&str, Mistake); 8] = [
        ("matmul:", |a, b| a.matmul(b)),
        ("matmul_t:", |a, b| a.slice_cols(0..2).matmul_t(b)),
        ("+:", |a, b| a + b),
        ("-:", |a, b| a - b),
        ("*:", |a, b| a * b),
        ("/:", |a, b| a / b),
        ("row_dot:", |a, b| a.row_dot(b)),
        ("*:", |a, b| a.rms_norm(Some(b), 1e-5)),
    ];
    let message = |work: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a mistake");
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned())).expect("a message")
    };
    let mut arena = Arena::new();
    let graph = arena.graph();
    let mut layout = Layout::default();
    layout.add(ParamSpec::matrix("w", 2, 2, Init::Constant(1.0)));
    let bound = graph.bind(&layout, &[1.0; 4]);
    let (a, b) = (graph.matrix(2, 3, &[1.0; 6]), graph.matrix(4, 3, &[1.0; 12]));
    for (words, mistake) in mistakes {
        let text = message(&mut || _ = mistake(a, b));
        assert!(text.contains(words) && text.contains(&shape_of(b)), "{text}");
    }
    let buckets = Buckets { count: 4, max_distance: 8, bidirectional: false };
    let biased = |bias| AttentionSpec { bias: Some(bias), ..spec };
    let others: [(&str, &mut dyn FnMut()); 30] = [
        ("matrix", &mut || _ = graph.matrix(usize::MAX / 2 + 2, 2, &[1.0; 2])),
        ("0 numbers", &mut || _ = graph.matrix(0, 3, &[])),
        ("bind", &mut || _ = graph.bind(&layout, &[1.0; 5])),
        ("parameters come first", &mut || _ = graph.bind(&layout, &[1.0; 4])),
        ("gradient", &mut || bound.gradient(&mut [0.0; 5])),
        ("gather_rows", &mut || _ = a.gather_rows(&[])),
        ("concat_cols", &mut || _ = Matrix::concat_cols(&[])),
        ("concat_rows", &mut || _ = Matrix::concat_rows(&[])),
        ("matrix", &mut || _ = graph.matrix(2, 2, &[1.0; 3])),
        ("matrix", &mut || _ = a.constant(2, 2, &[1.0; 3])),
        ("gather_rows", &mut || _ = a.gather_rows(&[0, 2])),
        ("slice_rows", &mut || _ = a.slice_rows(1..3)),
        ("slice_cols", &mut || _ = a.slice_cols(2..4)),
        ("pick", &mut || _ = a.pick(&[0])),
        ("pick", &mut || _ = a.pick(&[0, 3])),
        ("concat_cols", &mut || _ = Tensor::concat_cols(&[a, b])),
        ("concat_rows", &mut || _ = Tensor::concat_rows(&[a, a.slice_cols(0..2)])),
        ("rope", &mut || _ = a.rope(&[0, 1], 1, Rotation::plain(1e4))),
        ("rope", &mut || _ = a.slice_cols(0..2).rope(&[0], 1, Rotation::plain(1e4))),
        ("keys and values differ", &mut || _ = a.attention(b, a, spec)),
        ("among 4 queries", &mut || _ = b.attention(a, a, spec)),
        ("more queries than keys", &mut || {
            _ = b.attention(a, a, AttentionSpec { queries: &packed(&[4]), keys: &packed(&[2]), ..spec });
        }),
        ("without keys", &mut || {
            let (queries, keys) = (&packed(&[1, 1])[..], &packed(&[0, 4])[..]);
            let spec = AttentionSpec { mask: Mask::Full, queries, keys, ..spec };
            _ = a.attention(b, b, spec);
        }),
        ("2 heads", &mut || _ = a.attention(b, b, AttentionSpec { n_head: 2, n_kv_head: 2, ..spec })),
        ("sees nothing", &mut || _ = a.attention(b, b, AttentionSpec { mask: Mask::Window(0), ..spec })),
        ("slopes", &mut || _ = a.attention(b, b, biased(Bias::Alibi(&[0.5, 0.25])))),
        ("4 buckets, 1 heads", &mut || _ = a.attention(b, b, biased(Bias::Table(b, buckets)))),
        ("up to 2", &mut || {
            let column = b.slice_cols(0..1);
            _ = a.attention(b, b, biased(Bias::Table(column, Buckets { max_distance: 2, ..buckets })));
        }),
        ("3 buckets", &mut || {
            let column = b.slice_rows(0..3).slice_cols(0..1);
            let odd = Buckets { count: 3, max_distance: 8, bidirectional: true };
            _ = a.attention(b, b, biased(Bias::Table(column, odd)));
        }),
        ("1 buckets", &mut || {
            let column = b.slice_rows(0..1).slice_cols(0..1);
            let single = Buckets { count: 1, max_distance: 8, bidirectional: false };
            _ = a.attention(b, b, biased(Bias::Table(column, single)));
        }),
    ];
    let silent: Vec<String> = others
        .into_iter()
        .map(|(words, mistake)| (words, message(mistake)))
        .filter(|(words, text)| !text.contains(words))
        .map(|(words, text)| format!("{words} is not in {text:?}"))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

/// The gradients of parameters are those of the last pass: none before the first, and none where it did not come.
#[test]
fn parameters_have_the_gradients_of_the_last_pass() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let mut layout = Layout::default();
    let (v, w) = (
        layout.add(ParamSpec::matrix("v", 1, 2, Init::Constant(1.0))),
        layout.add(ParamSpec::matrix("w", 1, 2, Init::Constant(1.0))),
    );
    let bound = graph.bind(&layout, &[2.0, 3.0, 4.0, 5.0]);
    let gradient = || {
        let mut out = [f64::NAN; 4];
        bound.gradient(&mut out);
        out
    };
    assert_eq!(gradient(), [0.0; 4]);
    let of_both = bound.params[v].row_dot(bound.params[w]).at(0, 0);
    let of_w = (bound.params[w] * 7.0).at(0, 1);
    for _ in 0..2 {
        of_both.backward();
        assert_eq!(gradient(), [4.0, 5.0, 2.0, 3.0]);
        of_w.backward();
        assert_eq!(gradient(), [0.0, 0.0, 0.0, 7.0]);
    }
}
