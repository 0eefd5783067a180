//! `Value`: its arithmetic, its gradients, and the graph behind it.
//!
//! Values and gradients are compared with plain `f64` arithmetic, with micrograd's published figures and with central
//! differences. Then come the properties of the graph: repeated backward passes, depth without recursion, memory that does
//! not grow, and diagrams.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gradus::scalar::{Arena, Graph, Matrix, Value};
use gradus::{BinaryOp, Tensor, UnaryOp};

const EPS: f64 = 1e-6;
const ATOL: f64 = 1e-5;
const RTOL: f64 = 1e-3;

/// Checks the gradient of a function of values, at one point, against central differences.
fn check(name: &str, f: impl for<'g> Fn(&[Value<'g>]) -> Value<'g>, point: &[f64]) {
    let mut arena = Arena::new();
    let mut eval = |point: &[f64]| {
        let graph = arena.graph();
        let x: Vec<Value> = point.iter().map(|&x| graph.value(x)).collect();
        let y = f(&x);
        y.backward();
        (y.data(), x.iter().map(|x| x.grad()).collect::<Vec<f64>>())
    };
    let (_, gradient) = eval(point);
    for (i, grad) in gradient.into_iter().enumerate() {
        let mut value_at_offset = |offset: f64| {
            let mut point = point.to_vec();
            point[i] += offset;
            eval(&point).0
        };
        let numeric = (value_at_offset(EPS) - value_at_offset(-EPS)) / (2.0 * EPS);
        let close = (grad - numeric).abs() <= ATOL + RTOL * numeric.abs();
        assert!(
            close,
            "{name} at {point:?}: operand {i} has gradient {grad}, but {numeric} by central differences"
        );
    }
}

/// The expression in micrograd's README.
fn micrograd<'g>(a: Value<'g>, b: Value<'g>) -> Value<'g> {
    let mut c = a + b;
    let mut d = a * b + b.pow(3.0);
    c = c + c + 1.0;
    c = c + 1.0 + c + (-a);
    d = d + d * 2.0 + (b + a).relu();
    d = d + 3.0 * d + (b - a).relu();
    let e = c - d;
    let f = e.pow(2.0);
    f / 2.0 + 10.0 / f
}

/// The three figures in micrograd's README.
#[test]
fn the_expression_of_micrograd() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b) = (graph.value(-4.0), graph.value(2.0));
    let g = micrograd(a, b);
    g.backward();
    assert_eq!(format!("{:.4}", g.data()), "24.7041");
    assert_eq!(format!("{:.4}", a.grad()), "138.8338");
    assert_eq!(format!("{:.4}", b.grad()), "645.5773");
}

#[test]
fn operations_compute_the_same_as_f64() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let close = |y: Value, expected: f64| {
        assert!((y.data() - expected).abs() <= 1e-15 * expected.abs(), "{} is not {expected}", y.data());
    };
    for (a, c) in [(0.75, 2.0), (-1.25, 3.7), (2.5, -0.3), (1e-9, 1e9)] {
        let (x, y) = (graph.value(a), graph.value(c));
        close(x + y, a + c);
        close(x - y, a - c);
        close(x * y, a * c);
        close(x / y, a / c);
        close(-x, -a);
        close(x + c, a + c);
        close(x - c, a - c);
        close(x * c, a * c);
        close(x / c, a / c);
        close(a + y, a + c);
        close(a - y, a - c);
        close(a * y, a * c);
        close(a / y, a / c);
        close(x.pow(3.0), a.powf(3.0));
        close(x.exp(), a.exp());
        close((x * x).ln(), (a * a).ln());
        close(x.relu(), a.max(0.0));
        close(x.tanh(), a.tanh());
        close(x.sigmoid(), 1.0 / (1.0 + (-a).exp()));
        close(x.silu(), a / (1.0 + (-a).exp()));
        close(Value::sum(&[x, y, x]), a + c + a);
        close(Value::dot(&[x, y], &[y, y]), a * c + c * c);
        for f in UnaryOp::EXAMPLES.into_iter().filter(|f| *f != UnaryOp::Ln) {
            close(x.apply(f), f.eval(a));
        }
    }
}

