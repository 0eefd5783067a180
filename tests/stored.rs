//! Weights stored for generation give the logits that the fast engine gives with the same weights in 32 bits, as nearly as their
//! precision allows: decoders, normalized transformers and encoder-decoders in all variants.
//!
//! How near that is: a product with rounded weights is off by a relative error that is about their unit of rounding, `u`. The
//! errors of several products in sequence are independent, and add up like the sides of a right angle: with `p` products in
//! sequence the logits are off by about `u·√p`. Attention and normalisation of so few columns enlarge or dampen it, for which
//! there is a factor of 4.

use std::ops::Range;

use gradus::data::Batch;
use gradus::engine::{Reader, Room, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::{Dtype, StoredMatrix};
use gradus::model::{Decoder, DecoderConfig, EncoderDecoder, Model, Position, Sphere, Translator};
use gradus::params::{Layout, ParamKind};
use gradus::random::Random;
use gradus::tensor::Mask;
use gradus::thread_pool::ThreadPool;

#[path = "common/encoder_decoder_variants.rs"]
mod encoder_decoder_variants;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/variants.rs"]
mod variants;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Int8];

/// The unit of rounding: half of the distance between 1 and the next number, or between neighbours in a block whose greatest is 1.
fn unit(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 2.0_f64.powi(-24),
        Dtype::Bf16 => 2.0_f64.powi(-8),
        Dtype::Int8 => 1.0 / 254.0,
    }
}

/// The length of the difference, relative to that of what is right.
fn distance(ours: &[f64], right: &[f64]) -> f64 {
    assert_eq!(ours.len(), right.len());
    let length = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let far = length(&mut ours.iter().zip(right).map(|(a, b)| a - b));
    far / length(&mut right.iter().copied())
}

/// All parameters, those of matrices and tables as they are when they have been stored.
fn rounded(layout: &Layout, params: &[f32], dtype: Dtype) -> Vec<f32> {
    let mut rounded = params.to_vec();
    for spec in
        layout.specs().iter().filter(|spec| matches!(spec.kind, ParamKind::Matrix | ParamKind::Embedding))
    {
        let stored = StoredMatrix::new(dtype, &params[spec.range()], spec.rows, spec.cols);
        let rows = rounded[spec.range()].chunks_exact_mut(spec.cols);
        rows.enumerate().for_each(|(row, to)| stored.read_row(row, to));
    }
    rounded
}

/// How a model is made to read, on any engine.
trait Read {
    type Model: Model;
    fn model(&self) -> &Self::Model;
    fn logits<E: Reader>(&self, engine: &mut E, params: &E::Params) -> Vec<f64>;
}

/// Texts that are read in pieces, side by side.
struct Texts<M> {
    model: M,
    batch: Batch,
    pieces: [Range<usize>; 3],
}

/// Pieces of a short text.
const SHORT: [Range<usize>; 3] = [0..1, 1..2, 2..8];

impl<M: Model> Read for Texts<M> {
    type Model = M;

    fn model(&self) -> &M {
        &self.model
    }

    fn logits<E: Reader>(&self, engine: &mut E, params: &E::Params) -> Vec<f64> {
        let rows = self.batch.sequences().rows;
        let room = Room { sequences: rows.len(), tokens: self.model.context(), source_tokens: 0 };
        let mut session = Session::new(engine, &self.model, params, room);
        let mut logits = Vec::new();
        for piece in self.pieces.clone() {
            let tokens = self.batch.sequences().tokens;
            let part = |of: &Range<usize>| {
                &tokens[(of.start + piece.start).min(of.end)..(of.start + piece.end).min(of.end)]
            };
            let new: Vec<(usize, &[usize])> =
                rows.iter().map(part).enumerate().filter(|(_, tokens)| !tokens.is_empty()).collect();
            logits.extend_from_slice(session.feed_all(&new));
        }
        logits
    }
}

/// A sentence that is read, and its translation.
struct Pair(EncoderDecoder);

impl Read for Pair {
    type Model = EncoderDecoder;

    fn model(&self) -> &EncoderDecoder {
        &self.0
    }

    fn logits<E: Reader>(&self, engine: &mut E, params: &E::Params) -> Vec<f64> {
        fn read<E: Reader, M: Translator>(mut session: Session<'_, E, M>) -> Vec<f64> {
            let pairs = encoder_decoder_variants::PAIRS;
            let sources: Vec<(usize, &[usize])> = pairs.iter().map(|pair| pair.0).enumerate().collect();
            session.read_sources(&sources);
            let batch = encoder_decoder_variants::batch(); // whose targets have no end
            let read = batch.sequences();
            let targets: Vec<(usize, &[usize])> =
                read.rows.iter().map(|rows| &read.tokens[rows.clone()]).enumerate().collect();
            let mut logits = session.feed_all(&targets).to_vec();
            let more: Vec<(usize, &[usize])> = (0..pairs.len()).map(|at| (at, &[3][..])).collect();
            logits.extend_from_slice(session.feed_all(&more));
            logits
        }
        let room = Room { sequences: 4, tokens: 8, source_tokens: 5 };
        read(Session::new(engine, &self.0, params, room))
    }
}

