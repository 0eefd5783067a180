//! Chapter 13, parts to choose from: what each of them computes and costs, and the answers to the exercises.

use gradus::data::{Batch, Names};
use gradus::engine::Engine;
use gradus::model::{
    Activation, AttentionBias, Decoder, DecoderConfig, EmbeddingScale, EncoderDecoder, EncoderDecoderConfig,
    Mode, Model, NormKind, Placement, Position, SharedEmbeddings, WeightInit,
};
use gradus::random::Random;
use gradus::scalar::{Arena, ScalarEngine};
use gradus::tensor::{Buckets, Mask, Rotation, alibi_slopes};
use gradus::{Tensor, UnaryOp};

use crate::says;
use crate::tables::rounded;
use crate::translation::{file, layout, modern, thousands};

#[test]
fn chapter_13_positions() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let encoding = graph.matrix(1, 4, &[0.0; 4]).sinusoids(&[1], 4).read_row(0, <[f64]>::to_vec);
    says(13, &format!("position 1 is ({})", rounded(&encoding, 3)));
    let rotated = |position: usize| {
        graph
            .matrix(1, 2, &[1.0, 0.0])
            .rope(&[position], 1, Rotation::plain(10_000.0))
            .read_row(0, <[f64]>::to_vec)
    };
    let dot =
        |distance: usize| rotated(7).iter().zip(&rotated(7 - distance)).map(|(a, b)| a * b).sum::<f64>();
    says(13, &format!("the distances 0 to 3 give {}", rounded(&[0, 1, 2, 3].map(dot), 3)));
    let slopes = alibi_slopes(4).iter().map(|slope| format!("1/{}", slope.recip())).collect::<Vec<_>>();
    says(13, &format!("For four heads the slopes are {} and {}", slopes[..3].join(", "), slopes[3]));
    let four = alibi_slopes(4)[0] * 4.0;
    says(13, &format!("by {four}, and its probability to a factor of {:.2}", (-four).exp()));
    let buckets = Buckets { count: 32, max_distance: 128, bidirectional: false };
    let ranges = [16, 20, 31].map(|bucket| {
        let all: Vec<isize> = (0..=128).filter(|&distance| buckets.bucket(distance) == bucket).collect();
        (all[0], all[all.len() - 1])
    });
    says(13, &format!("bucket 16 has the distances {} to {}", ranges[0].0, ranges[0].1));
    says(13, &format!("bucket 20 those from {} to {}", ranges[1].0, ranges[1].1));
    says(13, &format!("bucket 31 all from {} on", ranges[2].0));
}

/// The preset, changed.
fn changed(change: impl Fn(&mut EncoderDecoderConfig)) -> EncoderDecoderConfig {
    let mut config = modern();
    change(&mut config);
    config
}

/// By how many numbers the preset grows or shrinks if it is changed so.
fn more(change: impl Fn(&mut EncoderDecoderConfig)) -> isize {
    layout(changed(change)).len() as isize - layout(modern()).len() as isize
}

/// The beginning of a row of a table.
fn row(name: &str, paper: &str, parameters: isize) -> String {
    format!("| {name} | {paper} | {} |", signed(parameters))
}

/// With a sign, and commas.
fn signed(n: isize) -> String {
    let sign = match n {
        0 => return "0".to_owned(),
        n if n < 0 => '-',
        _ => '+',
    };
    format!("{sign}{}", thousands(n.unsigned_abs()))
}