#[test]
fn gradient_check_of_every_function() {
    for f in UnaryOp::EXAMPLES {
        for x in [0.3, 1.7, 4.0, -0.8, -2.5] {
            if x > 0.0 || f != UnaryOp::Ln {
                check(&format!("{f:?}"), |v| v[0].apply(f), &[x]);
            }
        }
    }
    type Method = for<'g> fn(Value<'g>) -> Value<'g>;
    let methods: [(&str, Method); 7] = [
        ("pow", |x| x.pow(-0.5)),
        ("exp", |x| x.exp()),
        ("ln", |x| x.ln()),
        ("relu", |x| x.relu()),
        ("tanh", |x| x.tanh()),
        ("sigmoid", |x| x.sigmoid()),
        ("silu", |x| x.silu()),
    ];
    for (name, method) in methods {
        check(name, |v| method(v[0]), &[0.6]);
        check(name, |v| method(v[0]), &[2.2]);
    }
}

#[test]
fn gradient_check_of_every_operator() {
    fn combine<'g>(op: BinaryOp, a: Value<'g>, b: Value<'g>) -> Value<'g> {
        match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
        }
    }
    for op in BinaryOp::ALL {
        for (a, b) in [(0.3, 1.7), (-0.8, 0.4), (2.0, -1.5)] {
            check(&format!("{op:?}"), |v| combine(op, v[0], v[1]), &[a, b]);
            check(&format!("{op:?} of a value and itself"), |v| combine(op, v[0], v[0]), &[a]);
        }
    }
    type Method = for<'g> fn(Value<'g>) -> Value<'g>;
    let with_number: [(&str, Method); 9] = [
        ("-x", |x| -x),
        ("x + c", |x| x + 0.7),
        ("c + x", |x| 0.7 + x),
        ("x - c", |x| x - 0.7),
        ("c - x", |x| 0.7 - x),
        ("x * c", |x| x * 0.7),
        ("c * x", |x| 0.7 * x),
        ("x / c", |x| x / 0.7),
        ("c / x", |x| 0.7 / x),
    ];
    for (name, method) in with_number {
        check(name, |v| method(v[0]), &[1.3]);
        check(name, |v| method(v[0]), &[-0.4]);
    }
}

#[test]
fn gradient_check_of_sums_and_dot_products() {
    let point: Vec<f64> = (0..20).map(|i| (i as f64 * 1.3).sin() + 0.1).collect();
    check("sum", |v| Value::sum(&v[..20]), &point);
    check("sum of one", |v| Value::sum(&v[..1]), &point[..1]);
    check("sum with repeats", |v| Value::sum(&[v[0], v[1], v[0], v[0]]), &point[..2]);
    check("sum of a thousand times the same", |v| Value::sum(&[v[0]; 1000]), &point[..1]);
    check("dot", |v| Value::dot(&v[..10], &v[10..]), &point);
    check("dot of a list with itself", |v| Value::dot(v, v), &point);
    check("dot of lists that overlap", |v| Value::dot(&v[..19], &v[1..]), &point);
    check("dot of one", |v| Value::dot(&v[..1], &v[1..]), &point[..2]);
    check("dot of one value with a list", |v| Value::dot(&[v[0]; 19], &v[1..]), &point);
}

#[test]
fn gradients_of_all_uses_of_a_value_accumulate() {
    let powers = |v: &[Value<'_>]| -> f64 {
        let mut y = v[0];
        for _ in 1..64 {
            y = y * v[0];
        }
        y.backward();
        v[0].grad()
    };
    let mut arena = Arena::new();
    let x: f64 = 1.02;
    let expected = 64.0 * x.powi(63);
    assert!((powers(&[arena.graph().value(x)]) - expected).abs() < 1e-12 * expected);

    check("micrograd's expression", |v| micrograd(v[0], v[1]) * 1e-2 + v[0] * v[1], &[-4.0, 2.0]);
}

fn gradients<const N: usize>(values: [Value; N]) -> [f64; N] {
    values.map(Value::grad)
}

