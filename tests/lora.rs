//! LoRA on a decoder: before the first step it is its base to the last bit, only the adapters are trained and have memory, their
//! gradients are what differences say on every engine and in every way to compute them, and merging changes nothing.

use gradus::Engine;
use gradus::counter_rng::CounterRng;
use gradus::data::Batch;
use gradus::engine::{Reader, Session};
use gradus::fast::{FastEngine, InferenceEngine, StoredParams};
use gradus::gemm::Dtype;
use gradus::model::{Activation, Decoder, DecoderConfig, LoraConfig, LoraTarget, Mode, Model};
use gradus::optim::{Adam, AdamSettings, Optimizer};
use gradus::params::ParamKind;
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};

#[path = "common/method.rs"]
mod method;
#[path = "common/variants.rs"]
mod variants;

use method::{METHODS, SETTINGS};

const RANK: usize = 3;

/// A small Llama.
fn config() -> DecoderConfig {
    DecoderConfig {
        context: 8,
        n_embd: 16,
        n_head: 4,
        n_kv_head: 2,
        n_ffn: 24,
        n_layer: 2,
        init_std: 0.3,
        ..DecoderConfig::llama(11)
    }
}

/// Adapters for every layer that a decoder has.
fn lora(config: &DecoderConfig) -> LoraConfig {
    let all = match config.activation {
        Activation::Glu | Activation::Geglu | Activation::Swiglu => &LoraTarget::ALL[..],
        Activation::Relu | Activation::Gelu | Activation::GeluTanh => &LoraTarget::ALL[..4],
    };
    LoraConfig { rank: RANK, alpha: 5.0, dropout: 0.3, targets: all.to_vec() }
}

fn base() -> Decoder {
    Decoder::new(config()).expect("a small Llama")
}

fn adapted() -> Decoder {
    base().with_adapters(&lora(&config())).expect("it has these layers")
}

/// A base and its numbers.
fn base_params<R: Real>(base: &Decoder) -> Vec<R> {
    base.layout().initial(&mut Random::new(3))
}

/// Numbers with adapters that change something: none of them is zero.
fn trained<R: Real>(model: &Decoder, seed: u64) -> Vec<R> {
    let mut random = Random::new(seed);
    let mut params: Vec<R> = model.with_fresh_adapters(&base_params(&model.base()), &mut random);
    for w in &mut params[model.base_len()..] {
        *w = R::from_f64(w.to_f64() + random.gauss(0.0, 0.2));
    }
    params
}

