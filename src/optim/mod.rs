//! How weights learn from their gradients.

mod adam;
mod schedule;

pub use adam::{Adam, AdamSettings};
pub use schedule::Schedule;
