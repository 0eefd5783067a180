//! The normalized transformer is the one of the paper: PyTorch's figures for a block and for a model, on both
//! engines. Its variants differ, its sizes are checked, and of the two mistakes in the code that was published with
//! the paper, neither is made here.

use std::collections::BTreeMap;

use gradus::data::Batch;
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{
    AlphaSign, Decoder, DecoderConfig, LogitScale, Mode, Model, OutputAxis, Sphere, SphereConfig,
};
use gradus::optim::{Adam, AdamSettings, Decay, Schedule, constrain};
use gradus::params::{BoundParams, Init, Layout, Param, ParamKind, ParamSpec, UnitNorm};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::Rotation;
use gradus::thread_pool::ThreadPool;
use gradus::train::{Settings, Trainer};
use gradus::{Engine, Tensor};
use serde::Deserialize;

#[path = "common/model_adapter.rs"]
mod model_adapter;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;

use model_adapter::{ModelAdapter, TokenColumn, elements, tokens};
use sphere_variants::{sphere_batch, sphere_variants, sphere_with_params};

#[derive(Deserialize)]
struct Golden {
    width: usize,
    heads: usize,
    rope_base: f64,
    block: GoldenBlock,
    model: GoldenModel,
    training: GoldenTraining,
}

/// A block by itself; its loss is the sum of all outputs, each times its `upstream`.
#[derive(Deserialize)]
struct GoldenBlock {
    input: Numbers,
    params: BTreeMap<String, Numbers>,
    attention: Numbers,
    output: Numbers,
    upstream: Numbers,
    input_grad: Numbers,
    grads: BTreeMap<String, Numbers>,
}

/// A model with a single block, and its mean loss over a sequence.
#[derive(Deserialize)]
struct GoldenModel {
    ids: Vec<usize>,
    targets: Vec<usize>,
    params: BTreeMap<String, Numbers>,
    logits: Numbers,
    loss: f64,
    grads: BTreeMap<String, Numbers>,
}

/// The losses of a training of that model with AdamW: a cosine to zero, on sequences that [`sequence`] makes.
#[derive(Deserialize)]
struct GoldenTraining {
    steps: usize,
    learning_rate: f64,
    losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Numbers {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

fn golden() -> (Golden, Sphere) {
    let golden: Golden = serde_json::from_str(include_str!("golden/ngpt.json")).expect("ngpt.json parses");
    let config = SphereConfig {
        context: golden.model.ids.len(),
        n_layer: 1,
        n_embd: golden.width,
        n_head: golden.heads,
        n_ffn: 4 * golden.width,
        rope_base: golden.rope_base,
        ..SphereConfig::paper(golden.model.logits.cols)
    };
    (golden, Sphere::new(config).expect("it fits"))
}

/// The parameters of a layout, by their names; `other` where there is none of that name.
fn by_name<'a>(layout: &Layout, params: &'a BTreeMap<String, Numbers>, other: &'a [f64]) -> Vec<f64> {
    let numbers = |spec: &ParamSpec| match params.get(&spec.name) {
        Some(numbers) => {
            assert_eq!((spec.rows, spec.cols), (numbers.rows, numbers.cols), "the shape of {}", spec.name);
            numbers.data.clone()
        }
        None => other.iter().copied().cycle().take(spec.range().len()).collect(),
    };
    layout.specs().iter().flat_map(numbers).collect()
}

/// The numbers that an engine finds for the tokens of a batch, and the gradient of their mean.
fn evaluate<E: Engine>(
    engine: &mut E,
    model: &impl Model,
    params: &[f64],
    batch: &Batch,
) -> (Vec<f64>, Vec<f64>) {
    let params: Vec<E::Real> = params.iter().map(|&x| E::Real::from_f64(x)).collect();
    let mut gradient = vec![E::Real::from_f64(f64::NAN); params.len()];
    engine.gradient(model, &params, batch, Mode::default(), &mut gradient);
    (engine.token_losses().to_vec(), gradient.into_iter().map(Real::to_f64).collect())
}

/// Asserts that numbers agree within a share of the greatest of them. Returns the gap.
fn close(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) -> f64 {
    assert_eq!(ours.len(), theirs.len(), "{what}: how many");
    let greatest = theirs.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert!(greatest > 0.0, "{what} is zero");
    let gaps = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / greatest);
    let gap = gaps.fold(0.0, |most: f64, gap| if gap <= most { most } else { gap });
    assert!(gap <= tolerance, "{what}: a gap of {gap:.1e}");
    gap
}

