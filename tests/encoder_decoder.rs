//! The encoder-decoder: it learns on every engine as the scalar one says, its sessions see what teacher forcing sees, and
//! padding changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use gradus::Engine;
use gradus::data::{Batch, Sequences};
use gradus::engine::{Pass, Reader, Room, Session};
use gradus::fast::FastEngine;
use gradus::model::{
    Activation, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, Mode, Model, Placement, Position,
};
use gradus::params::BoundParams;
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::{Mask, Memory, Tensor, packed};
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

#[path = "common/encoder_decoder_variants.rs"]
mod encoder_decoder_variants;
use encoder_decoder_variants::{PAIRS, batch, tiny, variants};

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

fn model(config: &EncoderDecoderConfig) -> (EncoderDecoder, Vec<f64>) {
    let model = EncoderDecoder::new(config.clone()).expect("a variant is right");
    let params = model.layout().initial(&mut Random::new(5));
    (model, params)
}

/// Loss, losses and gradient.
fn learn<E: Engine>(
    engine: &mut E,
    model: &EncoderDecoder,
    params: &[f64],
    batch: &Batch,
    mode: Mode,
) -> Vec<Vec<f64>> {
    let params: Vec<E::Real> = params.iter().map(|&w| E::Real::from_f64(w)).collect();
    let mut gradient = vec![E::Real::from_f64(f64::NAN); model.layout().trainable_len()];
    let loss = engine.gradient(model, &params, batch, mode, &mut gradient);
    let gradient = gradient.into_iter().map(Real::to_f64).collect();
    vec![vec![loss], engine.token_losses().to_vec(), gradient]
}

fn assert_close(ours: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3, |size: f64, x| size.max(x.abs()));
    for (at, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{what}, number {at}: {a} instead of {b}");
    }
}

#[test]
fn the_fast_engine_learns_what_the_scalar_one_does() {
    for (name, config) in variants() {
        let (model, params) = model(&config);
        let mode = Mode { smoothing: 0.1, ..Mode::default() };
        let exact = learn(&mut ScalarEngine::new(), &model, &params, &batch(), mode);
        let ours = learn(&mut fast(), &model, &params, &batch(), mode);
        for (ours, exact) in ours.iter().zip(&exact) {
            assert_close(ours, exact, 2e-4, &name);
        }
    }
}

/// The derivative of the loss by some numbers of each parameter, from two losses a little apart.
#[test]
fn gradients_are_those_of_finite_differences() {
    for (name, config) in variants() {
        let (model, params) = model(&config);
        let mut engine = ScalarEngine::new();
        let gradient = learn(&mut engine, &model, &params, &batch(), Mode::default()).remove(2);
        for spec in model.layout().specs() {
            let range = spec.range();
            for at in [range.start, range.start + range.len() / 2, range.end - 1] {
                let mut loss = |step: f64| {
                    let mut params = params.clone();
                    params[at] += step;
                    engine.loss(&model, &params, &batch())
                };
                let expected = (loss(1e-6) - loss(-1e-6)) / 2e-6;
                let gap = (gradient[at] - expected).abs() / (1.0 + expected.abs());
                assert!(gap < 1e-6, "{name}, {}: {} instead of {expected}", spec.name, gradient[at]);
            }
        }
    }
}

/// A padded batch has the losses and gradients of the packed one. On the scalar engine, where zeros are added at most, to the
/// last bit; on the fast one the losses too, while sums over more rows may be rounded otherwise.
#[test]
fn padding_changes_nothing() {
    for (name, config) in variants() {
        let (model, params) = model(&config);
        let (packed, padded) = (batch(), batch().padded());
        assert!(padded.len() > packed.len() && padded.source().tokens.len() > packed.source().tokens.len());
        let real = |losses: &[f64]| -> Vec<f64> {
            padded.sequences().rows.iter().flat_map(|rows| losses[rows.clone()].to_vec()).collect()
        };
        let scalar = [&packed, &padded]
            .map(|batch| learn(&mut ScalarEngine::new(), &model, &params, batch, Mode::default()));
        assert_eq!(scalar[0][1], real(&scalar[1][1]), "{name}");
        assert_close(&scalar[1][2], &scalar[0][2], 1e-14, &name);
        let fast =
            [&packed, &padded].map(|batch| learn(&mut fast(), &model, &params, batch, Mode::default()));
        assert_eq!(fast[0][1], real(&fast[1][1]), "{name}");
        assert_close(&fast[1][2], &fast[0][2], 1e-5, &name);
    }
}

