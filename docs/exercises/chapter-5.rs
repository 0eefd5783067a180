//! Exercise 5.8: a step of Adam.
//!
//! Set `DONE` to `true`; `cargo test --test exercises exercise_5_8` then fails until your code is right.

/// Whether you have written it.
pub const DONE: bool = false;

/// Step `t` (from 1) with Adam's constants from the box of chapter 5. `m` and `v` are the two running means,
/// which are zero before the first step; a number of each belongs to each parameter.
pub fn adam(params: &mut [f64], grads: &[f64], m: &mut [f64], v: &mut [f64], t: i32, learning_rate: f64) {
    let _ = (m, v, t); // your code instead of these two lines
    params.iter_mut().zip(grads).for_each(|(w, g)| *w -= learning_rate * g);
}
