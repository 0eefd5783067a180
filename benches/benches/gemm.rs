//! Matrix products at the shapes of a training step: of the dialog model, of half its batch, and of names.
//!
//! ```text
//! cargo bench --bench gemm
//! cargo bench --features peers --bench gemm -- "fwd 2048"
//! ```
//!
//! Throughput counts floating-point operations, so `Gelem/s` is GFLOP/s. One thread.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gradus::gemm::{MatMut, MatRef, backend, gemm};
use gradus::random::Random;

#[cfg(feature = "peers")]
mod peers;

/// A product `[m, k] · [k, n]`, of which one operand may be stored transposed.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    m: usize,
    n: usize,
    k: usize,
    /// `a` is stored as `[k, m]`.
    a_t: bool,
    /// `b` is stored as `[n, k]`.
    b_t: bool,
}

const fn shape(name: &'static str, [m, k, n]: [usize; 3], a_t: bool, b_t: bool) -> Shape {
    Shape { name, m, n, k, a_t, b_t }
}

/// Named by what they are for, then rows x depth x columns. A layer's weight matrix is stored as `[out, in]`.
const SHAPES: &[Shape] = &[
    shape("fwd 2048x128x128", [2048, 128, 128], false, true),
    shape("fwd 2048x128x512", [2048, 128, 512], false, true),
    shape("fwd 2048x512x128", [2048, 512, 128], false, true),
    shape("dX 2048x512x128", [2048, 512, 128], false, false),
    shape("dW 512x2048x128", [512, 2048, 128], true, false),
    shape("fwd 1024x128x128", [1024, 128, 128], false, true),
    shape("fwd 1024x128x512", [1024, 128, 512], false, true),
    shape("fwd 1024x512x128", [1024, 512, 128], false, true),
    shape("dX 1024x512x128", [1024, 512, 128], false, false),
    shape("dW 512x1024x128", [512, 1024, 128], true, false),
    shape("attention 64x128x64", [64, 128, 64], false, true),
    shape("name fwd 7x16x16", [7, 16, 16], false, true),
    shape("name fwd 7x16x64", [7, 16, 64], false, true),
    shape("name fwd 7x64x16", [7, 64, 16], false, true),
    shape("name dW 64x7x16", [64, 7, 16], true, false),
    shape("16 names fwd 117x16x16", [117, 16, 16], false, true),
    shape("16 names fwd 117x16x64", [117, 16, 64], false, true),
    shape("16 names fwd 117x64x16", [117, 64, 16], false, true),
    shape("16 names dX 117x64x16", [117, 64, 16], false, false),
    shape("16 names dW 64x117x16", [64, 117, 16], true, false),
    shape("16 names fwd 117x128x512", [117, 128, 512], false, true),
];

/// Multiplies the first two matrices into the third.
type Multiply = fn(Shape, &[f32], &[f32], &mut [f32]);

fn by_gradus(shape: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    let Shape { m, n, k, .. } = shape;
    let a = if shape.a_t { MatRef::new(a, k, m).t() } else { MatRef::new(a, m, k) };
    let b = if shape.b_t { MatRef::new(b, n, k).t() } else { MatRef::new(b, k, n) };
    gemm(1.0, a, b, 0.0, MatMut::new(c, m, n));
}

/// The textbook product, in double precision.
fn reference(shape: Shape, a: &[f32], b: &[f32]) -> Vec<f64> {
    let Shape { m, n, k, a_t, b_t, .. } = shape;
    let a_at = |i: usize, p: usize| f64::from(if a_t { a[p * m + i] } else { a[i * k + p] });
    let b_at = |p: usize, j: usize| f64::from(if b_t { b[j * k + p] } else { b[p * n + j] });
    (0..m * n).map(|at| (0..k).map(|p| a_at(at / n, p) * b_at(p, at % n)).sum()).collect()
}

fn products(criterion: &mut Criterion) {
    #[cfg(feature = "peers")]
    let peers = peers::ALL;
    #[cfg(not(feature = "peers"))]
    let peers: &[(&str, Multiply)] = &[];
    let multipliers: Vec<(&str, Multiply)> =
        [(backend(), by_gradus as Multiply)].iter().chain(peers).copied().collect();
    let mut random = Random::new(42);
    for &shape in SHAPES {
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| random.uniform() as f32 - 0.5).collect() };
        let (a, b) = (draw(shape.m * shape.k), draw(shape.k * shape.n));
        let expected = reference(shape, &a, &b);
        let mut group = criterion.benchmark_group(shape.name);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Elements(2 * (shape.m * shape.n * shape.k) as u64));
        for (name, multiply) in &multipliers {
            let mut c = vec![f32::NAN; shape.m * shape.n];
            multiply(shape, &a, &b, &mut c);
            let close = |(x, y): (&f32, &f64)| (f64::from(*x) - y).abs() <= 1e-5 * shape.k as f64;
            assert!(c.iter().zip(&expected).all(close), "{name} is wrong at {}", shape.name);
            group.bench_function(*name, |bencher| {
                bencher.iter(|| multiply(shape, black_box(&a), black_box(&b), &mut c));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