fn training() -> Mode {
    Mode { dropout: Some(CounterRng::new(7)), smoothing: 0.1 }
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

fn bits<R: Real>(numbers: &[R]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// The losses of all tokens, and the gradient.
fn learn<E: Engine>(
    engine: &mut E,
    model: &Decoder,
    params: &[E::Real],
    batch: &Batch,
    mode: Mode,
) -> (Vec<f64>, Vec<E::Real>) {
    let mut gradient = vec![E::Real::from_f64(f64::NAN); model.layout().trainable_len()];
    engine.gradient(model, params, batch, mode, &mut gradient);
    (engine.token_losses().to_vec(), gradient)
}

/// The logits after each of some tokens.
fn logits<E: Reader>(engine: &mut E, model: &Decoder, params: &E::Params) -> Vec<f64> {
    let mut session = Session::single(engine, model, params);
    [3, 1, 4, 1, 5, 9, 2, 6].iter().flat_map(|token| session.feed(0, &[*token]).to_vec()).collect()
}

/// The greatest difference, of the greatest number.
fn gap(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let greatest = theirs.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / greatest).fold(0.0, |most: f64, gap| {
        if gap <= most { most } else { gap } // a NaN is the greatest
    })
}

#[test]
fn the_base_comes_first_and_is_frozen() {
    let (base, model) = (base(), adapted());
    let layout = model.layout();
    let (before, added) = layout.specs().split_at(base.layout().specs().len());
    for (spec, own) in before.iter().zip(base.layout().specs()) {
        assert_eq!((&spec.name, spec.range()), (&own.name, own.range()));
        assert!(own.trainable && !spec.trainable && spec.grad_range().is_none(), "{}", spec.name);
    }
    let mut expected = Vec::new();
    for layer in 0..2 {
        for (part, outputs, inputs) in [
            ("self_attn.q_proj", 16, 16),
            ("self_attn.k_proj", 8, 16),
            ("self_attn.v_proj", 8, 16),
            ("self_attn.o_proj", 16, 16),
            ("mlp.gate_proj", 24, 16),
            ("mlp.up_proj", 24, 16),
            ("mlp.down_proj", 16, 24),
        ] {
            let name = format!("model.layers.{layer}.{part}");
            expected.push((format!("{name}.lora_A.weight"), [RANK, inputs]));
            expected.push((format!("{name}.lora_B.weight"), [outputs, RANK]));
        }
    }
    let said: Vec<_> = added.iter().map(|spec| (spec.name.clone(), [spec.rows, spec.cols])).collect();
    assert_eq!(said, expected);
    assert!(added.iter().all(|spec| spec.trainable && spec.is_adapter() && spec.kind == ParamKind::Matrix));
    assert!(!before.iter().any(|spec| spec.is_adapter()));
    let count: usize = expected.iter().map(|(_, [rows, cols])| rows * cols).sum();
    assert_eq!(layout.trainable_len(), count);
    assert_eq!(model.base_len(), base.layout().len());
    assert_eq!(model.base().layout(), base.layout());
    assert_eq!((base.adapters(), base.base_len()), (None, base.layout().len()));
    assert_eq!(model.adapters(), Some(&lora(&config())));
}

/// Whatever has an adapter, the names say which layers: the order in which they were asked for does not matter.
#[test]
fn layers_are_chosen() {
    let targets = vec![LoraTarget::DownProj, LoraTarget::KProj];
    let model = base().with_adapters(&LoraConfig { targets, ..lora(&config()) }).expect("it has both");
    let names: Vec<&str> = model.layout().trainable().map(|(spec, ..)| spec.name.as_str()).collect();
    assert_eq!(names.len(), 8);
    for (at, part) in ["0.self_attn.k_proj", "0.mlp.down_proj", "1.self_attn.k_proj"].iter().enumerate() {
        assert_eq!(names[2 * at], format!("model.layers.{part}.lora_A.weight"));
        assert_eq!(names[2 * at + 1], format!("model.layers.{part}.lora_B.weight"));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let error = |change: &dyn Fn(&mut LoraConfig)| {
        let mut config = lora(&config());
        change(&mut config);
        base().with_adapters(&config).expect_err("it cannot be").to_string()
    };
    for (words, text) in [
        ("rank of 0", error(&|c| c.rank = 0)),
        ("alpha is 0", error(&|c| c.alpha = 0.0)),
        ("alpha is NaN", error(&|c| c.alpha = f64::NAN)),
        ("dropout of 1", error(&|c| c.dropout = 1.0)),
        ("dropout of -0.1", error(&|c| c.dropout = -0.1)),
        ("Choose among q_proj", error(&|c| c.targets.clear())),
        ("more parameters than", error(&|c| c.rank = 1 << 30)),
        ("more parameters than", error(&|c| c.rank = usize::MAX)),
        ("adapters already", adapted().with_adapters(&lora(&config())).expect_err("twice").to_string()),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let plain = DecoderConfig { activation: Activation::Gelu, ..config() };
    let plain = Decoder::new(plain).expect("a decoder").with_adapters(&lora(&config()));
    let text = plain.expect_err("it has no gate").to_string();
    assert!(text.contains("no gate_proj") && text.contains("q_proj") && text.contains("fc2"), "{text}");
    // A head that shares the table of tokens is the reason why no head is among the targets.
    for name in ["lm_head", "embed_tokens"] {
        let text = name.parse::<LoraTarget>().expect_err("no target").to_string();
        assert!(
            text.contains(name) && text.contains("shares the table") && text.contains("merged"),
            "{text}"
        );
    }
    let text = "fc1".parse::<LoraTarget>().expect_err("no target").to_string();
    assert!(text.contains("\"fc1\"") && text.contains("gate_proj"), "{text}");
    for target in LoraTarget::ALL {
        assert_eq!(target.name().parse(), Ok(target));
        assert_eq!(serde_json::to_value(target).expect("a name"), target.name());
    }
}

/// Nothing is drawn for the base, so the same seed gives the same adapter on every base.
#[test]
fn fresh_adapters_come_from_a_seed() {
    let model = adapted();
    let base_params: Vec<f64> = base_params(&base());
    let params = model.with_fresh_adapters(&base_params, &mut Random::new(8));
    assert_eq!(bits(&params[..model.base_len()]), bits(&base_params));
    let other = model.with_fresh_adapters(&vec![0.0; base_params.len()], &mut Random::new(8));
    assert_eq!(params[model.base_len()..], other[model.base_len()..]);
    let another = model.with_fresh_adapters(&base_params, &mut Random::new(9));
    assert_ne!(params, another);
    for (spec, range, _) in model.layout().trainable() {
        let (own, is_b) = (&params[range], spec.name.contains("lora_B"));
        let bound = (spec.cols as f64).sqrt().recip();
        assert!(own.iter().all(|x| if is_b { *x == 0.0 } else { x.abs() <= bound }), "{}", spec.name);
        assert_eq!(own.iter().any(|x| x.abs() > 0.5 * bound), !is_b, "{}", spec.name);
    }
    // The numbers from a parameter on are those that would follow if the ones before it took none.
    let layout = base().layout().clone();
    assert_eq!(
        layout.initial::<f64>(&mut Random::new(1)),
        layout.initial_from::<f64>(0, &mut Random::new(1))
    );
    let last = layout.specs().len() - 1;
    let rest: Vec<f64> = layout.initial_from(last, &mut Random::new(1));
    assert_eq!(rest.len(), layout.specs()[last].range().len());
    assert!(layout.initial_from::<f64>(last + 1, &mut Random::new(1)).is_empty());
}

/// Losses while training (where what an adapter reads is dropped), losses without, and what is generated with weights of any
/// precision, in every variant of the decoder.
#[test]
fn before_the_first_step_it_is_the_base_bit_for_bit() {
    fn check<E: Engine>(what: &str, mut engine: E, [base, model]: [&Decoder; 2], batch: &Batch) {
        let base_params: Vec<E::Real> = base_params(base);
        let params = model.with_fresh_adapters(&base_params, &mut Random::new(4));
        for mode in [Mode::default(), training()] {
            let (ours, _) = learn(&mut engine, model, &params, batch, mode);
            let (theirs, _) = learn(&mut engine, base, &base_params, batch, mode);
            assert_eq!(bits(&ours), bits(&theirs), "{what}, {mode:?}");
        }
    }
    for (name, config) in variants::variants() {
        let base = Decoder::new(config.clone()).expect("a variant is right");
        let model = base.clone().with_adapters(&lora(&config)).expect("it has these layers");
        let batch = variants::batch(&config);
        check(&format!("{name}, scalar"), ScalarEngine::new(), [&base, &model], &batch);
        check(&format!("{name}, fast"), fast(), [&base, &model], &batch);
    }
    let (base, model) = (base(), adapted());
    let base_params: Vec<f32> = base_params(&base);
    let params = model.with_fresh_adapters(&base_params, &mut Random::new(4));
    let ours = logits(&mut fast(), &model, &params);
    assert_eq!(bits(&ours), bits(&logits(&mut fast(), &base, &base_params)), "fast, in a session");
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        let stored = |model: &Decoder, params: &[f32]| {
            logits(&mut InferenceEngine::new(2), model, &StoredParams::new(model.layout(), params, dtype))
        };
        assert_eq!(bits(&stored(&model, &params)), bits(&stored(&base, &base_params)), "{dtype}");
    }
}

/// With `B` zero, `A` has no gradient yet: it moves in the second step.
#[test]
fn only_adapters_move() {
    fn check<E: Engine>(what: &str, engine: E) {
        let model = adapted();
        let params = model.with_fresh_adapters(&base_params(&base()), &mut Random::new(5));
        let settings = Settings { dropout_seed: Some(3), learning_rate: 0.01, ..Settings::default() };
        let mut trainer = Trainer::from_params(model, engine, settings, params.clone());
        let batch = variants::batch(&config());
        let mut before = params.clone();
        for step in 1..=3 {
            assert!(trainer.step(&batch).loss.is_finite());
            for spec in trainer.model().layout().specs() {
                let pairs = before[spec.range()].iter().zip(&trainer.params()[spec.range()]);
                let moved = pairs.filter(|(a, b)| a.to_f64().to_bits() != b.to_f64().to_bits()).count();
                let moves = spec.name.contains("lora_B") || spec.name.contains("lora_A") && step > 1;
                let expected = if moves { spec.range().len() } else { 0 };
                assert_eq!(moved, expected, "{what}, step {step}: {}", spec.name);
            }
            before = trainer.params().to_vec();
        }
        assert_eq!(trainer.gradient().len(), trainer.model().layout().trainable_len(), "{what}");
    }
    check("scalar", ScalarEngine::new());
    check("fast", fast());
}

/// The buffers of a training are those of the adapters, and it learns: with both optimizers, saved and resumed bit for bit.
#[test]
fn a_run_remembers_nothing_for_the_base() {
    let batch = variants::batch(&config());
    for method in METHODS {
        let model = adapted();
        let trainable = model.layout().trainable_len();
        assert!(trainable < model.layout().len() / 2);
        let mut optimizer = method.optimizer(model.layout(), &ThreadPool::new(1));
        let remembered: usize = optimizer.state().iter().map(|(_, numbers)| numbers.len()).sum();
        let each = if method == method::Method::Muon { 1 } else { 2 };
        assert_eq!(remembered, each * trainable, "{method:?}");
        let settings = Settings { weighting: false, learning_rate: 0.01, ..SETTINGS };
        let trainer = |seed| method.on_fast(adapted(), settings, 1, trained(&adapted(), seed));
        let mut whole = trainer(5);
        assert_eq!(whole.gradient().len(), trainable);
        let first = whole.step(&batch).loss;
        let folder = tempfile::tempdir().expect("a folder");
        for step in 1..30 {
            if step == 10 {
                whole.save_state(folder.path(), "caller").expect("it can be saved");
            }
            whole.step(&batch);
        }
        let last = whole.step(&batch).loss;
        assert!(last < first - 0.1, "{method:?}: {first} at first, {last} at last");
        let saved = std::fs::metadata(folder.path().join("training.safetensors")).expect("a state").len();
        // Adapters, their averages and moments, and a header.
        assert!(saved < 4 * (2 + each as u64) * trainable as u64 + 1000, "{method:?}: {saved} bytes");
        let mut rest = trainer(6);
        rest.restore_state::<String>(folder.path()).expect("the same base");
        (10..31).for_each(|_| _ = rest.step(&batch));
        assert_eq!(bits(rest.params()), bits(whole.params()), "{method:?}");
    }
}

#[test]
fn moments_are_those_of_the_adapters() {
    let model = adapted();
    let mut adam: Box<dyn Optimizer<f32>> = Box::new(Adam::new(model.layout(), AdamSettings::MICROGPT));
    let lengths: Vec<usize> = adam.state().iter().map(|(_, numbers)| numbers.len()).collect();
    assert_eq!(lengths, [model.layout().trainable_len(); 2]);
}

#[test]
fn gradients_are_what_differences_say() {
    let (model, batch) = (adapted(), variants::batch(&config()));
    let mut params: Vec<f64> = trained(&model, 6);
    let mut engine = ScalarEngine::new();
    for mode in [Mode::default(), training()] {
        let (_, gradient) = learn(&mut engine, &model, &params, &batch, mode);
        let mut scratch = gradient.clone();
        for (spec, range, grad_range) in model.layout().trainable() {
            // A few numbers of each matrix, at other places in each.
            for at in (spec.offset % 11..range.len()).step_by(range.len() / 3) {
                let (w, place) = (params[range.start + at], range.start + at);
                let mut moved = |to: f64| {
                    params[place] = to;
                    engine.gradient(&model, &params, &batch, mode, &mut scratch)
                };
                let numeric = (moved(w + 1e-5) - moved(w - 1e-5)) / 2e-5;
                params[place] = w;
                let grad = gradient[grad_range.start + at];
                let close = (grad - numeric).abs() <= 1e-8 + 1e-5 * numeric.abs();
                assert!(close, "{}, number {at}, {mode:?}: {grad}, but {numeric}", spec.name);
            }
        }
    }
}

/// Scalar and fast, with dropout, packed and padded, in stages that are computed again, and in several shards.
#[test]
fn engines_agree() {
    for (name, config) in variants::variants() {
        let base = Decoder::new(config.clone()).expect("a variant is right");
        let model = base.with_adapters(&lora(&config)).expect("it has these layers");
        let packed = variants::batch(&config);
        let params: Vec<f32> = trained(&model, 7);
        let wide: Vec<f64> = params.iter().map(|&w| f64::from(w)).collect();
        for (layout, batch) in [("packed", &packed), ("padded", &packed.padded())] {
            for mode in [Mode::default(), training()] {
                let what = format!("{name}, {layout}, {mode:?}");
                let (losses, exact) = learn(&mut ScalarEngine::new(), &model, &wide, batch, mode);
                let plain = learn(&mut fast(), &model, &params, batch, mode);
                let gradient: Vec<f64> = plain.1.iter().map(|&g| f64::from(g)).collect();
                assert!(gap(&plain.0, &losses) < 1e-5, "{what}: losses, {:e}", gap(&plain.0, &losses));
                assert!(gap(&gradient, &exact) < 2e-5, "{what}: gradients, {:e}", gap(&gradient, &exact));
                let again = learn(&mut fast().with_checkpointing(), &model, &params, batch, mode);
                assert!(again == plain, "{what}: computed again");
            }
        }
        // Padding changes nothing. (With dropout it does: which numbers are dropped depends on their row.)
        let of = |batch: &Batch| learn(&mut ScalarEngine::new(), &model, &wide, batch, Mode::default()).1;
        assert!(gap(&of(&packed.padded()), &of(&packed)) < 1e-12, "{name}");
    }
}

/// The numbers that are dropped do not depend on the shards, nor on the micro-batches of a step.
#[test]
fn shards_and_micro_batches_drop_alike() {
    let model = adapted();
    let mut large = Batch::new();
    (0..64).for_each(|row| large.push((0..9).map(|at| (row + at * (row % 3 + 1)) % 11)));
    assert!(FastEngine::shards(64, large.len()) > 1, "several shards");
    let params: Vec<f32> = trained(&model, 8);
    let wide: Vec<f64> = params.iter().map(|&w| f64::from(w)).collect();
    let (_, exact) = learn(&mut ScalarEngine::new(), &model, &wide, &large, training());
    let (_, ours) = learn(&mut FastEngine::new(ThreadPool::new(2)), &model, &params, &large, training());
    let ours: Vec<f64> = ours.iter().map(|&g| f64::from(g)).collect();
    assert!(gap(&ours, &exact) < 2e-5, "{:e}", gap(&ours, &exact));
    let step = |batches: &mut [Batch]| {
        let settings = Settings { dropout_seed: Some(3), ..Settings::default() };
        let mut trainer = Trainer::from_params(model.clone(), ScalarEngine::new(), settings, wide.clone());
        trainer.step_accumulated(batches);
        trainer.gradient().to_vec()
    };
    let mut parts = [Batch::new(), Batch::new(), Batch::new()];
    for (part, range) in parts.iter_mut().zip([0..10, 10..11, 11..64]) {
        part.copy_sequences(&large, range, 1.0);
    }
    assert!(gap(&step(&mut parts), &step(&mut [large])) < 1e-12);
}

/// Dropout is on what adapters read, and only during training.
#[test]
fn nothing_is_dropped_outside_training() {
    let never = LoraConfig { dropout: 0.0, ..lora(&config()) };
    let (model, batch) = (adapted(), variants::batch(&config()));
    let never = base().with_adapters(&never).expect("it has these layers");
    let params: Vec<f64> = trained(&model, 9);
    let of = |model: &Decoder, mode| learn(&mut ScalarEngine::new(), model, &params, &batch, mode);
    assert_eq!(of(&model, Mode::default()), of(&never, Mode::default()));
    assert_ne!(of(&model, training()), of(&never, training()));
    assert_eq!(of(&never, training()), of(&never, Mode { dropout: None, ..training() }));
    let mut engine = ScalarEngine::new();
    assert_eq!(logits(&mut engine, &model, &params), logits(&mut engine, &never, &params));
}

/// Merged, the base says what base and adapters said. And the two differ from the base.
#[test]
fn merged_is_adapted() {
    for (name, config) in variants::variants() {
        let base = Decoder::new(config.clone()).expect("a variant is right");
        let model = base.clone().with_adapters(&lora(&config)).expect("it has these layers");
        let batch = variants::batch(&config);
        let params: Vec<f64> = trained(&model, 10);
        let mut engine = ScalarEngine::new();
        let mut losses = |model: &Decoder, params: &[f64]| {
            engine.loss(model, params, &batch);
            engine.token_losses().to_vec()
        };
        let merged = model.merge(&params);
        let (whole, apart) = (losses(&base, &merged), losses(&model, &params));
        assert!(gap(&whole, &apart) < 1e-12, "{name}: {:e}", gap(&whole, &apart));
        assert!(gap(&whole, &losses(&base, &params[..model.base_len()])) > 1e-3, "{name}");
        // In 32 bits, each weight is rounded once.
        let narrow: Vec<f32> = trained(&model, 10);
        for (ours, exact) in model.merge(&narrow).iter().zip(&merged) {
            assert!(
                (f64::from(*ours) - exact).abs() <= 1e-6 * exact.abs().max(0.1),
                "{name}: {ours}, {exact}"
            );
        }
    }
    let model = adapted();
    let fresh = model.with_fresh_adapters(&base_params::<f32>(&base()), &mut Random::new(4));
    assert_eq!(bits(&model.merge(&fresh)), bits(&base_params::<f32>(&base())), "B is zero");
    assert_eq!(bits(&base().merge(&base_params::<f32>(&base()))), bits(&base_params::<f32>(&base())));
}

/// The matrix that is added, written out: `W + alpha / rank · B·A`.
#[test]
fn merging_by_hand() {
    let model = adapted();
    let params: Vec<f64> = trained(&model, 11);
    let merged = model.merge(&params);
    let find =
        |name: String| model.layout().specs().iter().find(|spec| spec.name == name).expect("it is there");
    for spec in base().layout().specs() {
        let layer = spec.name.strip_suffix(".weight").expect("a weight");
        if spec.kind != ParamKind::Matrix {
            assert_eq!(params[spec.range()], merged[spec.range()], "{layer}");
            continue;
        }
        let [a, b] = ["A", "B"].map(|part| &params[find(format!("{layer}.lora_{part}.weight")).range()]);
        for at in 0..spec.rows * spec.cols {
            let (row, col) = (at / spec.cols, at % spec.cols);
            let sum: f64 = (0..RANK).map(|r| b[row * RANK + r] * a[r * spec.cols + col]).sum();
            let expected = params[spec.offset + at] + 5.0 / 3.0 * sum;
            assert!((merged[spec.offset + at] - expected).abs() < 1e-14, "{layer}, {row}, {col}");
        }
    }
}

/// Several adapters on one base: only the numbers behind it change. And a stored base can have them, too.
#[test]
fn adapters_are_swapped() {
    let model = adapted();
    let [first, second]: [Vec<f32>; 2] = [12, 13].map(|seed| trained(&model, seed));
    let (base_len, base) = (model.base_len(), base_params::<f32>(&base()));
    let swapped = [&base[..], &second[base_len..]].concat();
    let of = |params: &[f32]| logits(&mut fast(), &model, params);
    assert_eq!(of(&swapped), of(&second));
    assert!(gap(&of(&first), &of(&second)) > 1e-2);
    let plain = model.base();
    let mut spared = Vec::new();
    // In 8 bits, the inputs of each product are rounded as well as the weights.
    for (dtype, tolerance) in [(Dtype::F32, 1e-5), (Dtype::Bf16, 0.05), (Dtype::Int8, 0.1)] {
        let stored = StoredParams::new(model.layout(), &second, dtype);
        let said = logits(&mut InferenceEngine::new(2), &model, &stored);
        assert!(gap(&said, &of(&second)) < tolerance, "{dtype}: {:e}", gap(&said, &of(&second)));
        spared.push(stored.bytes() - StoredParams::new(plain.layout(), &base, dtype).bytes());
    }
    // Adapters are stored in 32 bits, whatever the base is stored in.
    assert!(spared.iter().all(|bytes| *bytes == spared[0] && *bytes >= 4 * model.layout().trainable_len()));
}