/// What is looked at of a block whose input is a parameter.
struct OfBlock<'m> {
    model: &'m Sphere,
    input: Param,
    attention: bool,
    upstream: Vec<f64>,
}

impl TokenColumn for OfBlock<'_> {
    fn of<T: Tensor>(&self, w: BoundParams<'_, T>, _: &Batch, _: Mode) -> T {
        let (block, h) = (&self.model.blocks()[0], w[self.input]);
        let mut one = Batch::new();
        one.push(vec![0; h.shape().0 + 1]);
        let y = elements(match self.attention {
            true => block.attend(w, h, (one.sequences(), Mode::default()), None),
            false => block.forward(w, h, one.sequences(), Mode::default(), None),
        });
        y * y.constant(self.upstream.len(), 1, &self.upstream)
    }
}

fn a_block<E: Engine>(engine: &mut E, tolerance: f64) {
    let (Golden { block, .. }, model) = golden();
    let mut layout = model.layout().clone();
    let input =
        layout.add(ParamSpec::matrix("input", block.input.rows, block.input.cols, Init::Constant(0.0)));
    let mut params = block.params;
    params.insert("input".to_owned(), block.input);
    let numbers = by_name(&layout, &params, &[0.5]); // embeddings and head, which take no part
    let count = block.output.data.len();
    let look = |attention, upstream| {
        ModelAdapter::new(layout.clone(), OfBlock { model: &model, input, attention, upstream })
    };
    let mut gap = 0.0_f64;
    for (attention, theirs) in [(true, &block.attention), (false, &block.output)] {
        let (ours, _) = evaluate(engine, &look(attention, vec![1.0; count]), &numbers, &tokens(count));
        gap = gap.max(close("the output of a block", &ours, &theirs.data, tolerance));
    }
    // The loss is a mean over the tokens; theirs is the sum.
    let upstream = block.upstream.data.iter().map(|x| x * count as f64).collect();
    let (_, gradient) = evaluate(engine, &look(false, upstream), &numbers, &tokens(count));
    let mut grads = block.grads;
    grads.insert("input".to_owned(), block.input_grad);
    let compared = layout.specs().iter().filter_map(|spec| Some((spec, grads.get(&spec.name)?)));
    let mut seen = 0;
    for (spec, theirs) in compared {
        let what = format!("the gradient of {} in a block", spec.name);
        gap = gap.max(close(&what, &gradient[spec.range()], &theirs.data, tolerance));
        seen += 1;
    }
    assert_eq!((seen, grads.len()), (13, 13));
    println!("a block: within {gap:.1e}");
}

fn a_model<E: Engine>(engine: &mut E, tolerance: f64) {
    let (Golden { model: golden, .. }, model) = golden();
    let params = by_name(model.layout(), &golden.params, &[]);
    let mut batch = Batch::new();
    batch.push(golden.ids.iter().chain(golden.targets.last()).copied());
    assert_eq!(batch.targets(), golden.targets);
    let (losses, gradient) = evaluate(engine, &model, &params, &batch);
    let loss = losses.iter().sum::<f64>() / losses.len() as f64;
    let mut gap = close("the loss", &[loss], &[golden.loss], tolerance);
    for spec in model.layout().specs() {
        let what = format!("the gradient of {}", spec.name);
        gap = gap.max(close(&what, &gradient[spec.range()], &golden.grads[&spec.name].data, tolerance));
    }
    assert_eq!(golden.grads.len(), model.layout().specs().len());
    // The logits, token by token with a cache.
    let narrow: Vec<E::Real> = params.iter().map(|&x| E::Real::from_f64(x)).collect();
    let mut session = Session::single(engine, &model, &narrow);
    let logits: Vec<f64> = golden.ids.iter().flat_map(|id| session.feed(0, &[*id]).to_vec()).collect();
    gap = gap.max(close("the logits", &logits, &golden.logits.data, tolerance));
    println!("a model: within {gap:.1e}");
}

