//! What every step up the ladder gains, and what the engines do in a second: the parts that the benches and examples of this
//! package share.

pub mod ladder;
pub mod lines;
pub mod measure;
pub mod svg;
pub mod work;
