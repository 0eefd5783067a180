//! Layouts for the golden values of optimizers, whose parameters are named after their kind.

use gradus::params::{Init, Layout, ParamSpec};

/// A parameter called `embedding`, `gain`, `bias` or `scale` is of that kind; any other is a matrix.
pub fn spec(name: &str, rows: usize, cols: usize) -> ParamSpec {
    match name {
        "embedding" => ParamSpec::embedding(name, rows, cols, Init::Constant(0.0)),
        "gain" => ParamSpec::gain(name, cols),
        "bias" => ParamSpec::bias(name, cols),
        "scale" => ParamSpec::scale(name, cols, 0.0),
        _ => ParamSpec::matrix(name, rows, cols, Init::Constant(0.0)),
    }
}

/// Parameters one after another.
pub fn layout(specs: impl IntoIterator<Item = ParamSpec>) -> Layout {
    let mut layout = Layout::default();
    specs.into_iter().for_each(|spec| _ = layout.add(spec));
    layout
}
