//! Exercise 6.4: draw a token.
//!
//! Set `DONE` to `true`; `cargo test --test exercises exercise_6_4` then fails until your code is right.

/// Whether you have written it.
pub const DONE: bool = false;

/// The token that a dart hits, a random number from 0 to 1 (but not 1). The logits are divided by the
/// temperature; at temperature 0 it is the likeliest token, wherever the dart lands.
pub fn draw(logits: &[f64], temperature: f64, dart: f64) -> usize {
    let _ = (logits, temperature, dart); // your code
    0
}