#[test]
fn backward_twice_gives_the_same_gradients() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b) = (graph.value(-4.0), graph.value(2.0));
    let (sum, dot) = (Value::sum(&[a, b, a]), Value::dot(&[a, b], &[b, b]));
    let y = micrograd(a, b) + sum * dot;
    y.backward();
    let once = gradients([a, b, sum, dot, y]);
    y.backward();
    assert_eq!(gradients([a, b, sum, dot, y]), once);
    assert!(once.iter().all(|grad| *grad != 0.0));
}

#[test]
fn backward_of_another_result_starts_from_zero() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b, c) = (graph.value(2.0), graph.value(3.0), graph.value(5.0));
    let product = a * b;
    let square = c * c;
    let total = product + square;
    assert_eq!(gradients([a, b, c, product, square, total]), [0.0; 6], "before any backward");
    total.backward();
    assert_eq!(gradients([a, b, c, product, square, total]), [3.0, 2.0, 10.0, 1.0, 1.0, 1.0]);
    product.backward();
    assert_eq!(gradients([a, b, c, product, square, total]), [3.0, 2.0, 0.0, 1.0, 0.0, 0.0]);
    square.backward();
    assert_eq!(gradients([a, b, c, product, square, total]), [0.0, 0.0, 10.0, 0.0, 1.0, 0.0]);
    let later = product * c; // the graph may grow between two backward passes
    later.backward();
    assert_eq!(gradients([a, b, c, product, square, total]), [15.0, 10.0, 6.0, 5.0, 0.0, 0.0]);
    c.backward();
    assert_eq!(gradients([a, b, c, product, later, total]), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
}

/// A recursive backward would need a million stack frames. The stack of this thread holds a few hundred.
#[test]
fn a_graph_a_million_nodes_deep() {
    let work = || {
        let mut arena = Arena::new();
        let graph = arena.graph();
        let x = graph.value(1.0);
        let mut y = x;
        for _ in 0..500_000 {
            y = (y + x) * 0.5;
        }
        y.backward();
        assert_eq!(graph.len(), 1_000_001);
        (y.data(), x.grad())
    };
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(work).expect("a thread starts");
    let (data, grad) = thread.join().expect("it does not overflow its stack");
    assert_eq!(data, 1.0);
    assert_eq!(grad, 1.0);
}

#[test]
fn memory_does_not_grow_from_step_to_step() {
    fn step<'g>(graph: &'g Graph<'g>, x: f64) -> f64 {
        let (a, b) = (graph.value(x).label("a"), graph.value(2.0));
        let y = micrograd(a, b) + Value::dot(&[a, b], &[b, a]);
        y.backward();
        a.grad()
    }
    let mut arena = Arena::new();
    assert_eq!(arena.bytes(), 0, "an unused arena");
    for i in 0..100 {
        assert!(step(arena.graph(), i as f64 - 50.5).is_finite());
    }
    let warm = arena.bytes();
    assert!(warm > 0);
    for i in 0..100_000 {
        assert!(step(arena.graph(), i as f64 * 1e-3 - 50.5).is_finite());
        assert_eq!(arena.bytes(), warm, "step {i}");
    }
}

#[test]
fn a_graph_counts_its_values() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    assert!(graph.is_empty());
    let a = graph.value(1.0);
    let b = a + a;
    let c = a * b;
    assert_eq!(graph.len(), 3);
    Value::sum(&[a, b, c]); // side by side
    assert_eq!(graph.len(), 4);
    Value::sum(&[a, c]); // not side by side, so they are copied
    assert_eq!(graph.len(), 7);
    assert!(!graph.is_empty());
    assert!(arena.graph().is_empty());
}

