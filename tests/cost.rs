//! What a model costs, counted and measured: against sums by hand, against the published sizes of GPT-2, against the default
//! bodies of all operations, and against what the fast engine and the optimizers really hold.

use gradus::Engine;
use gradus::cost::{Activations, Counter, Generation, Moments, Operations, Part, TrainingMemory, parameters};
use gradus::counter_rng::CounterRng;
use gradus::data::{Batch, Sequences};
use gradus::fast::FastEngine;
use gradus::model::{
    Decoder, DecoderConfig, EncoderDecoder, EncoderDecoderConfig, LoraConfig, Mode, Model, Position, Preset,
    Sphere, SphereConfig,
};
use gradus::optim::{Adam, AdamSettings, Momentum, Muon, MuonSettings, Optimizer, UnitStep};
use gradus::params::{BoundParams, Layout, ParamKind};
use gradus::random::Random;
use gradus::tensor::Mask;
use gradus::thread_pool::ThreadPool;

#[path = "common/default_bodies.rs"]
mod default_bodies;
#[path = "common/encoder_decoder_variants.rs"]
mod encoder_decoder_variants;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/variants.rs"]
mod variants;

use default_bodies::DefaultBodies;

fn decoder(config: DecoderConfig) -> Decoder {
    Decoder::new(config).expect("a variant is right")
}

/// With dropout, where a model drops.
fn training() -> Mode {
    Mode { dropout: Some(CounterRng::new(7)), ..Mode::default() }
}

fn counts(layout: &Layout) -> [usize; 7] {
    parameters(layout).map(|(_, count)| count)
}

/// Hugging Face's `gpt2` and `gpt2-medium` have 124,439,808 and 354,823,168 parameters.
#[test]
fn presets_have_the_sizes_of_gpt2() {
    let layout = |preset: Preset| decoder(preset.config(preset.vocab_size())).layout().clone();
    assert_eq!(
        Preset::ALL.map(|preset| layout(preset).len()),
        [9_975_296, 41_558_528, 124_439_808, 354_823_168]
    );
    let width = 768;
    let attention = 12 * 4 * (width * width + width);
    let feed_forward = 12 * (2 * width * 4 * width + 5 * width);
    let norms = 25 * 2 * width;
    let expected = [50_257 * width, 1024 * width, attention, feed_forward, norms, 0, 0];
    assert_eq!(counts(&layout(Preset::Small)), expected);
    // With GPT-2's own tokens, as the documentation says.
    assert_eq!(decoder(Preset::Tiny.config(50_257)).layout().len(), 16_287_488);
}

/// What its names say is a norm belongs to the norms, and nothing else does.
#[test]
fn parts_of_every_variant() {
    let check = |name: &str, layout: &Layout| {
        let sum = |which: &dyn Fn(&str, ParamKind) -> bool| -> usize {
            let specs = layout.specs().iter().filter(|spec| which(&spec.name, spec.kind));
            specs.map(|spec| spec.rows * spec.cols).sum()
        };
        let counts = counts(layout);
        assert_eq!(counts.iter().sum::<usize>(), layout.len(), "{name}");
        let of = |part: Part| counts[Part::ALL.iter().position(|one| *one == part).expect("a part")];
        assert_eq!(of(Part::Norms), sum(&|name, _| name.contains("norm")), "{name}");
        assert_eq!(of(Part::Scales), sum(&|_, kind| kind == ParamKind::Scale), "{name}");
        assert_eq!(
            of(Part::Head),
            sum(&|name, kind| {
                (name.starts_with("lm_head") || name == "final_logits_bias") && kind != ParamKind::Scale
            })
        );
        assert!(
            [Part::TokenTable, Part::Attention, Part::FeedForward].iter().all(|part| of(*part) > 0),
            "{name}"
        );
    };
    for (name, config) in variants::variants() {
        check(name, decoder(config).layout());
    }
    for (name, config) in sphere_variants::sphere_variants() {
        check(name, Sphere::new(config).expect("a variant is right").layout());
    }
    for (name, config) in encoder_decoder_variants::variants() {
        check(&name, EncoderDecoder::new(config).expect("a variant is right").layout());
    }
}

