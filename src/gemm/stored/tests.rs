//! Stored weights against what they stand for, and each way to multiply by them against the others.

use super::blocks::{BLOCK, PanelBlock, place, quantize, quantize_weights};
use super::kernels::{self, Kernels};
use super::keys::{mix_with, scores_with};
use super::{Dtype, StoredMatrix, int8, products};
use crate::crew::Crew;
use crate::gemm::{MatMut, MatRef};
use crate::real::half::{from_f16, to_f16};

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

/// A generator of numbers from -1 to 1, of very different sizes.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let number = (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0;
        number * [1.0, 0.5, 0.1, 0.01][(self.0 >> 20) as usize % 4]
    }

    fn matrix(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// Every pair of loops that this processor can run.
fn all_kernels() -> Vec<Kernels> {
    let of = |floats| kernels::int8().map(move |int8| Kernels { floats, int8 });
    kernels::floats().flat_map(of).collect()
}

fn name(kernels: Kernels) -> String {
    let plain = std::ptr::eq(kernels.int8, &int8::PORTABLE);
    format!("{}, 8 bits {}", kernels.floats.tiles.name, if plain { "portable" } else { "by its best loops" })
}

fn product(crew: &Crew, matrix: &StoredMatrix, x: &[f32], n: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; n * matrix.rows()];
    products(crew, x, n, &[matrix], &mut [&mut out]);
    out
}

/// All rows as they are stored.
fn read(matrix: &StoredMatrix) -> Vec<f32> {
    let mut numbers = vec![f32::NAN; matrix.rows() * matrix.cols()];
    for (row, to) in numbers.chunks_exact_mut(matrix.cols().max(1)).enumerate() {
        matrix.read_row(row, to);
    }
    numbers
}

/// One output by the definition: in 8 bits, the inputs are rounded too.
fn by_definition(dtype: Dtype, weights: &[f32], x: &[f32]) -> f64 {
    let rounded = |block: &[f32]| {
        let (mut padded, mut numbers) = ([0.0; BLOCK], [0_i8; BLOCK]);
        padded[..block.len()].copy_from_slice(block);
        let scale = quantize(&padded, &mut numbers);
        numbers.map(|q| scale * f32::from(q)).into_iter().take(block.len()).collect::<Vec<_>>()
    };
    let x = if dtype == Dtype::Int8 { x.chunks(BLOCK).flat_map(rounded).collect() } else { x.to_vec() };
    weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(x)).sum()
}

#[test]
fn every_shape_is_the_product_of_what_is_stored() {
    let (mut numbers, crew) = (Numbers(1), Crew::new(2));
    for kernels in all_kernels() {
        for size in 0..=70 {
            for (rows, cols) in [(size, 70 - size), (size, 33), (17, size), (70, size * 5)] {
                let (weights, x) = (numbers.matrix(rows * cols), numbers.matrix(13 * cols));
                for dtype in DTYPES {
                    let matrix = StoredMatrix::with_kernels(kernels, dtype, &weights, rows, cols);
                    let stored = read(&matrix);
                    for n in [1, 2, 4, 13] {
                        let got = product(&crew, &matrix, &x[..n * cols], n);
                        for (at, got) in got.iter().enumerate() {
                            let (row, output) = (at / rows, at % rows);
                            let (w, x) = (&stored[output * cols..][..cols], &x[row * cols..][..cols]);
                            let want = by_definition(dtype, w, x);
                            assert!(
                                (f64::from(*got) - want).abs() <= 1e-4,
                                "{}, {dtype} {rows}x{cols}, {n} rows: {got} for {want} at {row}, {output}",
                                name(kernels)
                            );
                        }
                    }
                }
            }
        }
    }
}