#[test]
fn a_block_is_pytorchs() {
    a_block(&mut ScalarEngine::new(), 1e-10);
    a_block(&mut fast(), 1e-5);
}

#[test]
fn a_model_is_pytorchs() {
    a_model(&mut ScalarEngine::new(), 1e-10);
    a_model(&mut fast(), 1e-5);
}

/// Six tokens with a rule that can be learned, different in every step.
fn sequence(step: usize, vocab: usize) -> Vec<usize> {
    let mut ids = vec![step % vocab];
    (0..5).for_each(|at| ids.push((3 * ids[at] + 1 + at % 2) % vocab));
    ids
}

fn a_training<E: Engine>(engine: E, tolerance: f64) {
    let (Golden { model: golden, training, .. }, model) = golden();
    let GoldenTraining { steps, learning_rate, losses } = training;
    let params = by_name(model.layout(), &golden.params, &[]).into_iter().map(E::Real::from_f64).collect();
    let adam = AdamSettings { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, decay_embeddings: true };
    let optimizer = Box::new(Adam::new(model.layout(), adam));
    let schedule = Schedule { warmup: 0, decay: Decay::Cosine { floor: 0.0 } };
    let settings = Settings { steps, learning_rate, schedule, ..Settings::default() };
    let mut trainer = Trainer::with_optimizer(model, engine, optimizer, settings, params);
    let mut batch = Batch::new();
    let ours: Vec<f64> = (0..steps)
        .map(|step| {
            batch.clear();
            batch.push(sequence(step, golden.logits.cols));
            trainer.step(&batch).loss
        })
        .collect();
    assert_eq!(losses.len(), 200);
    assert!(losses[199] < 0.5 * losses[0], "something is learned");
    let gap = close("the losses of a training", &ours, &losses, tolerance);
    println!("200 steps: within {gap:.1e}");
}

/// Step by step, from the same parameters on the same sequences.
#[test]
fn a_training_of_200_steps_is_pytorchs() {
    a_training(ScalarEngine::new(), 1e-10);
    a_training(fast(), 1e-4);
}

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// What the layout says of each kind of matrix, so that it is the same as the paper's section 2.6.
#[test]
fn lengths_are_along_the_axis_of_the_hidden_state() {
    for (axis, outputs) in [(OutputAxis::Embedding, UnitNorm::Cols), (OutputAxis::Last, UnitNorm::Rows)] {
        let (_, small) = sphere_variants().swap_remove(0);
        let model = Sphere::new(SphereConfig { output_axis: axis, ..small }).expect("it fits");
        for spec in model.layout().specs() {
            let output = spec.name.contains("o_proj") || spec.name.contains("down_proj");
            let expected = match spec.kind {
                ParamKind::Scale => None,
                _ if output => Some(outputs),
                _ => Some(UnitNorm::Rows),
            };
            assert_eq!(spec.constraint, expected, "{axis:?}: {}", spec.name);
            let width = model.config().n_embd;
            let along = |vectors| if vectors == UnitNorm::Rows { spec.cols } else { spec.rows };
            if axis == OutputAxis::Embedding && spec.constraint.is_some() {
                assert_eq!(spec.constraint.map(along), Some(width), "{}", spec.name);
                let Init::Normal(std) = spec.init else { panic!("{} is drawn", spec.name) };
                assert_eq!(std, (width as f64).sqrt().recip(), "{}", spec.name);
            }
        }
    }
}

/// The loss of one batch.
fn loss(config: &SphereConfig, params: &[f64]) -> f64 {
    let model = Sphere::new(config.clone()).expect("it fits");
    ScalarEngine::new().loss(&model, params, &sphere_batch(config))
}