#[test]
fn a_diagram_shows_the_calculation_behind_a_value() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let a = graph.value(2.0).label("first");
    let b = graph.value(-3.0).label("b");
    let unrelated = a + 100.0; // not part of the result
    let c = (a * b).label("old name").label("c");
    let d = c + a;
    d.label("result").backward();
    let diagram = d.diagram();

    let nodes: Vec<_> = diagram
        .nodes
        .iter()
        .map(|node| (node.label.as_deref(), node.op.as_deref(), node.data, node.grad))
        .collect();
    assert_eq!(
        nodes,
        [
            (Some("first"), None, 2.0, -2.0),
            (Some("b"), None, -3.0, 2.0),
            (Some("c"), Some("*"), -6.0, 1.0),
            (Some("result"), Some("+"), -4.0, 1.0),
        ]
    );
    let mut edges = diagram.edges.clone();
    edges.sort_unstable();
    assert_eq!(edges, [(0, 2), (0, 3), (1, 2), (2, 3)]);

    for text in [diagram.to_dot(), diagram.to_svg()] {
        for label in ["first", "b", "c", "result", "-6.0000"] {
            assert!(text.contains(label), "{label} is not in {text}");
        }
        for other in ["old name", "102"] {
            assert!(!text.contains(other), "{other} is in {text}");
        }
    }
    let dot = diagram.to_dot();
    assert!(dot.starts_with("digraph") && dot.trim_end().ends_with('}'));
    assert_eq!(
        dot.matches(" -> ").count(),
        4 + 2,
        "four uses of operands, and from two operations to their results"
    );
    assert_eq!(unrelated.grad(), 0.0);
}

#[test]
fn a_diagram_has_an_edge_for_every_use_of_an_operand() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let (a, b) = (graph.value(2.0), graph.value(3.0));
    let sum = Value::sum(&[a, b]).diagram();
    assert_eq!(sum.nodes.len(), 3);
    assert_eq!(sum.nodes[2].op.as_deref(), Some("sum"));
    assert_eq!(sum.edges, [(0, 2), (1, 2)]);
    let square = (a * a).diagram();
    assert_eq!(square.edges, [(0, 1), (0, 1)]);
    let dot = Value::dot(&[a, b], &[a, b]).diagram();
    assert_eq!(dot.nodes[2].op.as_deref(), Some("dot"));
    assert_eq!(dot.edges, [(0, 2), (0, 2), (1, 2), (1, 2)]);
    // Values that are not side by side are copied first.
    let sum = Value::sum(&[a, b, a]).diagram();
    let ops: Vec<_> = sum.nodes.iter().map(|node| node.op.as_deref()).collect();
    assert_eq!(ops, [None, None, Some("copy"), Some("copy"), Some("copy"), Some("sum")]);
    assert_eq!(sum.edges, [(0, 2), (1, 3), (0, 4), (2, 5), (3, 5), (4, 5)]);
    let leaf = a.diagram();
    assert_eq!((leaf.nodes.len(), leaf.edges.len()), (1, 0));
    assert_eq!(leaf.nodes[0].label, None);
}

type MatrixOp = for<'g> fn(Matrix<'g>, Matrix<'g>, Matrix<'g>) -> Matrix<'g>;

/// Every operation on matrices that computes new numbers. `a` is `[2, 3]`, `b` is `[2, 3]`, and `c` is `[3, 2]`.
const MATRIX_OPS: [(&str, MatrixOp); 14] = [
    ("apply", |a, _, _| a.apply(UnaryOp::Exp)),
    ("product of equal shapes", |a, b, _| a * b),
    ("product with one row", |a, b, _| a.slice_rows(1..2) * b),
    ("product with one column", |a, b, _| a * b.slice_cols(2..3)),
    ("product of a row and a column", |a, _, c| c.slice_cols(1..2) * a.slice_rows(0..1)),
    ("row_sum", |a, _, _| a.slice_cols(1..3).row_sum()),
    ("row_dot", |a, b, _| a.row_dot(b)),
    ("matmul_t", |a, b, _| a.slice_cols(0..2).matmul_t(b.slice_cols(1..3))),
    ("matmul", |a, _, c| a.matmul(c)),
    ("matmul with a slice", |a, _, c| a.slice_cols(1..3).matmul(c.slice_rows(1..3))),
    ("gather_rows", |_, _, c| c.gather_rows(&[2, 0, 2])),
    ("pick", |a, _, _| a.pick(&[2, 0])),
    ("concat_cols", |a, b, _| Matrix::concat_cols(&[a.slice_cols(1..2), b])),
    ("concat_rows", |a, b, _| Matrix::concat_rows(&[a, b.slice_rows(1..2)])),
];