/// The reason for all of this: a batch may be cut anywhere, and a word does not depend on who else is written for.
#[test]
fn bits_do_not_depend_on_rows_threads_or_company() {
    let mut numbers = Numbers(2);
    for (rows, others, cols) in [(70, 3, 45), (33, 100, 600), (16, 1, 1056)] {
        let (weights, x) = (numbers.matrix(rows * cols), numbers.matrix(97 * cols));
        let company = numbers.matrix(others * cols);
        for (kernels, dtype) in all_kernels().into_iter().flat_map(|k| DTYPES.map(|dtype| (k, dtype))) {
            let matrix = StoredMatrix::with_kernels(kernels, dtype, &weights, rows, cols);
            let companions = DTYPES.map(|d| StoredMatrix::with_kernels(kernels, d, &company, others, cols));
            let one = Crew::new(1);
            let alone: Vec<Vec<f32>> = x.chunks(cols).map(|x| product(&one, &matrix, x, 1)).collect();
            for crew in [one, Crew::new(2), Crew::new(3)] {
                for n in (1..=40).chain([97]) {
                    let whole = product(&crew, &matrix, &x[..n * cols], n);
                    let what = format!("{}, {dtype}, {n} rows, {} threads", name(kernels), crew.count());
                    assert!(whole == alone[..n].concat(), "{what}");
                    if n % 5 == 1 {
                        let mut out = vec![f32::NAN; n * rows];
                        let mut rest = vec![vec![f32::NAN; n * others]; 3];
                        let [first, second, third] = &mut rest[..] else { unreachable!() };
                        let all = [&companions[0], &companions[1], &matrix, &companions[2]];
                        products(&crew, &x[..n * cols], n, &all, &mut [first, second, &mut out, third]);
                        assert!(out == whole, "{what}, in company");
                        for (companion, got) in companions.iter().zip(&rest) {
                            assert!(
                                *got == product(&crew, companion, &x[..n * cols], n),
                                "{what}: companion"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// The two products of attention, by the definition; and a row has the same bits alone, with others, and beside other heads.
#[test]
fn scores_and_mixtures_of_each_row_are_its_own() {
    let mut numbers = Numbers(9);
    for floats in kernels::floats() {
        for (d, keys, rows, heads) in
            [(64, 64, 2, 4), (8, 1, 1, 1), (5, 63, 7, 2), (37, 30, 32, 1), (1, 2, 3, 3), (64, 5, 33, 2)]
        {
            let stride = heads * d + 3;
            let (q, k) = (numbers.matrix(heads * rows * d), numbers.matrix(keys * stride));
            let (v, weights) = (numbers.matrix(keys * stride), numbers.matrix(heads * rows * keys));
            let run = |first: usize, n: usize, (head, heads): (usize, usize)| {
                let (mut scores, mut out) = (vec![f32::NAN; n * keys], vec![f32::NAN; n * d]);
                let [k, v] = [&k, &v].map(|of| MatRef::strided(&of[head * d..], keys, heads * d, stride));
                let q = MatRef::new(&q[first * d..][..n * d], n, d);
                scores_with(floats, 0.5, q, k, v, MatMut::new(&mut scores, n, keys));
                let weights = MatRef::new(&weights[first * keys..][..n * keys], n, keys);
                mix_with(floats, weights, v, MatMut::new(&mut out, n, d));
                (scores, out)
            };
            let (scores, out) = run(0, heads * rows, (0, heads));
            for row in 0..heads * rows {
                let head = row / rows;
                let alone = run(row, 1, (head, 1));
                assert!(alone.0 == scores[row * keys..][..keys], "{}, row {row}", floats.tiles.name);
                assert!(alone.1 == out[row * d..][..d], "{}, row {row}", floats.tiles.name);
                for (key, score) in alone.0.iter().enumerate() {
                    let at = |i: usize| f64::from(q[row * d + i]) * f64::from(k[key * stride + head * d + i]);
                    let want = 0.5 * (0..d).map(at).sum::<f64>();
                    assert!((f64::from(*score) - want).abs() < 1e-4, "{score} for {want}");
                }
                for (i, got) in alone.1.iter().enumerate() {
                    let at = |key: usize| {
                        f64::from(weights[row * keys + key]) * f64::from(v[key * stride + head * d + i])
                    };
                    let want: f64 = (0..keys).map(at).sum();
                    assert!((f64::from(*got) - want).abs() < 1e-4, "{got} for {want}");
                }
            }
            for head in 0..heads {
                let some = head * rows * keys..(head + 1) * rows * keys;
                assert!(run(head * rows, rows, (head, 1)).0 == scores[some], "{}", floats.tiles.name);
            }
        }
    }
}

#[test]
#[should_panic(expected = "scores: 2x3 and 4x7")]
fn heads_must_be_whole() {
    let x = [0.0; 28];
    let (q, k) = (MatRef::new(&x[..6], 2, 3), MatRef::new(&x, 4, 7));
    super::scores(1.0, q, k, k, MatMut::new(&mut [0.0; 8], 2, 4));
}

/// Whole numbers are added exactly, and the rest is one multiply-add after the other.
#[test]
fn in_8_bits_all_processors_agree() {
    let (mut numbers, crew) = (Numbers(3), Crew::new(1));
    let (rows, cols) = (40, 333);
    let (weights, x) = (numbers.matrix(rows * cols), numbers.matrix(9 * cols));
    let all = all_kernels();
    for n in [1, 3, 9] {
        let run = |kernels: &Kernels| {
            let matrix = StoredMatrix::with_kernels(*kernels, Dtype::Int8, &weights, rows, cols);
            product(&crew, &matrix, &x[..n * cols], n)
        };
        let first = run(&all[0]);
        assert!(all.iter().all(|kernels| run(kernels) == first), "{n} rows");
    }
}

/// 32 products of the largest numbers, which must not overflow 16 bits on the way.
#[test]
fn the_largest_numbers_do_not_overflow() {
    for (w, x) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
        for kernels in all_kernels() {
            let matrix = StoredMatrix::with_kernels(kernels, Dtype::Int8, &[127.0 * w; 128], 2, 64);
            for n in [1, 6] {
                let got = product(&Crew::new(1), &matrix, &[127.0 * x; 6 * 64][..n * 64], n);
                assert_eq!(got, vec![64.0 * 127.0 * 127.0 * w * x; 2 * n]);
            }
        }
    }
}

/// Bfloat16 rounds a weight by at most one part in 256. In 8 bits, a weight and an input are each off by half a step of
/// their block, and the scale of the weights by one part in 2048.
#[test]
fn each_dtype_is_as_near_as_its_precision() {
    let (mut numbers, crew) = (Numbers(4), Crew::new(2));
    let (rows, cols, n) = (60, 512, 5);
    let (weights, x) = (numbers.matrix(rows * cols), numbers.matrix(n * cols));
    let largest = |block: &[f32]| block.iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
    for dtype in DTYPES {
        let got = product(&crew, &StoredMatrix::new(dtype, &weights, rows, cols), &x, n);
        let mut apart = 0;
        for (at, got) in got.iter().enumerate() {
            let (x, w) = (&x[at / rows * cols..][..cols], &weights[at % rows * cols..][..cols]);
            let want: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            let terms: f64 = w.iter().zip(x).map(|(w, x)| f64::from((w * x).abs())).sum();
            let bound = match dtype {
                Dtype::F32 => 0.0,
                Dtype::Bf16 => terms / 256.0,
                Dtype::Int8 => {
                    let block = |(w, x): (&[f32], &[f32])| {
                        let (step_w, step_x) = (largest(w) / 127.0, largest(x) / 127.0);
                        let term = |(w, x): (&f32, &f32)| {
                            let (w, x) = (f64::from(w.abs()), f64::from(x.abs()));
                            let off_w = step_w / 2.0 + (w + step_w / 2.0) / 2048.0;
                            off_w * (x + step_x / 2.0) + w * step_x / 2.0
                        };
                        w.iter().zip(x).map(term).sum::<f64>()
                    };
                    w.chunks(BLOCK).zip(x.chunks(BLOCK)).map(block).sum()
                }
            };
            let off = (f64::from(*got) - want).abs();
            assert!(off <= bound + 1e-6 * terms, "{dtype}: {got} is {off} from {want}, allowed are {bound}");
            apart += usize::from(off > 1e-6 * terms);
        }
        assert!((apart > got.len() / 2) == (dtype != Dtype::F32), "{dtype}: {apart} results are rounded");
    }
}

/// So a file of `q8_0` can be read as numbers and stored again without a loss.
#[test]
fn what_is_stored_is_stored_as_itself() {
    let mut numbers = Numbers(5);
    for (exponent, dtype) in (-150..=128).flat_map(|exponent| DTYPES.map(|dtype| (exponent, dtype))) {
        let weights: Vec<f32> =
            numbers.matrix(3 * 70).iter().map(|x| (f64::from(*x) * 2.0_f64.powi(exponent)) as f32).collect();
        let matrix = StoredMatrix::new(dtype, &weights, 3, 70);
        let once = read(&matrix);
        let again = StoredMatrix::new(dtype, &once, 3, 70);
        let bytes = |matrix: &StoredMatrix| matrix.packed::<u16>().to_vec();
        assert!(bytes(&matrix) == bytes(&again), "{dtype}, numbers of 2^{exponent}");
        if dtype == Dtype::F32 {
            assert!(once == weights);
        }
    }
}

#[test]
fn a_block_in_8_bits() {
    let mut x = [0.0; BLOCK];
    x[..5].copy_from_slice(&[-254.0, 1.0, 3.0, 5.1, 253.0]);
    let mut numbers = [99; BLOCK];
    assert_eq!(quantize_weights(&x, &mut numbers), to_f16(2.0));
    // 0.5 and 1.5 go to the even number; 126.5 does.
    assert_eq!(numbers[..6], [-127, 0, 2, 3, 126, 0]);

    // Larger than a scale can be: the rest keeps its proportions.
    x[0] = -65504.0 * 254.0;
    x[1] = 65504.0 * 100.0;
    assert_eq!(from_f16(quantize_weights(&x, &mut numbers)), 65504.0);
    assert_eq!(numbers[..3], [-127, 50, 0]);

    // Smaller than a scale can be, and smaller than anything.
    for size in [3e-6, 1e-37, 1e-45, 0.0] {
        numbers = [99; BLOCK];
        assert_eq!(quantize_weights(&[size; BLOCK], &mut numbers), 0, "{size}");
        assert_eq!(numbers, [0; BLOCK], "{size}");
    }
    // Inputs have scales of 32 bits.
    let mut inputs = [0; BLOCK];
    for size in [f32::MAX, 1.0, 3e-6, 2e-36] {
        let scale = quantize(&[size; BLOCK], &mut inputs);
        assert_eq!((scale, inputs), (size / 127.0, [127; BLOCK]));
    }
    assert_eq!((quantize(&[1e-36; BLOCK], &mut inputs), inputs), (0.0, [0; BLOCK]));
}

#[test]
fn what_is_not_finite_comes_out() {
    let crew = Crew::new(1);
    for (bad, dtype) in
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().flat_map(|x| DTYPES.map(|d| (x, d)))
    {
        for kernels in all_kernels() {
            for n in [1, 7] {
                let (mut weights, mut x) = (vec![0.25; 20 * 50], vec![0.5; n * 50]);
                weights[3 * 50 + 40] = bad;
                let matrix = StoredMatrix::with_kernels(kernels, dtype, &weights, 20, 50);
                let got = product(&crew, &matrix, &x, n);
                for (at, got) in got.iter().enumerate() {
                    assert!(got.is_finite() == (at % 20 != 3), "{}, {dtype}, {bad}: {got}", name(kernels));
                }
                weights[3 * 50 + 40] = 0.25;
                x[(n - 1) * 50 + 7] = bad;
                let matrix = StoredMatrix::with_kernels(kernels, dtype, &weights, 20, 50);
                let got = product(&crew, &matrix, &x, n);
                for (at, got) in got.iter().enumerate() {
                    assert!(
                        got.is_finite() == (at / 20 != n - 1),
                        "{}, {dtype}, {bad}: {got}",
                        name(kernels)
                    );
                }
            }
        }
    }
}

#[test]
fn sizes_and_places() {
    let weights = vec![1.0; 32 * 64];
    let bytes = DTYPES.map(|dtype| StoredMatrix::new(dtype, &weights, 32, 64).bytes());
    assert_eq!(bytes, [32 * 64 * 4, 32 * 64 * 2, 32 * 64 / 32 * 34]);
    let mut taken = [false; size_of::<PanelBlock>() - 32];
    for (output, input) in (0..16).flat_map(|output| (0..BLOCK).map(move |input| (output, input))) {
        assert!(!std::mem::replace(&mut taken[place(output, input)], true));
    }
}

#[test]
fn nothing_times_something() {
    let crew = Crew::new(2);
    for dtype in DTYPES {
        let matrix = StoredMatrix::new(dtype, &[1.0; 12], 3, 4);
        assert!(product(&crew, &matrix, &[], 0).is_empty());
        // A matrix without numbers may have any size.
        for (rows, cols) in [(0, usize::MAX), (usize::MAX, 0), (0, 0)] {
            assert_eq!(StoredMatrix::new(dtype, &[], rows, cols).bytes(), 0);
        }
        assert_eq!(product(&crew, &StoredMatrix::new(dtype, &[], 3, 0), &[], 2), [0.0; 6]);
        assert!(product(&crew, &StoredMatrix::new(dtype, &[], 0, 4), &[1.0; 8], 2).is_empty());
        products(&crew, &[1.0; 8], 2, &[], &mut []);
    }
}

#[test]
fn names() {
    for dtype in DTYPES {
        assert_eq!(dtype.to_string().parse(), Ok(dtype));
    }
    let error = "fp8".parse::<Dtype>().unwrap_err();
    assert_eq!(error.to_string(), "weights cannot be stored as \"fp8\": take f32, bf16 or int8");
}

#[test]
#[should_panic(expected = "12 numbers are not 3x5")]
fn a_matrix_must_be_full() {
    StoredMatrix::new(Dtype::F32, &[0.0; 12], 3, 5);
}

#[test]
#[should_panic(expected = "0 numbers are not")]
fn a_size_must_not_overflow() {
    StoredMatrix::new(Dtype::Int8, &[], usize::MAX / 2 + 1, 2);
}

#[test]
#[should_panic(expected = "result 0 has 5 numbers, not 2x3")]
fn a_result_must_fit() {
    let matrix = StoredMatrix::new(Dtype::F32, &[0.0; 12], 3, 4);
    products(&Crew::new(1), &[0.0; 8], 2, &[&matrix], &mut [&mut [0.0; 5]]);
}

#[test]
#[should_panic(expected = "x has 8 numbers, not 3x4")]
fn inputs_must_fit() {
    let matrix = StoredMatrix::new(Dtype::F32, &[0.0; 12], 3, 4);
    products(&Crew::new(1), &[0.0; 8], 3, &[&matrix], &mut [&mut [0.0; 9]]);
}

#[test]
#[should_panic(expected = "there is no row 3 among 3")]
fn a_row_must_exist() {
    StoredMatrix::new(Dtype::Bf16, &[0.0; 12], 3, 4).read_row(3, &mut [0.0; 4]);
}
