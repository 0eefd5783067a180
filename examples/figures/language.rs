//! Language models: two layouts of RoPE, and what a token reads.

use anyhow::Result;
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::params::ParamKind;
use support::svg::Svg;
use support::{Chart, Curve};

/// A head of eight columns in two orders, with the same color for columns that are rotated together.
pub fn layouts() -> String {
    const WIDTH: usize = 8;
    const CELL: f64 = 60.0;
    let mut svg = Svg::new(
        720.0,
        196.0,
        "Two layouts of RoPE",
        "Two rows of eight columns. In a folder of Hugging Face's, columns 0 and 4, 1 and 5, 2 and 6, and 3 and 7 are \
         rotated together. In a GGUF of a Llama the order is 0, 4, 1, 5, 2, 6, 3, 7, so that each pair are neighbours.",
    );
    let halves: Vec<usize> = (0..WIDTH).collect();
    let neighbours: Vec<usize> = (0..WIDTH / 2).flat_map(|i| [i, i + WIDTH / 2]).collect();
    for (y, name, what, columns) in
        [(24.0, "halves", "in a folder", halves), (114.0, "neighbours", "in a GGUF", neighbours)]
    {
        svg.text((20.0, y + 22.0), "head", name);
        svg.text((20.0, y + 40.0), "faint small", what);
        for (at, column) in columns.into_iter().enumerate() {
            let pair = column % (WIDTH / 2);
            let x = 190.0 + CELL * at as f64;
            svg.rect(&format!("c{pair}"), (x + 2.0, y), (CELL - 4.0, 54.0), 4.0);
            svg.text((x + CELL / 2.0, y + 32.0), "head light middle", &column.to_string());
        }
    }
    svg.finish()
}

/// The megabytes that a token of the Llama reads, by the tokens before it.
pub fn reads() -> Result<String> {
    let model = Decoder::new(DecoderConfig::llama(32_000))?;
    let config = model.config();
    let kept = 2 * config.n_layer * config.n_kv_head * config.head_dim() * size_of::<f32>();
    // Bytes of 32 numbers.
    let curve = |name: &'static str, block: usize| {
        let bytes = model.layout().specs().iter().map(|spec| match spec.kind {
            ParamKind::Matrix | ParamKind::Embedding => spec.range().len() / 32 * block,
            _ => spec.range().len() * size_of::<f32>(),
        });
        let weights: usize = bytes.sum();
        let point = |tokens: usize| (tokens as f64, (weights + kept * tokens) as f64 / 1e6);
        Curve { name: name.into(), points: [0, 1024, 2048, 3072, 4096].map(point).to_vec() }
    };
    let chart = Chart {
        title: "What a token reads from memory, with weights in f32, bf16 and int8",
        x: "tokens before it",
        y: "megabytes",
        curves: &[curve("f32", 128), curve("bf16", 64), curve("int8", 34)],
        levels: &[],
    };
    Ok(chart.draw())
}