/// Compares what stored weights give with what the fast engine gives for the weights themselves, and for those as stored.
fn check(name: &str, read: &impl Read, params: &[f32], products: usize, failures: &mut Vec<String>) {
    let layout = read.model().layout();
    let fast = |params: &[f32]| read.logits(&mut FastEngine::new(ThreadPool::new(1)), params);
    let right = fast(params);
    for dtype in DTYPES {
        let stored = StoredParams::new(layout, params, dtype);
        let ours = read.logits(&mut InferenceEngine::new(2), &stored);
        let root = 4.0 * (products as f64).sqrt();
        let far = distance(&ours, &right) / (root * unit(dtype));
        // Given the stored weights, a product in 32 bits is as good as any. That of 8 bits rounds what it reads as well.
        let rest = if dtype == Dtype::Int8 { unit(dtype) } else { unit(Dtype::F32) };
        let far_from_stored = distance(&ours, &fast(&rounded(layout, params, dtype))) / (root * rest);
        println!("{name}, {dtype}: {far:.2} and {far_from_stored:.2} of what is allowed");
        if !(far <= 1.0 && far_from_stored <= 1.0) {
            failures.push(format!("{name}, {dtype}: {far:.2} and {far_from_stored:.2} of what is allowed"));
        }
    }
}

#[test]
fn decoders() {
    let mut failures = Vec::new();
    for (name, config) in variants::variants() {
        let model = Decoder::new(config.clone()).expect("a variant is right");
        let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
        let read = Texts { model, batch: variants::batch(&config), pieces: SHORT };
        check(name, &read, &params, 4 * config.n_layer + 2, &mut failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Contexts of several blocks of keys, and prompts of several tiles of queries.
#[test]
fn long_texts() {
    let mut failures = Vec::new();
    let rope = DecoderConfig {
        context: 300,
        n_layer: 2,
        n_embd: 32,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 48,
        init_std: 0.2,
        position: Position::rope(100.0),
        ..DecoderConfig::microgpt(50)
    };
    let window = DecoderConfig { mask: Mask::Window(100), ..rope.clone() };
    let alibi = DecoderConfig { position: Position::Alibi, ..rope.clone() };
    let relative = Position::Relative { buckets: 8, max_distance: 100 };
    let relative = DecoderConfig { position: relative, n_kv_head: 1, ..rope.clone() };
    for (name, config) in [("rope", rope), ("window", window), ("alibi", alibi), ("relative", relative)] {
        let mut batch = Batch::new();
        for (row, len) in [280, 70].into_iter().enumerate() {
            batch.push((0..=len).map(|at| (at * at + 7 * row) % 50));
        }
        let model = Decoder::new(config).expect("a variant is right");
        let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
        check(
            name,
            &Texts { model, batch, pieces: [0..197, 197..198, 198..280] },
            &params,
            10,
            &mut failures,
        );
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn normalized_transformers() {
    let mut failures = Vec::new();
    for (name, config) in sphere_variants::sphere_variants() {
        let (model, params) = sphere_variants::sphere_with_params(&config);
        let params: Vec<f32> = params.iter().map(|x| *x as f32).collect();
        let read = Texts::<Sphere> { model, batch: sphere_variants::sphere_batch(&config), pieces: SHORT };
        check(name, &read, &params, 4 * config.n_layer + 2, &mut failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn encoder_decoders() {
    let mut failures = Vec::new();
    for (name, config) in encoder_decoder_variants::variants() {
        let model = EncoderDecoder::new(config.clone()).expect("a variant is right");
        let params: Vec<f32> = model.layout().initial(&mut Random::new(5));
        let products = 4 * config.encoder_layers + 6 * config.decoder.n_layer + 2;
        check(&name, &Pair(model), &params, products, &mut failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// A model's own matrices are stored, and nothing is read in their stead.
#[test]
#[should_panic(expected = "the parameters of another model")]
fn the_parameters_of_another_model() {
    let [small, large] =
        [5, 6].map(|vocab| Decoder::new(DecoderConfig::microgpt(vocab)).expect("a preset is right"));
    let params: Vec<f32> = small.layout().initial(&mut Random::new(5));
    let stored = StoredParams::new(small.layout(), &params, Dtype::F32);
    Session::single(&mut InferenceEngine::new(1), &large, &stored).feed(0, &[1]);
}