/// Every weight is multiplied once for each token, and every key that a query sees twice, once as a key and once as a value.
#[test]
fn operations_of_a_decoder_by_the_usual_formula() {
    for (name, config) in variants::variants() {
        let (model, batch) = (decoder(config.clone()), variants::batch(&config));
        let matrices = model.layout().specs().iter().filter(|spec| spec.kind == ParamKind::Matrix);
        let weights =
            matrices.map(|spec| spec.range().len()).sum::<usize>() + config.vocab_size * config.n_embd;
        let operations = Operations::forward(&model, &batch);
        assert_eq!(operations.products, (2 * weights * batch.len()) as u64, "{name}");
        let seen: usize = batch.sequences().rows.iter().map(|rows| seen(config.mask, rows.len())).sum();
        let width = config.n_head * config.head_dim();
        assert_eq!(operations.attention, (4 * width * seen * config.n_layer) as u64, "{name}");
        assert!(operations.elementwise > 0 && operations.training() == 3 * operations.total(), "{name}");
    }
}

/// How many keys all queries of a sequence see.
fn seen(mask: Mask, length: usize) -> usize {
    (0..length).map(|query| mask.seen(query, length, length).len()).sum()
}

/// What the shortcuts of the counting tensor leave out of the default bodies, they count as well. `transposed` are the
/// operations by which a default body only turns a column into a row.
fn assert_parity<M: Model>(name: &str, model: &M, batch: &Batch, mode: Mode, transposed: u64) {
    let [counter, plain] = [Counter::new(), Counter::new()];
    let shapes = counter.bind(model.layout());
    model.losses(BoundParams::new(&shapes), batch, mode);
    let plain_shapes: Vec<_> = plain.bind(model.layout()).into_iter().map(DefaultBodies).collect();
    model.losses(BoundParams::new(&plain_shapes), batch, mode);
    let (ours, theirs) = (counter.operations(), plain.operations());
    assert_eq!(theirs.attention, 0, "{name}");
    assert_eq!(ours.products + ours.attention + transposed, theirs.products, "{name}");
    assert_eq!(ours.elementwise, theirs.elementwise, "{name}");
}

#[test]
fn shortcuts_count_what_the_default_bodies_do() {
    let mode = training();
    let in_scores = |config: &DecoderConfig, seen: usize| match config.position {
        Position::Relative { .. } => (2 * config.n_head * config.n_layer * seen) as u64,
        _ => 0,
    };
    for (name, config) in variants::variants() {
        let batch = variants::batch(&config);
        for batch in [&batch, &batch.padded()] {
            let seen = batch.sequences().rows.iter().map(|rows| seen(config.mask, rows.len())).sum();
            assert_parity(name, &decoder(config.clone()), batch, mode, in_scores(&config, seen));
        }
    }
    for (name, config) in sphere_variants::sphere_variants() {
        let batch = sphere_variants::sphere_batch(&config);
        assert_parity(name, &sphere_variants::sphere_with_params(&config).0, &batch, mode, 0);
    }
    for (name, config) in encoder_decoder_variants::variants() {
        let batch = encoder_decoder_variants::batch();
        let sum = |mask, sequences: Sequences<'_>| -> usize {
            sequences.rows.iter().map(|rows| seen(mask, rows.len())).sum()
        };
        let transposed = in_scores(&config.decoder, sum(Mask::Causal, batch.sequences()))
            + in_scores(&config.encoder(), sum(Mask::Full, batch.source()));
        let model = EncoderDecoder::new(config).expect("a variant is right");
        assert_parity(&name, &model, &batch, mode, transposed);
    }
}

