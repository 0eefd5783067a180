//! Products with stored weights allocate no memory once a first one was computed, in any precision.

use gradus::crew::Crew;
use gradus::gemm::{Dtype, StoredMatrix, products};

#[path = "common/allocator.rs"]
mod allocator;

use allocator::count_allocations;

#[test]
fn warm_products_allocate_nothing() {
    let (cols, numbers) = (100, vec![0.5; 300 * 100]);
    let x = vec![1.0; 80 * cols];
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        let matrix = |rows: usize| StoredMatrix::new(dtype, &numbers[..rows * cols], rows, cols);
        let (q, k, v) = (matrix(300), matrix(40), matrix(41));
        // A word of one sequence on two threads, and a prompt on one: which of two would first widen a panel is chance.
        for (threads, n) in [(2, 1), (1, 80)] {
            let crew = Crew::new(threads);
            let mut outs = [300, 40, 41].map(|rows| vec![0.0; n * rows]);
            let mut multiply = || {
                let [a, b, c] = &mut outs;
                products(&crew, &x[..n * cols], n, &[&q, &k, &v], &mut [a, b, c]);
            };
            multiply();
            let ((), count, _) = count_allocations(|| (0..200).for_each(|_| multiply()));
            assert_eq!(count, 0, "{dtype}, {n} rows on {threads} threads");
            assert!(outs.iter().flatten().all(|out| (out - 50.0).abs() < 0.2), "{dtype}");
        }
    }
}
