//! Translation: who sees whom, how positions are said, where norms stand, and a search with two beams.

use anyhow::Result;
use gradus::data::{self, Batch, Names};
use gradus::engine::Engine;
use gradus::model::{Decoder, DecoderConfig, EmbeddingScale, Mode, Model, NormKind, Placement, WeightInit};
use gradus::random::Random;
use gradus::scalar::{Arena, ScalarEngine};
use gradus::tensor::{Buckets, Mask, Tensor, alibi_slopes};
use support::plot::Area;
use support::svg::{Point, Svg};
use support::{Chart, Curve};

/// The three masks of an encoder-decoder.
pub fn masks() -> String {
    const CELL: f64 = 24.0;
    const TOP: f64 = 128.0;
    const SOURCE: [&str; 6] = ["I", "am", "not", "happy", ".", "EOS"];
    const TARGET: [&str; 7] = ["BOS", "Je", "ne", "suis", "pas", "heureux", "."];
    let mut svg = Svg::new(
        720.0,
        330.0,
        "Who sees whom in an encoder-decoder",
        "Three tables, with a row for each query and a column for each key. In the encoder, each of the six tokens of \
         I am not happy sees all six. In the decoder, each of the seven tokens of Je ne suis pas heureux sees itself and \
         those before it. Across, each of these seven sees all six of the source.",
    );
    type Table<'a> = (&'a str, &'a str, Mask, &'a [&'a str], &'a [&'a str]);
    let tables: [Table<'_>; 3] = [
        ("encoder", "each sees all", Mask::Full, &SOURCE, &SOURCE),
        ("decoder", "each sees those before it", Mask::Causal, &TARGET, &TARGET),
        ("across", "the target sees the source", Mask::Full, &TARGET, &SOURCE),
    ];
    for (left, (title, what, mask, queries, keys)) in [68.0, 300.0, 556.0].into_iter().zip(tables) {
        svg.text((left, 28.0), "head", title);
        svg.text((left, 46.0), "faint small", what);
        for (col, key) in keys.iter().enumerate() {
            svg.upward((left + CELL * (col as f64 + 0.65), TOP - 8.0), "code", key);
        }
        for (row, query) in queries.iter().enumerate() {
            let y = TOP + CELL * row as f64;
            svg.text((left - 8.0, y + 16.0), "code end", query);
            let seen = mask.seen(row, queries.len(), keys.len());
            for col in 0..keys.len() {
                let class = if seen.contains(&col) { "c0" } else { "plain" };
                let place = (left + CELL * col as f64 + 1.0, y + 1.0);
                svg.rect(class, place, (CELL - 2.0, CELL - 2.0), 3.0);
            }
        }
    }
    svg.finish()
}

/// Encodings that are added to tokens, and numbers that are added to scores.
pub fn positions() -> String {
    const CELL: f64 = 11.0;
    const TOP: f64 = 78.0;
    const COUNT: usize = 16;
    let mut arena = Arena::new();
    let all: Vec<usize> = (0..COUNT).collect();
    let encodings = arena.graph().matrix(1, COUNT, &[0.0; COUNT]).sinusoids(&all, COUNT);
    let buckets = |name: &'static str, bidirectional: bool| {
        let buckets = Buckets { count: 32, max_distance: 128, bidirectional };
        let distances = 0..=140_u8;
        let points = distances.map(|distance| (f64::from(distance), buckets.bucket(distance.into()) as f64));
        Curve { name: name.into(), points: points.collect() }
    };
    let slopes = alibi_slopes(4);
    let mut svg = Svg::new(
        720.0,
        350.0,
        "Positions as sines, as a bias of scores, and in buckets",
        "Left: sines and cosines of 16 positions in 16 columns. The first columns change from position to position, the \
         last ones of each half hardly at all. Middle: what ALiBi adds to a score falls in a straight line with the \
         distance, for four heads with the slopes 1/4, 1/16, 1/64 and 1/256. Right: the bucket of a distance in T5. It \
         rises by one with each distance at first, then ever more slowly, and from 128 on not at all; in an encoder each \
         direction has half as many buckets.",
    );
    svg.text((52.0, 28.0), "head", "sinusoidal");
    svg.text((52.0, 46.0), "faint small", "added to the embeddings");
    svg.text((52.0, TOP - 8.0), "faint small", "columns");
    svg.text((52.0, TOP + CELL * COUNT as f64 + 20.0), "faint small", "blue: up to 1, orange: down to -1");
    for row in 0..COUNT {
        let y = TOP + CELL * row as f64;
        if row % 5 == 0 {
            svg.text((46.0, y + 9.0), "faint small end", &row.to_string());
        }
        for col in 0..COUNT {
            let place = (52.0 + CELL * col as f64, y);
            svg.cell(place, (CELL - 1.0, CELL - 1.0), encodings.at(row, col).data());
        }
    }
    let bias = |slope: f64| Curve {
        name: format!("slope 1/{}", slope.recip()).into(),
        points: (0..=20).map(|distance| (f64::from(distance), -slope * f64::from(distance))).collect(),
    };
    let curves: Vec<Curve> = slopes.iter().map(|&slope| bias(slope)).collect();
    let panel =
        |svg: &mut Svg, left: f64, (title, what): (&str, &str), curves: &[Curve], [x, y]: [&str; 2]| {
            svg.text((left, 28.0), "head", title);
            svg.text((left, 46.0), "faint small", what);
            let area = Area { left: left + 22.0, top: TOP, right: left + 190.0, bottom: TOP + 176.0 };
            let chart = Chart { title: "", x, y: "", curves, levels: &[] };
            let names = chart.draw_into(svg, area);
            svg.text((area.left, TOP - 8.0), "faint small", y);
            for (at, (color, name)) in names.into_iter().enumerate() {
                let place = (left + 22.0 + 96.0 * (at % 2) as f64, TOP + 234.0 + 18.0 * (at / 2) as f64);
                svg.text(place, &format!("t{color} small"), name);
            }
        };
    panel(&mut svg, 256.0, ("ALiBi", "added to the scores"), &curves, ["distance", "bias"]);
    let curves = [buckets("in a decoder", false), buckets("in an encoder", true)];
    panel(&mut svg, 490.0, ("relative", "a learned number for each bucket"), &curves, ["distance", "bucket"]);
    svg.finish()
}

/// How long the gradient of each block is before the first step, with norms before the parts and after them.
pub fn placement() -> Result<String> {
    const BLOCKS: usize = 12;
    let mut names = Names::read(&data::find("names.txt")?)?;
    names.shuffle(&mut Random::new(42));
    let mut batch = Batch::new();
    names.fill(&mut batch, 0, 16, 16);
    let mut curves = Vec::new();
    for (name, placement) in [("before each part", Placement::Pre), ("after each sum", Placement::Post)] {
        let model = Decoder::new(DecoderConfig {
            n_layer: BLOCKS,
            n_embd: 32,
            n_ffn: 128,
            norm: NormKind::Layer,
            norm_gain: true,
            placement,
            embedding_norm: false,
            final_norm: placement == Placement::Pre,
            weight_init: WeightInit::XavierUniform,
            init_std: 32_f64.sqrt().recip(),
            embedding_scale: EmbeddingScale::RootWidth,
            ..DecoderConfig::microgpt(names.vocab_size())
        })?;
        let params: Vec<f64> = model.layout().initial(&mut Random::new(1));
        let mut gradient = vec![0.0; params.len()];
        ScalarEngine::new().gradient(&model, &params, &batch, Mode::default(), &mut gradient);
        let length = |block: usize| {
            let name = format!("model.layers.{block}.");
            let specs = model.layout().specs().iter().filter(|spec| spec.name.starts_with(&name));
            specs.flat_map(|spec| &gradient[spec.range()]).map(|g| g * g).sum::<f64>().sqrt()
        };
        let points = (0..BLOCKS).map(|block| (block as f64 + 1.0, length(block))).collect();
        curves.push(Curve { name: name.into(), points });
    }
    let chart = Chart {
        title: "The gradients of twelve blocks before the first step, by where their norms stand",
        x: "block",
        y: "length of its gradient",
        curves: &curves,
        levels: &[],
    };
    Ok(chart.draw())
}

const WORDS: [&str; 4] = [".", "dogs", "cats", "sleep"];

/// How probable each word is after another; the full stop is also the beginning.
const TABLE: [[f64; 4]; 4] = [
    [0.05, 0.50, 0.40, 0.05],
    [0.25, 0.20, 0.25, 0.30],
    [0.05, 0.025, 0.025, 0.90],
    [0.90, 0.04, 0.03, 0.03],
];

/// The beginning of a text.
#[derive(Clone)]
struct Beam {
    text: String,
    last: usize,
    probability: f64,
    /// Where it is drawn: the middle of its right side.
    from: Point,
}

/// A search with two beams among four words.
pub fn beam() -> String {
    const WIDTH: usize = 2;
    const SIZE: Point = (164.0, 46.0);
    let mut svg = Svg::new(
        720.0,
        344.0,
        "A search with two beams",
        "Three steps from left to right, each with its four best candidates. First dogs, 0.5, and cats, 0.4, are kept. \
         Then cats sleep, 0.36, and dogs sleep, 0.15, before dogs with a full stop. Last, cats sleep with a full stop has \
         0.324 and dogs sleep with a full stop 0.135: both have ended, and the first wins.",
    );
    let mut beams = vec![Beam { text: String::new(), last: 0, probability: 1.0, from: (58.0, 117.0) }];
    svg.text((14.0, 121.0), "head", "begin");
    for step in 0..3 {
        let left = 96.0 + 208.0 * step as f64;
        let mut candidates: Vec<(Point, Beam)> = Vec::new();
        for beam in &beams {
            for (last, word) in WORDS.iter().enumerate() {
                let space = if last == 0 || beam.text.is_empty() { "" } else { " " };
                let (text, probability) =
                    (format!("{}{space}{word}", beam.text), beam.probability * TABLE[beam.last][last]);
                candidates.push((beam.from, Beam { text, last, probability, from: beam.from }));
            }
        }
        candidates.sort_by(|(_, a), (_, b)| b.probability.total_cmp(&a.probability));
        candidates.truncate(2 * WIDTH);
        beams.clear();
        svg.text((left, 28.0), "head", ["one word", "two", "three"][step]);
        svg.text((left, 46.0), "faint small", "the four best candidates");
        for (rank, (parent, mut beam)) in candidates.into_iter().enumerate() {
            let y = 62.0 + 64.0 * rank as f64;
            let middle = y + SIZE.1 / 2.0;
            let ended = beam.last == 0;
            let class = match (rank < WIDTH, ended) {
                (true, true) => "green",
                (_, false) if beams.len() < WIDTH && step < 2 => "blue",
                _ => "plain",
            };
            svg.labelled(class, (left, y), SIZE, &[&beam.text, &format!("{:.4}", beam.probability)]);
            if class != "plain" {
                svg.arrow(&[parent, (left - 1.0, middle)]);
            }
            beam.from = (left + SIZE.0, middle);
            if class == "blue" {
                beams.push(beam);
            }
        }
    }
    for (x, class, what) in
        [(96.0, "blue", "goes on"), (196.0, "green", "has ended: a hypothesis"), (386.0, "plain", "dropped")]
    {
        svg.rect(class, (x, 318.0), (12.0, 12.0), 3.0);
        svg.text((x + 18.0, 328.0), "small", what);
    }
    svg.finish()
}
