//! The rungs of the ladder, and what the benches and examples of this package share: training workloads, measuring, plots.

pub mod ladder;
pub mod lines;
pub mod measure;
pub mod svg;
pub mod training;