/// A text that is generated token by token takes the products of one that is read as a whole.
#[test]
fn tokens_one_by_one() {
    for (name, config) in variants::variants() {
        let model = decoder(config.clone());
        let steps = (0..config.context).map(|read| Generation::after(&model, read));
        let one_by_one = steps.clone().fold(Operations::default(), |sum, step| sum + step.operations);
        let mut batch = Batch::new();
        batch.push(vec![0; config.context + 1]);
        let whole = Operations::forward(&model, &batch);
        assert_eq!((one_by_one.products, one_by_one.attention), (whole.products, whole.attention), "{name}");
        let kept = 2 * config.n_layer * config.context * config.n_kv_head * config.head_dim();
        assert!(steps.clone().all(|step| step.kept == kept as u64), "{name}");
    }
}

/// A translator keeps keys and values of the source as well. It computes them once, and then only looks at them.
#[test]
fn tokens_of_a_translation() {
    for (name, config) in encoder_decoder_variants::variants() {
        let model = EncoderDecoder::new(config.clone()).expect("a variant is right");
        let DecoderConfig { n_layer, context, n_kv_head, n_head, .. } = config.decoder;
        let d = config.decoder.head_dim();
        let step = Generation::translated(&model, 5, 2);
        assert_eq!(step.kept, (2 * n_layer * (context + 5) * n_kv_head * d) as u64, "{name}");
        // Three keys of its own, its own among them, and five of the source.
        assert_eq!(step.operations.attention, (4 * n_layer * n_head * d * (3 + 5)) as u64, "{name}");
        let longer = Generation::translated(&model, 6, 2).operations;
        assert_eq!(longer.products, step.operations.products, "{name}: the source is not read again");
    }
}

/// As many numbers as the tape of this batch holds.
fn on_tape<M: Model>(model: &M, batch: &Batch) -> (f64, f64) {
    let mut engine = FastEngine::new(ThreadPool::new(1));
    let params = model.layout().initial(&mut Random::new(3));
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let mode = training();
    engine.gradient(model, &params, batch, mode, &mut gradient);
    let kept: usize = engine.tape().iter().map(|node| node.data + node.saved).sum();
    (kept as f64, engine.gradient_buffers() as f64)
}

fn texts(sequences: usize, length: usize) -> Batch {
    let mut batch = Batch::new();
    (0..sequences).for_each(|_| batch.push(vec![0; length + 1]));
    batch
}

fn translations(sequences: usize, length: usize) -> Batch {
    let mut batch = Batch::new();
    (0..sequences).for_each(|_| batch.push_pair(vec![0; length], vec![0; length + 1]));
    batch
}

/// What three small batches need says what any other needs, to the last number.
#[test]
fn memory_of_a_step_is_what_the_tape_holds() {
    fn check<M: Model>(
        name: &str,
        model: &M,
        frozen: &M,
        batch: fn(usize, usize) -> Batch,
        shapes: &[(usize, usize)],
    ) {
        let predicted = Activations::measure(frozen, training(), batch);
        for &(sequences, length) in shapes {
            let (results, gradients) = on_tape(model, &batch(sequences, length));
            let held = TrainingMemory::held(sequences, length, 1);
            let ours = predicted.results.of(held, length);
            assert!(
                (ours - results).abs() < 1e-6 * results,
                "{name}, {sequences} of {length}: {ours}, not {results}"
            );
            let ratio = predicted.gradients.of(held, length) / gradients;
            assert!((0.6..1.7).contains(&ratio), "{name}, {sequences} of {length}: {ratio}");
        }
    }
    for (name, config) in variants::variants() {
        let model = decoder(config);
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        check(name, &model, &frozen, texts, &[(3, 5), (1, 8), (4, 7)]);
    }
    let gpt2 = DecoderConfig {
        n_layer: 2,
        n_embd: 64,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 256,
        ..Preset::Tiny.config(50)
    };
    // From 512 tokens on, attention keeps no probabilities.
    let short: &[(usize, usize)] = &[(1, 256), (5, 90), (2, 31)];
    for (context, shapes) in [(511, short), (1024, &[(1, 512), (2, 1024)])] {
        let model = decoder(DecoderConfig { context, ..gpt2.clone() });
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        check(&format!("a small GPT-2 that reads {context}"), &model, &frozen, texts, shapes);
    }
    for config in [EncoderDecoderConfig::classic(7), encoder_decoder_variants::tiny()] {
        let model = EncoderDecoder::new(config).expect("a preset is right");
        let mut frozen = model.clone();
        frozen.freeze(|_| true);
        check("a translator", &model, &frozen, translations, &[(3, 7), (1, 8)]);
    }
    let model =
        Sphere::new(SphereConfig { n_embd: 32, n_ffn: 48, ..SphereConfig::paper(11) }).expect("it is right");
    let mut frozen = model.clone();
    frozen.freeze(|_| true);
    check("a sphere", &model, &frozen, texts, &[(3, 60), (1, 100)]);
}