/// A sequence of a batch does not depend on its neighbours, and a shard drops what the whole batch does.
#[test]
fn parts_of_a_batch_are_parts_of_its_losses() {
    let config = EncoderDecoderConfig { decoder: DecoderConfig { dropout: 0.3, ..tiny().decoder }, ..tiny() };
    let (model, params) = model(&config);
    let mode = Mode { dropout: Some(gradus::counter_rng::CounterRng::new(7)), ..Mode::default() };
    let whole = learn(&mut ScalarEngine::new(), &model, &params, &batch(), mode).remove(1);
    let calm = learn(&mut ScalarEngine::new(), &model, &params, &batch(), Mode::default()).remove(1);
    assert_ne!(whole, calm, "something is dropped");
    let mut parts = Vec::new();
    for sequences in [0..1, 1..3, 3..4] {
        let mut part = Batch::new();
        part.copy_sequences(&batch(), sequences, 1.0);
        parts.extend(learn(&mut ScalarEngine::new(), &model, &params, &part, mode).remove(1));
    }
    assert_eq!(parts, whole);
}

/// What a session says of each next token, for all pairs at once.
fn sessions<E: Engine>(engine: &mut E, model: &EncoderDecoder, params: &[E::Real]) -> Vec<f64> {
    let room = Room { sequences: PAIRS.len() + 1, tokens: 6, source_tokens: 5 };
    let mut session = Session::new(engine, model, params, room);
    // In another order, after something else was read.
    session.read_sources(&[(2, &[1, 1, 1]), (0, &[6])]);
    session.feed_all(&[(2, &[4, 4]), (0, &[2])]);
    let sources: Vec<(usize, &[usize])> =
        PAIRS.iter().enumerate().map(|(at, pair)| (at + 1, pair.0)).rev().collect();
    session.read_sources(&sources);
    let mut logits = vec![Vec::new(); PAIRS.len()];
    for step in 0..5 {
        let alive: Vec<usize> = (0..PAIRS.len()).filter(|&at| step + 1 < PAIRS[at].1.len()).collect();
        let new: Vec<(usize, &[usize])> =
            alive.iter().map(|&at| (at + 1, &PAIRS[at].1[step..step + 1])).collect();
        let all = session.feed_all(&new).chunks_exact(model.vocab_size());
        alive.iter().zip(all).for_each(|(&at, row)| logits[at].extend_from_slice(row));
    }
    logits.concat()
}

/// Teacher forcing: the losses that follow from a session's logits are those of the batch.
#[test]
fn sessions_see_what_teacher_forcing_sees() {
    fn check<E: Engine>(mut engine: E, tolerance: f64) {
        for (name, config) in variants() {
            let (model, params) = model(&config);
            let params: Vec<E::Real> = params.into_iter().map(E::Real::from_f64).collect();
            engine.loss(&model, &params, &batch());
            let losses = engine.token_losses().to_vec();
            let logits = sessions(&mut engine, &model, &params);
            let ours: Vec<f64> = logits
                .chunks_exact(7)
                .zip(batch().targets())
                .map(|(row, &target)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[target])
                .collect();
            assert_close(&ours, &losses, tolerance, &name);
        }
    }
    check(ScalarEngine::new(), 1e-12);
    check(fast(), 1e-5);
}

