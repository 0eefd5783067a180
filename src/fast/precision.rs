//! Numbers in 16 bits: how results are stored in mixed precision (Micikevicius et al. 2017, "Mixed Precision Training").
//!
//! ```text
//!          sign  exponent  fraction   greatest number   smallest normal   next to 1
//! float32     1         8        23           3.4e38           1.2e-38     1 + 1.2e-7
//! bfloat16    1         8         7           3.4e38           1.2e-38     1 + 0.0078
//! float16     1         5        10            65504            6.1e-5     1 + 0.00098
//! ```
//!
//! Bfloat16 is the upper half of a float32: its numbers are as large and as small, but coarse. Float16 is finer and has little
//! reach: a gradient below 3e-8 is rounded to zero, which is what a [loss scaler](crate::train::LossScaler) is for.

use std::cell::{Cell, OnceCell};

use super::tape::Id;
use crate::real::half::{from_bf16, from_f16, to_bf16, to_f16};

/// How many bits the results of a training step are stored in. All sums and products are computed in 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Everything in 32 bits.
    #[default]
    F32,
    /// Results in bfloat16.
    Bf16,
    /// Results in float16. Small gradients need a [`LossScaler`](crate::train::LossScaler).
    F16,
}

impl Precision {
    /// The format of the results that are not stored in 32 bits.
    pub(super) fn half(self) -> Option<Half> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 => Some(Half::Bf16),
            Precision::F16 => Some(Half::F16),
        }
    }
}

/// A format of 16 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Half {
    Bf16,
    F16,
}

impl Half {
    /// Rounds numbers into a buffer, over what is there.
    pub fn narrow(self, from: &[f32], to: &mut Vec<u16>) {
        to.clear();
        match self {
            Half::Bf16 => to.extend(from.iter().map(|x| to_bf16(*x))),
            Half::F16 => to.extend(from.iter().map(|x| to_f16(*x))),
        }
    }

    /// The same numbers in 32 bits, over what is in the buffer.
    pub fn widen(self, from: &[u16], to: &mut Vec<f32>) {
        to.clear();
        match self {
            Half::Bf16 => to.extend(from.iter().map(|x| from_bf16(*x))),
            Half::F16 => to.extend(from.iter().map(|x| from_f16(*x))),
        }
    }

    /// Rounds numbers to those that 16 bits can hold.
    pub fn round(self, numbers: &mut [f32]) {
        match self {
            Half::Bf16 => numbers.iter_mut().for_each(|x| *x = from_bf16(to_bf16(*x))),
            Half::F16 => numbers.iter_mut().for_each(|x| *x = from_f16(to_f16(*x))),
        }
    }
}

/// Results of 16 bits in 32, for as long as one operation takes, which reads each of its operands from here: a list that grows
/// by one buffer for each operand. The buffers stay.
#[derive(Default)]
pub(super) struct Widened {
    result: OnceCell<(Id, Vec<f32>)>,
    spare: Cell<Vec<f32>>,
    next: OnceCell<Box<Widened>>,
}

impl Widened {
    /// The numbers of a result, however often the operation asks for them.
    pub fn numbers(&self, id: Id, half: Half, numbers: &[u16]) -> &[f32] {
        let mut at = self;
        loop {
            let (found, wide) = at.result.get_or_init(|| {
                let mut wide = at.spare.take();
                half.widen(numbers, &mut wide);
                (id, wide)
            });
            if *found == id {
                return wide;
            }
            at = at.next.get_or_init(Box::default);
        }
    }

    /// Another operation begins.
    pub fn clear(&mut self) {
        let mut next = Some(self);
        while let Some(at) = next {
            let Some((_, wide)) = at.result.take() else { break };
            at.spare.set(wide);
            next = at.next.get_mut().map(Box::as_mut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_rounded_as_single_numbers_are() {
        let numbers: Vec<f32> = (0..100).map(|at| (at as f32 - 50.0) * 1.000_123_f32.powi(at * at)).collect();
        for half in [Half::Bf16, Half::F16] {
            let (mut narrow, mut wide, mut rounded) = (vec![1, 2, 3], vec![4.0], numbers.clone());
            half.narrow(&numbers, &mut narrow);
            half.widen(&narrow, &mut wide);
            half.round(&mut rounded);
            assert_eq!(wide, rounded);
            assert!(
                wide != numbers && wide.iter().zip(&numbers).all(|(a, b)| (a - b).abs() <= b.abs() / 256.0)
            );
        }
    }

    #[test]
    fn an_operation_finds_each_operand_once() {
        let mut widened = Widened::default();
        for offset in [0, 7] {
            widened.clear();
            let numbers = |id: Id| [to_bf16((id + offset) as f32), to_bf16(0.5)];
            for id in [3, 1, 3, 2, 1] {
                assert_eq!(widened.numbers(id, Half::Bf16, &numbers(id)), [(id + offset) as f32, 0.5]);
            }
            let (first, again) = (widened.numbers(3, Half::Bf16, &[]), widened.numbers(3, Half::Bf16, &[]));
            assert!(std::ptr::eq(first, again));
        }
    }
}