#[test]
fn chapter_13_what_parts_cost_in_parameters() {
    let table = |name: &str, paper: &str, n: isize| says(13, &row(name, paper, n));
    let position = |position| {
        more(move |config| {
            (config.decoder.context, config.decoder.position) = (64, position);
        })
    };
    table("none", "Kazemnejad et al. 2023", position(Position::None));
    table("sinusoidal", "Vaswani et al. 2017, 3.5", position(Position::Sinusoidal));
    table("learned", "Gehring et al. 2017, 3.1", position(Position::Learned));
    table("RoPE", "Su et al. 2021, 3.2", position(Position::rope(10_000.0)));
    table("ALiBi", "Press et al. 2021, 3", position(Position::Alibi));
    let relative = Position::Relative { buckets: 32, max_distance: 128 };
    table("relative, T5", "Raffel et al. 2019, 2.1", position(relative));

    let norm = |kind, placement, gain| {
        more(move |config| {
            (config.decoder.norm, config.decoder.placement) = (kind, placement);
            config.decoder.final_norm = placement == Placement::Pre;
            config.decoder.norm_gain = gain;
        })
    };
    let (rms, layer, pre, post) = (NormKind::Rms, NormKind::Layer, Placement::Pre, Placement::Post);
    table("RMSNorm before", "Zhang & Sennrich 2019, 4", norm(rms, pre, true));
    table("LayerNorm before", "Ba et al. 2016, 3; Xiong et al. 2020", norm(layer, pre, true));
    table("RMSNorm after", "", norm(rms, post, true));
    table("LayerNorm after", "Vaswani et al. 2017, 3.1", norm(layer, post, true));
    table("RMSNorm before, without gains", "", norm(rms, pre, false));

    let inner = |activation, n_ffn, ffn_bias| {
        more(move |config| {
            (config.decoder.activation, config.decoder.n_ffn) = (activation, n_ffn);
            config.decoder.ffn_bias = ffn_bias;
        })
    };
    table("ReLU", "Vaswani et al. 2017, 3.3", inner(Activation::Relu, 1056, false));
    table("GELU", "Hendrycks & Gimpel 2016, 2", inner(Activation::Gelu, 1056, false));
    table("GELU by tanh", "the same", inner(Activation::GeluTanh, 1056, false));
    table("GLU", "Dauphin et al. 2016, 2", inner(Activation::Glu, 704, false));
    table("GeGLU", "Shazeer 2020, 2", inner(Activation::Geglu, 704, false));
    table("SwiGLU", "Shazeer 2020, 2", inner(Activation::Swiglu, 704, false));
    table("SwiGLU with biases", "", inner(Activation::Swiglu, 704, true));

    let heads = |kv| more(move |config| config.decoder.n_kv_head = kv);
    table("a key head for each query head", "Vaswani et al. 2017, 3.2", heads(4));
    table("a key head for two query heads", "Ainslie et al. 2023, 2.2", heads(2));
    table("one key head", "Shazeer 2019, 3", heads(1));
    let one = more(|config| (config.decoder.n_head, config.decoder.n_kv_head) = (1, 1));
    table("one head of the whole width", "", one);
    let window = more(|config| config.decoder.mask = Mask::Window(4));
    table("a window of 4 tokens", "Beltagy et al. 2020, 3.1", window);
    table("QK-norm", "Henry et al. 2020", more(|config| config.decoder.qk_norm = true));
    let biases = more(|config| config.decoder.attention_bias = AttentionBias::All);
    table("biases", "", biases);

    let tables = |shared| more(move |config| config.shared_embeddings = shared);
    table("one table for all", "Vaswani et al. 2017, 3.4", tables(SharedEmbeddings::All));
    table("target and head share", "Press & Wolf 2016, 3", tables(SharedEmbeddings::Output));
    table("three tables", "", tables(SharedEmbeddings::None));
}