#[test]
fn gradients_flow_to_the_operands_of_a_matrix_element_and_no_others() {
    let mut arena = Arena::new();
    for (name, operation) in MATRIX_OPS {
        let graph = arena.graph();
        let numbers = |from: u32| -> Vec<f64> { (from..from + 6).map(|n| 0.1 * f64::from(n)).collect() };
        let inputs =
            [(2, 3, 1), (2, 3, 7), (3, 2, 13)].map(|(rows, cols, n)| graph.matrix(rows, cols, &numbers(n)));
        let y = operation(inputs[0], inputs[1], inputs[2]);
        for (row, col) in (0..y.shape().0).flat_map(|row| (0..y.shape().1).map(move |col| (row, col))) {
            let y = y.at(row, col);
            y.backward();
            let mut with_gradient: Vec<f64> = Vec::new();
            for x in inputs {
                let (rows, cols) = x.shape();
                let all = (0..rows).flat_map(|row| (0..cols).map(move |col| x.at(row, col)));
                with_gradient.extend(all.filter(|x| x.grad() != 0.0).map(|x| x.data()));
            }
            // All numbers are different, so each identifies its place.
            let mut operands: Vec<f64> =
                y.diagram().nodes.iter().filter(|x| x.op.is_none()).map(|x| x.data).collect();
            operands.sort_by(f64::total_cmp);
            assert_eq!(with_gradient, operands, "{name}: row {row}, column {col}");
            assert!(!operands.is_empty(), "{name}");
        }
    }
}

#[test]
fn no_gradient_flows_where_the_result_does_not_depend() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let a = graph.matrix(1, 2, &[0.0, 4.0]);
    let roots = a.apply(UnaryOp::Power(0.5)); // its slope at 0 is infinite
    roots.at(0, 1).backward();
    assert_eq!([a.at(0, 0).grad(), a.at(0, 1).grad()], [0.0, 0.25]);
    let over = graph.matrix(1, 2, &[1.0, 1.0]) / a;
    over.at(0, 1).backward();
    assert_eq!([a.at(0, 0).grad(), a.at(0, 1).grad()], [0.0, -1.0 / 16.0]);
    for cols in [1, 5, 23] {
        let (x, mut w) = (vec![1.0; cols], vec![f64::INFINITY; 2 * cols]);
        w[cols..].fill(3.0);
        let x = graph.matrix(1, cols, &x);
        let w = graph.matrix(2, cols, &w);
        x.matmul_t(w).at(0, 1).backward();
        assert!((0..cols).all(|col| x.at(0, col).grad() == 3.0 && w.at(0, col).grad() == 0.0));
    }
    let (one, infinity) = (graph.value(1.0), graph.value(f64::NEG_INFINITY));
    Value::dot(&[one], &[infinity]).relu().backward(); // relu of a negative number: its gradient is 0
    assert_eq!([one.grad(), infinity.grad()], [0.0, 0.0]);
}

#[test]
fn a_power_of_zero_is_a_constant() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = graph.value(0.0);
    let y = x.pow(0.0);
    y.backward();
    assert_eq!((y.data(), x.grad()), (1.0, 0.0));
}

/// An operation on values of two graphs has no graph to belong to.
#[test]
fn values_of_two_graphs_do_not_mix() {
    let [mut one, mut other] = [Arena::new(), Arena::new()];
    let (graph, foreign) = (one.graph(), other.graph());
    let (x, y) = (graph.value(2.0), foreign.value(3.0));
    let (a, b) = (graph.matrix(1, 1, &[2.0]), foreign.matrix(1, 1, &[3.0]));
    let mixed: [&dyn Fn(); 9] = [
        &|| _ = x * y,
        &|| _ = Value::sum(&[x, y]),
        &|| _ = Value::dot(&[x], &[y]),
        &|| _ = a + b,
        &|| _ = a.matmul(b),
        &|| _ = a.matmul_t(b),
        &|| _ = a.row_dot(b),
        &|| _ = Matrix::concat_cols(&[a, b]),
        &|| _ = Matrix::concat_rows(&[a, b]),
    ];
    for (at, mix) in mixed.iter().enumerate() {
        let panic = catch_unwind(AssertUnwindSafe(mix)).expect_err(&format!("mix {at}"));
        assert_eq!(
            panic.downcast_ref(),
            Some(&"operands from two graphs: make both from the same `Graph`"),
            "mix {at}"
        );
    }
}