/// Sequences that continue another share its source, which is read once, and keep it when the first goes on to another.
#[test]
fn beams_share_a_source() {
    let (model, params) = model(&tiny());
    let mut engine = ScalarEngine::new();
    let room = Room { sequences: 3, tokens: 4, source_tokens: 5 };
    let mut alone = |source: &[usize], target: &[usize]| {
        let mut session = Session::new(&mut engine, &model, &params, room);
        session.read_sources(&[(0, source)]);
        session.feed(0, target).to_vec()
    };
    let (source, other) = ([3, 1, 4, 1, 5], [2, 6]);
    let expected = [alone(&source, &[0, 1]), alone(&source, &[0, 2]), alone(&other, &[0])];
    let mut engine = ScalarEngine::new();
    let mut session = Session::new(&mut engine, &model, &params, room);
    session.read_sources(&[(0, &source)]);
    session.feed(0, &[0]);
    session.reorder(&[0, 0, 0]);
    session.read_sources(&[(0, &other)]);
    let logits = session.feed_all(&[(1, &[1]), (2, &[2]), (0, &[0])]);
    assert_close(logits, &expected.concat(), 1e-13, "three sequences of two sources");
}

/// The attention to a source that a drawing shows: probabilities of every source token, for every target token.
#[test]
fn cross_attention_is_a_row_of_probabilities_for_each_token() {
    struct Look<'m>(&'m EncoderDecoder, usize, usize);
    impl Pass for Look<'_> {
        fn run<T: Tensor>(self, w: BoundParams<'_, T>, _: &mut dyn Memory<T>) -> T {
            let (source, target) = PAIRS[0];
            let positions: Vec<usize> = (0..8).collect();
            let [source_rows, target_rows] = [source, target].map(|tokens| packed(&[tokens.len()]));
            let sequences = |tokens, rows| {
                let tokens: &[usize] = tokens;
                Sequences { tokens, positions: &positions[..tokens.len()], rows, rows_before: 0 }
            };
            let (source, target) = (sequences(source, &source_rows), sequences(target, &target_rows));
            self.0.cross_attention(w, source, target, self.1, self.2)
        }
    }
    for (name, config) in variants() {
        let (model, params) = model(&config);
        let mut engine = ScalarEngine::new();
        let mut heads = Vec::new();
        for layer in 0..config.decoder.n_layer {
            for head in 0..2 {
                let mut all = Vec::new();
                engine.run(model.layout(), &params, Look(&model, layer, head), &mut all);
                assert_eq!(all.len(), 4 * 5, "{name}");
                for row in all.chunks_exact(5) {
                    assert!(
                        (row.iter().sum::<f64>() - 1.0).abs() < 1e-12 && row.iter().all(|p| *p > 0.0),
                        "{name}"
                    );
                }
                heads.push(all);
            }
        }
        assert!(heads.iter().all(|one| heads.iter().filter(|other| one == *other).count() == 1), "{name}");
    }
}

/// It can learn to write a sentence backwards, which takes the source and positions.
#[test]
fn it_learns_to_turn_sentences_around() {
    let decoder =
        DecoderConfig { n_embd: 32, n_head: 4, n_kv_head: 4, n_ffn: 64, init_std: 0.18, ..tiny().decoder };
    let config = EncoderDecoderConfig { decoder, ..tiny() };
    let model = EncoderDecoder::new(config).expect("it fits");
    let settings = Settings { steps: 300, learning_rate: 0.004, ..Settings::default() };
    let mut random = Random::new(1);
    let mut trainer = Trainer::new(model, fast(), settings, &mut random);
    let mut batch = Batch::new();
    let mut draw = |batch: &mut Batch, count: usize| {
        batch.clear();
        for _ in 0..count {
            let len = 1 + (random.uniform() * 5.0) as usize;
            let source: Vec<usize> = (0..len).map(|_| 2 + (random.uniform() * 5.0) as usize).collect();
            let target = [0].into_iter().chain(source.iter().rev().copied()).chain([1]).collect::<Vec<_>>();
            batch.push_pair(source, target);
        }
    };
    for _ in 0..300 {
        draw(&mut batch, 32);
        trainer.step(&batch);
    }
    draw(&mut batch, 100);
    let loss = trainer.validate(std::slice::from_ref(&batch));
    assert!(loss < 0.1, "a loss of {loss}");
}