/// Sequences of twice the length need twice the rows, and four times the probabilities.
#[test]
fn memory_of_a_step_in_parts() {
    let config = DecoderConfig {
        n_layer: 3,
        n_embd: 64,
        n_head: 2,
        n_kv_head: 2,
        n_ffn: 128,
        context: 400,
        ..Preset::Tiny.config(90)
    };
    let model = decoder(config.clone());
    let (layout, activations) = (model.layout(), Activations::measure(&model, training(), texts));
    let adamw = Moments::adamw(layout);
    let on = |threads, shape| TrainingMemory::new(layout, adamw, activations, shape, threads);
    let memory = |shape| on(4, shape);
    let (one, double) = (memory((1, 200)), memory((1, 400)));
    assert_eq!(one.squares, 4.0 * (config.n_layer * config.n_head * 200 * 200) as f64);
    assert_eq!(double.squares, 4.0 * one.squares);
    let linear = |memory: TrainingMemory| memory.results - memory.squares;
    assert!((linear(double) / linear(one) - 2.0).abs() < 1e-4);
    let params = 4.0 * layout.len() as f64;
    assert_eq!(
        [one.parameters, one.gradient, one.shards, one.moments],
        [1.0, 1.0, 1.0, 2.0].map(|n| n * params)
    );
    // 2,048 tokens in four sequences are cut into four shards, in two sequences into two.
    assert_eq!((memory((4, 512)).shards, memory((2, 1024)).shards), (4.0 * params, 2.0 * params));
    // Block by block there are none.
    let long = decoder(DecoderConfig { context: 512, ..config });
    let long = Activations::measure(&long, training(), texts).results;
    assert_eq!((long.per_pair, activations.results.per_pair), (0.0, 6.0));
    // Two threads work on two of them at a time.
    let (two, four) = (on(2, (4, 512)), memory((4, 512)));
    assert_eq!([two.shards, two.gradient, two.moments], [2.0 * params, params, 2.0 * params]);
    let fixed = 4.0 * activations.results.fixed;
    assert!(((four.results - fixed) / (two.results - fixed) - 2.0).abs() < 1e-6);
    let parts = one.parameters + one.gradient + one.shards + one.moments + one.results + one.result_gradients;
    assert_eq!(one.total(), parts);
}