/// What a row of the tables says about operations, or about the cache, after the parameters.
#[test]
fn chapter_13_what_parts_cost_in_operations() {
    // A source of ten tokens in one block of the encoder, 256 wide with 4 heads.
    let (n, width, heads) = (10, 256, 4);
    let scores = heads * n * n;
    let added = format!("{} once |", thousands(n * width));
    says(13, &format!("| sinusoidal | Vaswani et al. 2017, 3.5 | 0 | {added}"));
    says(13, &format!("3.1 | +32,768 | {added}"));
    // Four products and two sums for each pair of columns, in queries and in keys.
    says(13, &format!("| 0 | {} a block |", thousands(2 * n * (width / 2) * 6)));
    // A product and a sum for each score; a sum.
    says(13, &format!("| 0 | {} a block |", 2 * scores));
    says(13, &format!("| +256 | {scores} a block |"));
    says(13, &format!("the four linear layers take {} in each block", thousands(4 * 2 * n * width * width)));

    // Squares and their sum; mean, eps, root; the division; the gain. LayerNorm: the mean and what is left without it; the bias.
    let plain = width + (width - 1) + 3 + width;
    let rms = plain + width;
    let layer = rms + (width - 1) + 1 + width + width;
    let [plain, rms, layer] = [plain, rms, layer].map(thousands);
    says(13, &format!("takes {rms} operations for a row of 256, LayerNorm {layer}."));
    for (parameters, operations) in
        [("0", &rms), ("+4,352", &layer), ("-512", &rms), ("+3,328", &layer), ("-4,352", &plain)]
    {
        says(13, &format!("| {parameters} | {operations} | "));
    }

    let matrices = 3 * width * 704;
    assert_eq!(matrices, 2 * width * 1056);
    says(13, &format!("{} multiplications and as many additions", thousands(matrices)));
    // A function, and with a gate a product; with biases three sums.
    let biases = 2 * 704 + 256;
    for (name, operations) in
        [("3.3 | 0", 1056), ("Dauphin et al. 2016, 2 | 0", 2 * 704), ("+9,984", 2 * 704 + biases)]
    {
        says(13, &format!("{name} | {} |", thousands(operations)));
    }

    let kept = [4, 2, 1].map(|heads| 2 * heads * 64);
    says(13, &format!("{}, {} or {} numbers for each token and block", kept[0], kept[1], kept[2]));
    says(13, &format!("-589,824 | {} |", kept[1]));
    says(13, &format!("-884,736 | {} |", kept[2]));
    let window = |mask: Mask| (0..20).map(|query| mask.seen(query, 20, 20).len()).sum::<usize>();
    says(13, &format!("{} scores instead of {}", window(Mask::Window(4)), window(Mask::Causal)));
}

#[test]
fn chapter_13_norms_by_hand() {
    let mut arena = Arena::new();
    let row = arena.graph().matrix(1, 3, &[1.0, 2.0, 6.0]);
    let read = |x: gradus::scalar::Matrix<'_>| rounded(&x.read_row(0, <[f64]>::to_vec), 2);
    says(13, &format!("RMSNorm makes {} of it", read(row.rms_norm(None, 0.0))));
    says(13, &format!("and LayerNorm {}.", read(row.layer_norm(None, None, 0.0))));
    let shifted = row + 100.0;
    says(13, &format!("the first becomes {}", read(shifted.rms_norm(None, 0.0))));
    assert_eq!(read(shifted.layer_norm(None, None, 0.0)), read(row.layer_norm(None, None, 0.0)));
}

/// The length of the gradient of each block of a fresh decoder with twelve, 32 wide, on sixteen names.
fn gradient_lengths(placement: Placement) -> Vec<f64> {
    let mut names = Names::read(&file("names.txt")).expect("the names of the project");
    names.shuffle(&mut Random::new(42));
    let config = DecoderConfig {
        n_layer: 12,
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
    };
    let model = Decoder::new(config).expect("it fits");
    let params: Vec<f64> = model.layout().initial(&mut Random::new(1));
    let mut batch = Batch::new();
    names.fill(&mut batch, 0, 16, 16);
    let mut gradient = vec![0.0; params.len()];
    ScalarEngine::new().gradient(&model, &params, &batch, Mode::default(), &mut gradient);
    let length = |block: usize| {
        let name = format!("model.layers.{block}.");
        let specs = model.layout().specs().iter().filter(|spec| spec.name.starts_with(&name));
        specs.flat_map(|spec| &gradient[spec.range()]).map(|g| g * g).sum::<f64>().sqrt()
    };
    (0..12).map(length).collect()
}