#[test]
fn configurations_that_do_not_fit_say_why() {
    let wrong = |words: &str, change: &dyn Fn(&mut EncoderDecoderConfig)| {
        let mut config = tiny();
        change(&mut config);
        let error = EncoderDecoder::new(config).expect_err("it does not fit").to_string();
        assert!(error.contains(words), "{error}");
    };
    wrong("n_layer is 0", &|config| config.encoder_layers = 0);
    wrong("layers are more than", &|config| config.encoder_layers = 20_000);
    wrong("shared_embeddings", &|config| {
        config.decoder.tied_embeddings = gradus::model::TiedEmbeddings::Output
    });
    wrong("full mask", &|config| config.decoder.mask = Mask::Full);
    // A decoder could have three buckets; an encoder, which looks both ways, needs an even number.
    wrong("buckets", &|config| config.decoder.position = Position::Relative { buckets: 5, max_distance: 9 });
}

/// `golden/encoder_decoder.json`: `torch.nn.Transformer` as a translator, with the parameters under our names.
#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    pre_norm: bool,
    activation: String,
    vocab_size: usize,
    n_embd: usize,
    n_head: usize,
    n_ffn: usize,
    layers: [usize; 2],
    eps: f64,
    pairs: Vec<(Vec<usize>, Vec<usize>)>,
    losses: Vec<f64>,
    params: BTreeMap<String, Matrix>,
    grads: BTreeMap<String, Matrix>,
}

#[derive(serde::Deserialize)]
struct Matrix {
    data: Vec<f64>,
}

/// Losses and all gradients are PyTorch's.
#[test]
fn it_is_the_transformer_of_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/encoder_decoder.json"))
        .expect("encoder_decoder.json parses");
    assert_eq!(golden.cases.len(), 2);
    for case in golden.cases {
        let decoder = DecoderConfig {
            n_layer: case.layers[1],
            n_embd: case.n_embd,
            n_head: case.n_head,
            n_kv_head: case.n_head,
            n_ffn: case.n_ffn,
            activation: if case.activation == "gelu" { Activation::Gelu } else { Activation::Relu },
            placement: if case.pre_norm { Placement::Pre } else { Placement::Post },
            norm_eps: case.eps,
            final_norm: true,
            ..tiny().decoder
        };
        assert_eq!(decoder.vocab_size, case.vocab_size);
        let config = EncoderDecoderConfig { encoder_layers: case.layers[0], decoder, ..tiny() };
        let model = EncoderDecoder::new(config).expect("it fits");
        let specs = model.layout().specs();
        assert!(
            specs.iter().map(|spec| &spec.name).collect::<BTreeSet<_>>().into_iter().eq(case.params.keys())
        );
        let params: Vec<f64> = specs.iter().flat_map(|spec| case.params[&spec.name].data.clone()).collect();
        let mut batch = Batch::new();
        case.pairs.into_iter().for_each(|(source, target)| batch.push_pair(source, target));
        let check = |learned: Vec<Vec<f64>>, tolerance| {
            assert_close(&learned[1], &case.losses, tolerance, &case.name);
            for spec in specs {
                let (ours, theirs) = (&learned[2][spec.range()], &case.grads[&spec.name].data);
                // Biases of keys have no gradient at all: what is there is rounding.
                if spec.name.ends_with("k_proj.bias") {
                    assert!(ours.iter().chain(theirs).all(|g| g.abs() < tolerance), "{}", spec.name);
                } else {
                    assert_close(ours, theirs, tolerance, &format!("{}, {}", case.name, spec.name));
                }
            }
        };
        check(learn(&mut ScalarEngine::new(), &model, &params, &batch, Mode::default()), 1e-10);
        check(learn(&mut fast(), &model, &params, &batch, Mode::default()), 1e-5);
    }
}