/// Two variants that have the same parameters compute different things, and `|α|` is what it says.
#[test]
fn variants_differ_and_absolute_values_have_no_sign() {
    let (_, small) = sphere_variants().swap_remove(0);
    let (model, params) = sphere_with_params(&small);
    let mut losses = vec![("the paper's", loss(&small, &params))];
    for (name, config) in sphere_variants().into_iter().skip(1) {
        let same = Sphere::new(config.clone()).expect("it fits").layout().len() == params.len();
        if same && config.output_axis == small.output_axis && config.dropout == 0.0 {
            losses.push((name, loss(&config, &params)));
        }
    }
    assert_eq!(losses.len(), 7);
    for (at, (name, loss)) in losses.iter().enumerate() {
        for (other, its) in &losses[..at] {
            assert!((loss - its).abs() > 1e-6, "{name} and {other}: {loss}");
        }
    }
    let mut turned = params.clone();
    let alphas = model.layout().specs().iter().filter(|spec| spec.name.ends_with("alpha"));
    for spec in alphas {
        turned[spec.range()].iter_mut().for_each(|x| *x = -*x);
    }
    let signed = SphereConfig { alpha_sign: AlphaSign::Signed, ..small.clone() };
    assert_eq!(loss(&small, &turned), loss(&small, &params));
    assert!((loss(&signed, &turned) - loss(&signed, &params)).abs() > 1e-6);
}

/// Factors are used at the size that the configuration says, whatever size they are stored at.
#[test]
fn the_scale_of_the_logits_is_as_large_as_it_says() {
    let (_, small) = sphere_variants().swap_remove(0);
    let logits = |logit_scale| {
        let config = SphereConfig { logit_scale, ..small.clone() };
        let model = Sphere::new(config).expect("it fits");
        let mut params: Vec<f64> = model.layout().initial(&mut Random::new(5));
        // The factors of the logits are no part of what is drawn, so the other numbers are the same.
        constrain(model.layout(), &mut params);
        Session::single(&mut ScalarEngine::new(), &model, &params).feed(0, &[3, 1, 4]).to_vec()
    };
    let one = logits(LogitScale::Fixed { value: 1.0 });
    assert!(one.iter().all(|cosine| cosine.abs() <= 1.0), "cosines: {one:?}");
    for scale in [
        LogitScale::Fixed { value: 3.0 },
        LogitScale::Scalar { start: 3.0 },
        LogitScale::PerToken { start: 3.0 },
    ] {
        let three: Vec<f64> = one.iter().map(|x| 3.0 * x).collect();
        close(&format!("{scale:?}"), &logits(scale), &three, 1e-14);
    }
}

#[test]
fn configurations_that_no_model_can_have() {
    type Change = fn(&mut SphereConfig);
    let wrong: [(&str, Change); 9] = [
        ("n_layer is 0", |c| c.n_layer = 0),
        ("3 heads do not divide a width of 128", |c| c.n_head = 3),
        ("even width, not 1", |c| c.n_head = 128),
        ("base", |c| c.rope_base = f64::NAN),
        ("more parameters", |c| c.n_ffn = usize::MAX),
        ("alpha is 0", |c| c.alpha = 0.0),
        ("alpha is NaN", |c| c.alpha = f64::NAN),
        ("the scale of the logits is inf", |c| c.logit_scale = LogitScale::Scalar { start: f64::INFINITY }),
        ("the scale of the logits is -1", |c| c.logit_scale = LogitScale::Fixed { value: -1.0 }),
    ];
    for (problem, change) in wrong {
        let mut config = SphereConfig::paper(27);
        config.check().expect("the preset is right");
        change(&mut config);
        let error = Sphere::new(config).expect_err(problem);
        assert!(error.to_string().contains(problem), "{problem:?} is not in {error}");
    }
}