#[test]
fn chapter_13_gradients_before_and_after() {
    for (name, placement) in [("before", Placement::Pre), ("after", Placement::Post)] {
        let lengths = gradient_lengths(placement);
        let shown = [0, 3, 7, 11].map(|block| format!("{:.2}", lengths[block]));
        says(13, &format!("| {name} | {} |", shown.join(" | ")));
    }
}

#[test]
fn chapter_13_activations_and_first_weights() {
    let value = |op: UnaryOp, x: f64| format!("{:.3}", op.eval(x));
    says(13, &format!("ReLU of -1 is 0, GELU {}", value(UnaryOp::Gelu, -1.0)));
    let farthest = (0..=600).map(|at| f64::from(at) / 100.0 - 3.0);
    let farthest =
        farthest.map(|x| (UnaryOp::Gelu.eval(x) - UnaryOp::GeluTanh.eval(x)).abs()).fold(0.0, f64::max);
    says(13, &format!("never differs by more than {farthest:.4}"));
    let gated = [UnaryOp::Sigmoid, UnaryOp::Gelu, UnaryOp::Silu].map(|op| 2.0 * op.eval(-1.0));
    says(13, &format!("GLU gives {:.3}, GeGLU {:.3} and SwiGLU {:.3}", gated[0], gated[1], gated[2]));
    let bound = |inputs: f64, outputs: f64| (6.0 / (inputs + outputs)).sqrt();
    let square = bound(256.0, 256.0);
    says(
        13,
        &format!("evenly between ±{square:.4}, so with a standard deviation of {}", square / 3_f64.sqrt()),
    );
    says(13, &format!("{:.4} for the layers to 704", bound(256.0, 704.0)));
    let size = |std: f64| (256.0 * std * std).sqrt();
    assert!((size(1.0 / 16.0) - 1.0_f64).abs() < 1e-12);
    says(13, &format!("with 0.02 it has {:.2}", size(0.02)));
    says(13, &format!("1/√6 = {:.3}", 6_f64.sqrt().recip()));
}

#[test]
fn exercise_13_1() {
    let slopes = alibi_slopes(8);
    let half = [slopes[0], slopes[7]].map(|slope| 2_f64.ln() / slope);
    says(13, &format!("At {:.1} and {:.0} tokens", half[0], half[1]));
}

#[test]
fn exercise_13_2() {
    let buckets = Buckets { count: 32, max_distance: 128, bidirectional: true };
    let all = [7, 8, 100, -7, -8, -100].map(|distance| buckets.bucket(distance).to_string());
    says(13, &format!("{} before the query, and {} after it", all[..3].join(", "), all[3..].join(", ")));
}

#[test]
fn exercise_13_3() {
    let losses = |position: Position, source: [usize; 3]| {
        let decoder = DecoderConfig {
            position,
            dropout: 0.0,
            n_embd: 16,
            n_head: 2,
            n_kv_head: 2,
            n_ffn: 32,
            ..modern().decoder
        };
        let config = EncoderDecoderConfig { decoder: DecoderConfig { vocab_size: 9, ..decoder }, ..modern() };
        let model = EncoderDecoder::new(config).expect("it fits");
        let params: Vec<f64> = model.layout().initial(&mut Random::new(3));
        let mut batch = Batch::new();
        batch.push_pair(source, [1, 3, 6, 2]);
        ScalarEngine::new().loss(&model, &params, &batch)
    };
    let apart = |position| (losses(position, [3, 4, 5]) - losses(position, [5, 4, 3])).abs();
    assert!(apart(Position::None) < 1e-12);
    assert!(apart(Position::Sinusoidal) > 1e-6 && apart(Position::rope(10_000.0)) > 1e-6);
    says(13, "The same numbers for each word, in the other order.");
}

/// The deviations in the table of first weights.
#[test]
fn chapter_13_the_table_of_first_weights() {
    for (name, std) in [("equation 16", 1.0 / 16.0), ("Radford et al. 2018, 4.1", 0.02)] {
        says(13, &format!("{name} | {std:.4} | {std:.4} |"));
        says(13, &format!("| {std:.4} | {:.4} |", std / 6_f64.sqrt()));
    }
}
