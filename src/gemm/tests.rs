//! Every kernel against the three nested loops, on small whole numbers: their sums are exact in f32, so
//! that nothing has to be forgiven.

use super::vector::Kernel;
use super::{MatMut, MatRef, blocked, gemm, large, supported};

/// A generator of whole numbers, good enough for sizes and entries.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    fn matrix(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.below(17) as f32 - 8.0).collect()
    }

    /// Numbers whose sums are rounded.
    fn fractions(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

/// One product: its sizes, how the operands are stored, and how many numbers lie between the rows.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a_transposed: bool,
    b_transposed: bool,
    gap: usize,
    alpha: f32,
    beta: f32,
}

/// A stored matrix, seen as `rows x cols`.
fn view(data: &[f32], rows: usize, cols: usize, transposed: bool, gap: usize) -> MatRef<'_> {
    if transposed {
        MatRef::strided(data, cols, rows, rows + gap).t()
    } else {
        MatRef::strided(data, rows, cols, cols + gap)
    }
}

/// As many numbers as `rows` rows take, so that a read behind the last one would be out of bounds.
fn size(rows: usize, cols: usize, gap: usize) -> usize {
    if rows == 0 { 0 } else { rows * (cols + gap) - gap }
}

fn stored(rows: usize, cols: usize, transposed: bool, gap: usize) -> usize {
    if transposed { size(cols, rows, gap) } else { size(rows, cols, gap) }
}

fn at(x: MatRef, i: usize, j: usize) -> f32 {
    x.data[i * x.row_stride + j * x.col_stride]
}

fn check(case: Case, numbers: &mut Numbers, what: &str, product: impl Fn(f32, MatRef, MatRef, f32, MatMut)) {
    let Case { m, n, k, gap, alpha, beta, .. } = case;
    let a_data = numbers.matrix(stored(m, k, case.a_transposed, gap));
    let b_data = numbers.matrix(stored(k, n, case.b_transposed, gap));
    let (a, b) = (view(&a_data, m, k, case.a_transposed, gap), view(&b_data, k, n, case.b_transposed, gap));
    let mut c = numbers.matrix(size(m, n, gap));
    if beta == 0.0 {
        c.fill(f32::NAN);
    }
    let mut want = c.clone();
    for i in 0..m {
        for j in 0..n {
            let old = if beta == 0.0 { 0.0 } else { beta * want[i * (n + gap) + j] };
            let sum: f32 = (0..k).map(|p| at(a, i, p) * at(b, p, j)).sum();
            want[i * (n + gap) + j] = alpha * sum + old;
        }
    }
    product(alpha, a, b, beta, MatMut::strided(&mut c, m, n, n + gap));
    for (i, (got, want)) in c.iter().zip(&want).enumerate() {
        // What lies between the rows may be NaN, and must still be.
        let same = got == want || got.is_nan() && want.is_nan();
        assert!(
            same,
            "{what} {case:?}: {got} in place of {want} in row {}, column {}",
            i / (n + gap),
            i % (n + gap)
        );
    }
}

fn check_all(case: Case, numbers: &mut Numbers) {
    check(case, numbers, "gemm", gemm);
    if case.m == 0 || case.n == 0 {
        return;
    }
    for kernel in supported() {
        for pack in [false, true] {
            if pack || !case.b_transposed {
                let what = format!("{}{}", kernel.name, if pack { ", packed," } else { "" });
                check(case, numbers, &what, |alpha, a, b, beta, c| run(kernel, pack, alpha, a, b, beta, c));
            }
        }
    }
}

fn run(kernel: &Kernel, pack: bool, alpha: f32, a: MatRef, b: MatRef, beta: f32, mut c: MatMut) {
    assert!(pack || b.col_stride == 1);
    // SAFETY: the kernel comes from `supported`, and the callers' shapes match.
    unsafe { blocked::multiply(kernel, pack, alpha, &a, &b, beta, &mut c) }
}

#[test]
fn random_shapes_are_right() {
    let mut numbers = Numbers(1);
    for _ in 0..1500 {
        let mut size = || match numbers.below(4) {
            0 => numbers.below(4),
            1 => numbers.below(20),
            _ => numbers.below(70),
        };
        let (m, n, k) = (size(), size(), size());
        let case = Case {
            m,
            n,
            k,
            a_transposed: numbers.below(2) == 1,
            b_transposed: numbers.below(2) == 1,
            gap: numbers.below(3) * numbers.below(5),
            alpha: [1.0, 1.0, -2.0, 0.5, 0.0][numbers.below(5)],
            beta: [0.0, 0.0, 1.0, -1.0, 0.5][numbers.below(5)],
        };
        check_all(case, &mut numbers);
    }
}

#[test]
fn every_height_and_width_of_a_tile_is_right() {
    let mut numbers = Numbers(2);
    for m in 0..32 {
        for n in [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 127, 128, 129] {
            let case = Case {
                m,
                n,
                k: 3,
                a_transposed: m % 2 == 1,
                b_transposed: false,
                gap: 0,
                alpha: 1.0,
                beta: 1.0,
            };
            check_all(case, &mut numbers);
        }
    }
}

#[test]
fn more_than_a_block_is_right() {
    let mut numbers = Numbers(3);
    for (m, n, k) in
        [(3, 5, 257), (15, 33, 600), (1, 40, 1000), (40, 1100, 300), (5, 2100, 256), (260, 20, 30)]
    {
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
            let case = Case { m, n, k, a_transposed, b_transposed, gap: 1, alpha: 1.0, beta: -1.0 };
            check_all(case, &mut numbers);
        }
    }
}