/// On a frozen base, only adapters have a gradient and moments; what is kept of a step is what the tape holds.
#[test]
fn memory_of_adapters() {
    let config = DecoderConfig { n_layer: 2, n_embd: 32, n_ffn: 96, context: 64, ..DecoderConfig::llama(50) };
    let lora = LoraConfig { rank: 4, ..LoraConfig::default() };
    let base = decoder(config);
    let model = base.clone().with_adapters(&lora).expect("it has these layers");
    let (layout, trained) = (model.layout(), model.layout().trainable_len());
    assert_eq!(trained, layout.len() - base.layout().len());
    let mut frozen = model.clone();
    frozen.freeze(|_| true);
    let activations = Activations::measure(&frozen, training(), texts);
    assert_eq!(activations, Activations::measure(&model, training(), texts));
    for (sequences, length) in [(1, 64), (3, 20)] {
        let (results, gradients) = on_tape(&model, &texts(sequences, length));
        let ours = activations.results.of(sequences, length);
        assert!((ours - results).abs() < 1e-6 * results, "{sequences} of {length}: {ours}, not {results}");
        let ratio = activations.gradients.of(sequences, length) / gradients;
        assert!((0.6..1.7).contains(&ratio), "{sequences} of {length}: {ratio}");
    }
    let memory = TrainingMemory::new(layout, Moments::adamw(layout), activations, (1, 64), 2);
    assert_eq!(
        [memory.parameters, memory.gradient, memory.shards, memory.moments],
        [layout.len(), trained, trained, 2 * trained].map(|numbers| 4.0 * numbers as f64)
    );
    assert_eq!(Moments::muon(layout).kept, trained, "all adapters are matrices");
    // Adapters belong to the parts whose layers they adapt.
    let added: Vec<usize> =
        counts(layout).iter().zip(counts(base.layout())).map(|(with, without)| with - without).collect();
    let (attention, feed_forward) = (2 * 4 * 4 * (32 + 32), 2 * 4 * 3 * (32 + 96));
    let kv = 2 * 4 * 2 * 16; // keys and values are half as wide
    assert_eq!(added, [0, 0, attention - kv, feed_forward, 0, 0, 0]);
    assert_eq!(added.iter().sum::<usize>(), trained);
}

/// What optimizers say they remember.
#[test]
fn moments_are_what_optimizers_hold() {
    let mut model = decoder(DecoderConfig { norm_gain: true, ..DecoderConfig::microgpt(27) });
    model.freeze(|spec| spec.name.contains("v_proj"));
    let layout = model.layout();
    let held = |optimizer: &mut dyn Optimizer<f32>| -> usize {
        optimizer.state().iter().map(|(_, numbers)| numbers.len()).sum()
    };
    let settings = MuonSettings {
        momentum: 0.95,
        order: Momentum::Nesterov,
        iterations: 5,
        weight_decay: 0.0,
        rate: 1.0,
        unit_step: UnitStep::Free,
        adam: AdamSettings::MICROGPT,
    };
    assert_eq!(Moments::adamw(layout).kept, held(&mut Adam::new(layout, AdamSettings::MICROGPT)));
    let muon = Moments::muon(layout);
    assert_eq!(muon.kept, held(&mut Muon::new(layout, settings, ThreadPool::new(1))));
    // Three matrices of 16 x 16, and 64 x 16 twice: a copy and another, and two squares of 16 for each of the five.
    assert_eq!(muon.work, 2 * (3 * 256 + 2 * 1024) + 2 * 5 * 256);
}

/// The presets learn: with a small vocabulary and a short context, a few steps on one text lower its loss.
#[test]
fn a_preset_trains() {
    use gradus::train::{Settings, Trainer};
    let config = DecoderConfig { context: 16, n_embd: 32, n_ffn: 128, ..Preset::Tiny.config(20) };
    let settings = Settings { steps: 20, ..Settings::default() };
    let engine = FastEngine::new(ThreadPool::new(1));
    let mut trainer = Trainer::new(decoder(config), engine, settings, &mut Random::new(1));
    let mut batch = Batch::new();
    batch.push((0..17).map(|at| at * 7 % 20));
    let losses: Vec<f64> = (0..20).map(|_| trainer.step(&batch).loss).collect();
    // Fresh weights are small, so at first every token is about equally likely.
    assert!((losses[0] - 20_f64.ln()).abs() < 0.05 && losses[19] < 0.5 * losses[0], "{losses:?}");
}
