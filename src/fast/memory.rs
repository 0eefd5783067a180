//! What stays on the tape when it is rewound: rows that are read where they lie.

use super::ops::Op;
use super::tape::{Matrix, Recording};
use crate::tensor::{Memory, MemoryId};

impl<'t> Memory<Matrix<'t>> for &'t Recording<'t> {
    fn keep(&mut self, id: MemoryId, capacity: usize, places: &[usize], x: Matrix<'t>) -> Matrix<'t> {
        assert_eq!(x.rows, places.len(), "keep: {} rows in {} places", x.rows, places.len());
        let mut kept = self.tape.kept.take(); // out of what `read` shows
        self.tape.read(self.weights, |view| kept.write(id, capacity, x.cols, places, view.data(x.id)));
        self.tape.kept.replace(kept);
        self.kept(id, x)
    }

    fn kept(&mut self, id: MemoryId, _: Matrix<'t>) -> Matrix<'t> {
        let (rows, cols) = {
            let kept = self.tape.kept.borrow();
            let (numbers, cols) = kept.read(id);
            (numbers.len() / cols, cols)
        };
        self.append(Op::Kept(id), rows, cols, 0, |_, _, _| ())
    }
}