/// Large products have another order, and the same bits: of all shapes, in blocks, in groups, with rests.
#[test]
fn large_products_have_the_same_bits() {
    let mut numbers = Numbers(7);
    let shapes = [
        (128, 1024, 128),
        (135, 513, 300),
        (521, 510, 257),
        (130, 1030, 513),
        (127, 512, 256),
        (128, 511, 256),
    ];
    for (m, n, k) in shapes {
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
            let (gap, alpha, beta) = (3, 0.75, -0.5);
            let a_data = numbers.fractions(stored(m, k, a_transposed, gap));
            let b_data = numbers.fractions(stored(k, n, b_transposed, gap));
            let (a, b) = (view(&a_data, m, k, a_transposed, gap), view(&b_data, k, n, b_transposed, gap));
            let old = numbers.fractions(size(m, n, gap));
            for kernel in supported() {
                let fitting = large::fitting(kernel, &a, &b);
                let is_large = m >= 128 && n * k.div_ceil(k.div_ceil(256)) >= 128 * 1024;
                assert_eq!(fitting.is_some(), kernel.large.is_some() && is_large, "{m}x{n}x{k}");
                let (mut want, mut c) = (old.clone(), old.clone());
                run(kernel, true, alpha, a, b, beta, MatMut::strided(&mut want, m, n, n + gap));
                let Some(tiles) = fitting else { continue };
                let mut to = MatMut::strided(&mut c, m, n, n + gap);
                // SAFETY: as in `run`, and it is fitting.
                unsafe { large::multiply((kernel, tiles), alpha, &a, &b, beta, &mut to) }
                let case = (m, n, k, a_transposed, b_transposed);
                assert!(c == want, "{} {case:?}", kernel.name);
            }
        }
    }
}

/// A batch may be cut in shards: no bit of a row depends on the rows beside it.
#[test]
fn rows_do_not_depend_on_each_other() {
    let mut numbers = Numbers(4);
    for (m, n, k) in [(2, 16, 16), (7, 27, 16), (29, 70, 300), (115, 64, 64), (290, 33, 40), (61, 140, 300)] {
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false)] {
            let a_data = numbers.fractions(m * k);
            let b_data = numbers.fractions(k * n);
            let (a, b) = (view(&a_data, m, k, a_transposed, 0), view(&b_data, k, n, b_transposed, 0));
            let old = numbers.fractions(m * n);
            for kernel in supported() {
                let mut whole = old.clone();
                run(kernel, true, 1.0, a, b, 1.0, MatMut::new(&mut whole, m, n));
                // A single row of a product with a transposed matrix is the exception.
                for rows in (if b_transposed { 2 } else { 1 })..m.min(32) {
                    for pack in [b_transposed, true] {
                        let first = numbers.below(m - rows + 1);
                        let part = MatRef { data: &a.data[first * a.row_stride..], rows, ..a };
                        let mut c = old[first * n..(first + rows) * n].to_vec();
                        run(kernel, pack, 1.0, part, b, 1.0, MatMut::new(&mut c, rows, n));
                        let same = c == whole[first * n..(first + rows) * n];
                        assert!(same, "{} {m}x{n}x{k}: rows {first}..{}", kernel.name, first + rows);
                    }
                }
            }
        }
    }
}

/// Rounding errors stay what they must be: far below the size of the terms.
#[test]
fn rounding_is_small() {
    let mut numbers = Numbers(5);
    let k = 2000;
    for m in [1, 5] {
        let (a_data, b_data) = (numbers.fractions(m * k), numbers.fractions(k * 9));
        let (a, b) = (MatRef::new(&a_data, m, k), MatRef::new(&b_data, 9, k).t());
        for kernel in supported() {
            let mut c = vec![f32::NAN; m * 9];
            run(kernel, true, 1.0, a, b, 0.0, MatMut::new(&mut c, m, 9));
            for i in 0..m {
                for j in 0..9 {
                    let want: f64 = (0..k).map(|p| f64::from(at(a, i, p)) * f64::from(at(b, p, j))).sum();
                    assert!(
                        (f64::from(c[i * 9 + j]) - want).abs() < 1e-4,
                        "{}: {} for {want}",
                        kernel.name,
                        c[i * 9 + j]
                    );
                }
            }
        }
    }
}

#[test]
fn threads_do_not_share_scratch() {
    let mut numbers = Numbers(6);
    let (m, n, k) = (40, 50, 60);
    let (a, b) = (numbers.fractions(m * k), numbers.fractions(n * k));
    let product = || {
        let mut c = vec![0.0; m * n];
        gemm(1.0, MatRef::new(&a, m, k), MatRef::new(&b, n, k).t(), 0.0, MatMut::new(&mut c, m, n));
        c
    };
    let want = product();
    std::thread::scope(|scope| {
        for thread in [0; 4].map(|_| scope.spawn(|| (0..50).map(|_| product()).collect::<Vec<_>>())) {
            assert!(thread.join().unwrap().iter().all(|c| *c == want));
        }
    });
}

#[test]
#[should_panic(expected = "2x3 times 2x3 does not make 2x2")]
fn shapes_must_match() {
    gemm(
        1.0,
        MatRef::new(&[0.0; 6], 2, 3),
        MatRef::new(&[0.0; 6], 2, 3),
        0.0,
        MatMut::new(&mut [0.0; 4], 2, 2),
    );
}

#[test]
#[should_panic(expected = "does not fit in 11 numbers")]
fn a_matrix_must_fit() {
    MatRef::strided(&[0.0; 11], 3, 4, 4);
}

#[test]
#[should_panic(expected = "does not fit")]
fn a_size_must_not_overflow() {
    MatRef::strided(&[0.0; 11], usize::MAX / 2, 4, 8);
}

#[test]
#[should_panic(expected = "overlap")]
fn rows_must_not_overlap() {
    MatMut::strided(&mut [0.0; 16], 3, 4, 3);
}
