//! The scalar engine: every number is a node of a graph, in `f64`. Slow, transparent, exact: the specification
//! by which every other engine is judged.

mod backward;
mod diagram;
mod engine;
mod made;
mod matrix;
mod value;
mod view;

pub use diagram::{Diagram, DiagramNode};
pub use engine::Scalar;
pub use matrix::{Bound, Matrix};
pub use value::{Arena, Graph, Value};