/// The baseline adds what attention answers to what came in, not to a normalised copy of it: with blocks that answer
/// nothing, the embeddings come out as they went in.
#[test]
fn the_baseline_adds_to_what_was_not_normalised() {
    let config = DecoderConfig { dropout: 0.0, final_norm: false, ..DecoderConfig::dialog(7) };
    let config = DecoderConfig { n_embd: 8, n_ffn: 12, context: 4, ..config };
    let model = Decoder::new(config).expect("it fits");
    let mut params: Vec<f64> = model.layout().initial(&mut Random::new(3));
    for spec in model.layout().specs() {
        if spec.name.contains("o_proj") || spec.name.contains("down_proj") {
            params[spec.range()].fill(0.0);
        }
    }
    let matrix = |name: &str| {
        let spec = model.layout().specs().iter().find(|spec| spec.name == name).expect("it is there");
        &params[spec.range()]
    };
    let embedding = &matrix("model.embed_tokens.weight")[5 * 8..6 * 8];
    let head = matrix("lm_head.weight").chunks_exact(8);
    let expected: Vec<f64> = head.map(|row| row.iter().zip(embedding).map(|(a, b)| a * b).sum()).collect();
    let logits = Session::single(&mut ScalarEngine::new(), &model, &params).feed(0, &[5]).to_vec();
    close("the logits", &logits, &expected, 1e-12);
}

/// RoPE rotates: lengths stay, and products depend on distances alone.
#[test]
fn rotary_positions_are_rotations() {
    struct Products([usize; 2]);
    impl TokenColumn for Products {
        fn of<T: Tensor>(&self, w: BoundParams<'_, T>, _: &Batch, _: Mode) -> T {
            let [a, b] = [w.tensors()[0], w.tensors()[1]];
            let [p, q] = self.0;
            let rotation = Rotation::plain(100.0);
            let (a, b) = (a.rope(&[p], 2, rotation), b.rope(&[q], 2, rotation));
            T::concat_rows(&[a.row_dot(b), a.row_dot(a), b.row_dot(b)])
        }
    }
    let mut layout = Layout::default();
    for name in ["a", "b"] {
        layout.add(ParamSpec::matrix(name, 1, 8, Init::Normal(1.0)));
    }
    let params: Vec<f64> = layout.initial(&mut Random::new(3));
    let products = |positions| {
        let model = ModelAdapter::new(layout.clone(), Products(positions));
        evaluate(&mut ScalarEngine::new(), &model, &params, &tokens(3)).0
    };
    let still = products([0, 0]);
    for shift in [1, 7, 1000] {
        close("products", &products([5 + shift, 2 + shift]), &products([5, 2]), 1e-12);
        close("lengths", &products([shift, 0])[1..], &still[1..], 1e-12);
        assert!((products([shift, 0])[0] - still[0]).abs() > 1e-3, "a distance of {shift} is seen");
    }
}

/// A row of zeros has no direction. It stays where it is, and nothing becomes NaN.
#[test]
fn a_row_of_zeros_goes_nowhere() {
    struct Step;
    impl TokenColumn for Step {
        fn of<T: Tensor>(&self, w: BoundParams<'_, T>, _: &Batch, _: Mode) -> T {
            let [x, to, alpha] = [w.tensors()[0], w.tensors()[1], w.tensors()[2]];
            elements(T::concat_rows(&[x.step_toward(to, alpha), to.unit(), to.step_toward(x, alpha * 0.0)]))
        }
    }
    fn check<E: Engine>(engine: &mut E) {
        let mut layout = Layout::default();
        for name in ["x", "to", "alpha"] {
            layout.add(ParamSpec::matrix(name, 1, 2, Init::Constant(0.0)));
        }
        let model = ModelAdapter::new(layout, Step);
        let (y, gradient) = evaluate(engine, &model, &[0.6, 0.8, 0.0, 0.0, 0.5, 0.5], &tokens(6));
        close("the row that was there", &y[..2], &[0.6, 0.8], 1e-6);
        assert_eq!(y[2..], [0.0; 4]);
        assert!(gradient.iter().all(|x| x.is_finite()), "{gradient:?}");
    }
    check(&mut ScalarEngine::new());
    check(&mut fast());
}
