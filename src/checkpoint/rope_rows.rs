//! The two layouts of RoPE.
//!
//! RoPE rotates pairs of numbers of a head. Which two make a pair is a matter of taste, as long as queries and keys agree. Here
//! and in Hugging Face's folders number `i` goes with `i + half`, where `half` is half the width of the head; in llama2.c and in
//! GGUF's `llama` it goes with its neighbour: `2i` with `2i + 1`. From one layout to the other only the rows of the matrices (and
//! biases) of queries and keys change places, head by head:
//!
//! ```text
//! ours        x0 x1 x2 x3 | y0 y1 y2 y3        pairs (x0, y0), (x1, y1), ...
//! interleaved x0 y0 x1 y1   x2 y2 x3 y3
//! ```

/// In which order a file has the rows of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// As ours.
    Same,
    /// The two halves of each head, interleaved.
    Interleaved {
        /// How many rows a head has: an even number.
        head_dim: usize,
    },
}

impl RowOrder {
    /// Which row of ours is row `at` of the file.
    pub fn ours(self, at: usize) -> usize {
        match self {
            RowOrder::Same => at,
            RowOrder::Interleaved { head_dim } => {
                let (head, row) = (at / head_dim, at % head_dim);
                head * head_dim + row % 2 * (head_dim / 2) + row / 2
            }
        }
    }

    /// Brings rows of `cols` numbers, as a file has them, into our order.
    pub fn restore(self, numbers: &mut [f32], cols: usize) {
        if self == RowOrder::Same {
            return;
        }
        let there = numbers.to_vec();
        for (at, row) in there.chunks_exact(cols).enumerate() {
            numbers[self.ours(at) * cols..][..cols].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_interleaved_and_restored() {
        let order = RowOrder::Interleaved { head_dim: 6 };
        let file: Vec<usize> = (0..12).map(|at| order.ours(at)).collect();
        assert_eq!(file, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let mut numbers: Vec<f32> = file.iter().flat_map(|&row| [row as f32, 0.5 + row as f32]).collect();
        order.restore(&mut numbers, 2);
        assert_eq!(numbers, (0..24).map(|at| at as f32 / 2.0).collect::<Vec<_>>());
        let same = numbers.clone();
        RowOrder::Same.restore(&mut numbers, 2);
        assert_eq!((numbers, RowOrder::Same.ours(7)), (same, 7));
    }
}
