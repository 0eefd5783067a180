//! Every engine computes the same, in every way it can: each operation and each model, losses and gradients, on the fast
//! engine as on the scalar one, fused as unfused (with the default body of every derived operation), and with a cache as
//! without.
//!
//! The scalar engine as it is serves as the measure: other tests hold it against differences and against PyTorch. The gap
//! of two matrices is the greatest difference of any of their numbers, as a share of the greatest number. To see
//! the widest deviations: `cargo test --test parity -- --nocapture`.

use gradus::counter_rng::CounterRng;
use gradus::data::{Batch, Sequences};
use gradus::engine::Session;
use gradus::fast::FastEngine;
use gradus::model::{Cache, Decoder, DecoderConfig, Mode, Model};
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::ScalarEngine;
use gradus::tensor::{Mask, Memory, MemoryId, packed};
use gradus::thread_pool::ThreadPool;
use gradus::{Engine, Tensor};

#[path = "common/attention_alone.rs"]
mod attention_alone;
#[path = "common/cases.rs"]
mod cases;
#[path = "common/default_bodies.rs"]
mod default_bodies;
#[path = "common/deviations.rs"]
mod deviations;
#[path = "common/engines.rs"]
mod engines;
#[path = "common/model_adapter.rs"]
mod model_adapter;
#[path = "common/sphere_variants.rs"]
mod sphere_variants;
#[path = "common/variants.rs"]
mod variants;

use attention_alone::{AttentionAlone, Biased, LEARNED, upstream};
use default_bodies::DefaultBodies;
use deviations::Deviations;
use engines::{Autograd, Expression, Numbers, OnScalar, Outcome};
use model_adapter::{ModelAdapter, TokenColumn, elements, tokens};
use sphere_variants::{sphere_batch, sphere_variants, sphere_with_params};

fn fast() -> FastEngine {
    FastEngine::new(ThreadPool::new(1))
}

/// Numbers that both engines can hold, so that they begin with the same.
fn narrow(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x as f32)).collect()
}

/// All cases, and what the scalar engine makes of them.
#[derive(Default)]
struct Listed(Vec<(String, Vec<Numbers>, Outcome)>);

impl cases::Visitor for Listed {
    fn case(&mut self, name: &str, inputs: &[Numbers], expression: &impl Expression) {
        let inputs: Vec<Numbers> = inputs.iter().map(|m| Numbers { data: narrow(&m.data), ..*m }).collect();
        let exact = OnScalar::default().evaluate(expression, &inputs, &upstream);
        self.0.push((name.to_owned(), inputs, exact));
    }
}

/// In which form an operation is run.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    AsIs,
    Unfused,
    /// Once, and half as much once more: gradients must be added to those that are there already.
    Twice,
}

/// One of the cases. All of them are one type of model, since engines are compiled once for each of those.
struct Case {
    number: usize,
    inputs: Vec<Param>,
    form: Form,
    /// How much each element of the output counts in the loss.
    upstream: Vec<f64>,
}

impl Case {
    /// The output for given inputs.
    fn of<T: Tensor>(&self, x: &[T]) -> T {
        struct Find<'x, T> {
            x: &'x [T],
            left: usize,
            found: Option<T>,
        }
        impl<T: Tensor> cases::Visitor for Find<'_, T> {
            fn case(&mut self, _: &str, _: &[Numbers], expression: &impl Expression) {
                if self.left == 0 {
                    self.found = Some(expression.of(self.x));
                }
                self.left = self.left.wrapping_sub(1);
            }
        }
        let mut find = Find { x, left: self.number, found: None };
        cases::all(&mut find);
        find.found.expect("there is a case of this number")
    }
}

impl TokenColumn for Case {
    fn of<T: Tensor>(&self, params: BoundParams<'_, T>, _: &Batch, _: Mode) -> T {
        let x: Vec<T> = self.inputs.iter().map(|&input| params[input]).collect();
        let y = match self.form {
            Form::AsIs => self.of(&x),
            Form::Unfused => self.of(&x.into_iter().map(DefaultBodies).collect::<Vec<_>>()).0,
            Form::Twice => self.of(&x) + self.of(&x) * 0.5,
        };
        let y = elements(y);
        y * y.constant(self.upstream.len(), 1, &self.upstream)
    }
}

#[test]
fn every_operation() {
    let mut listed = Listed::default();
    cases::all(&mut listed);
    let mut deviations = Deviations::default();
    let (scalar, fast) = (&mut ScalarEngine::new(), &mut fast());
    for (number, (name, inputs, exact)) in listed.0.iter().enumerate() {
        let params: Vec<f64> = inputs.iter().flat_map(|m| &m.data).copied().collect();
        let mut layout = Layout::default();
        let mut add = |m: &Numbers| layout.add(ParamSpec::matrix("", m.rows, m.cols, Init::Constant(1.0)));
        let handles: Vec<Param> = inputs.iter().map(&mut add).collect();
        let count = exact.output.data.len();
        let batch = tokens(count);
        let door = |form, upstream| {
            ModelAdapter::new(layout.clone(), Case { number, inputs: handles.clone(), form, upstream })
        };
        let gradient: Vec<f64> = exact.gradients.iter().flat_map(|m| &m.data).copied().collect();
        let forms = [
            (Form::AsIs, 1.0, ["scalar", "fast"]),
            (Form::Unfused, 1.0, ["scalar, unfused", "fast, unfused"]),
            (Form::Twice, 1.5, ["scalar, twice", "fast, twice"]),
        ];
        for (form, times, [by_scalar, by_fast]) in forms {
            let ones = &door(form, vec![1.0 / times; count]);
            // The loss is a mean over the tokens, but the gradient that is known is that of the sum.
            let counted = &door(form, (0..count).map(|n| upstream(n) * count as f64 / times).collect());
            let mode = Mode::default();
            let outputs = [
                (by_scalar, learn(scalar, ones, &params, &batch, mode)),
                (by_fast, learn(fast, ones, &params, &batch, mode)),
            ];
            for (way, ours) in outputs {
                deviations.compare(way, &format!("{name}, output"), &ours.losses, &exact.output.data);
            }
            let gradients = [
                (by_scalar, learn(scalar, counted, &params, &batch, mode)),
                (by_fast, learn(fast, counted, &params, &batch, mode)),
            ];
            for (way, ours) in gradients {
                for (at, window) in layout.specs().iter().enumerate() {
                    let what = format!("{name}, gradient {at}");
                    deviations.compare(way, &what, &ours.gradient[window.range()], &gradient[window.range()]);
                }
            }
        }
    }
    deviations.finish();
}

/// An engine may have ways of its own for narrow heads or short sequences: all widths, and sequences on both sides of any
/// width of a vector, in one batch.
#[test]
fn attention_of_every_width_and_length() {
    let lengths = [1, 2, 7, 8, 9, 15, 16, 17, 33];
    let mut deviations = Deviations::default();
    let (scalar, fast) = (&mut ScalarEngine::new(), &mut fast());
    for width in [1, 2, 3, 4, 5, 8, 12, 16, 32, 33] {
        use Biased::{Alibi, No, Table};
        for (heads, mask, bias, cached) in [
            ([1, 1], Mask::Causal, No, false),
            ([2, 2], Mask::Causal, No, true),
            ([4, 2], Mask::Causal, No, false),
            ([3, 1], Mask::Causal, No, true),
            ([2, 2], Mask::Full, No, false),
            ([4, 1], Mask::Full, No, true),
            ([2, 2], Mask::Window(1), No, false),
            ([4, 2], Mask::Window(5), No, true),
            ([1, 1], Mask::Window(16), No, false),
            ([4, 2], Mask::Causal, Alibi, true),
            ([2, 2], Mask::Full, Alibi, false),
            ([2, 1], Mask::Window(6), Alibi, false),
            ([4, 2], Mask::Causal, Table, true),
            ([2, 2], Mask::Full, Table, false),
            ([3, 1], Mask::Window(6), Table, true),
        ] {
            let queries = lengths.map(|keys| if cached { 1 + keys / 2 } else { keys });
            let [queries, keys] = [packed(&queries), packed(&lengths)];
            let attend = AttentionAlone { heads, width, mask, bias, queries, keys };
            let params = attend.params(width as u64);
            let (exact, ours) = (attend.learn(scalar, &params), attend.learn(fast, &params));
            for (what, (ours, exact)) in LEARNED.iter().zip(ours.iter().zip(&exact)) {
                deviations.compare("fast", &format!("{attend:?}, {what}"), ours, exact);
            }
        }
    }
    deviations.finish();
}

/// A model in a way of its own: without overrides, or reading its sequences in pieces, or both.
struct ModelVariant<'m, M> {
    model: &'m M,
    unfused: bool,
    /// How many tokens it reads at a time, over and over; all at once if there are none.
    pieces: &'m [usize],
    /// Whether it tells the logits of this batch instead of its losses.
    logits_of: Option<&'m Batch>,
}

impl<'m, M: Model> ModelVariant<'m, M> {
    fn new(model: &'m M) -> Self {
        ModelVariant { model, unfused: false, pieces: &[], logits_of: None }
    }

    fn door(self) -> ModelAdapter<Self> {
        ModelAdapter::new(self.model.layout().clone(), self)
    }

    fn column<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        match self.logits_of {
            Some(batch) => elements(self.in_pieces(params, batch)),
            None if self.pieces.is_empty() => self.model.losses(params, batch, mode),
            None => self.in_pieces(params, batch).cross_entropy(batch.targets(), mode.smoothing),
        }
    }

    /// The logits of all sequences, each read with a memory of its own. Reading gives the logits after the last token alone, so
    /// each piece is read once for each of its tokens, up to there.
    fn in_pieces<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch) -> T {
        let pieces = if self.pieces.is_empty() { &[usize::MAX] } else { self.pieces };
        let Sequences { tokens, rows, .. } = batch.sequences();
        let mut logits = Vec::new();
        for rows in rows {
            let (tokens, mut memory) = (&tokens[rows.clone()], InGraph(Vec::new()));
            let (mut start, mut piece) = (0, pieces.iter().cycle());
            while start < tokens.len() {
                let next =
                    tokens.len().min(start.saturating_add(*piece.next().expect("they go round and round")));
                for end in start + 1..=next {
                    let places: Vec<usize> = (start..end).collect();
                    let (tokens, positions, capacity) = (&tokens[start..end], &places[..], tokens.len());
                    let (rows, keys) = (&packed(&[end - start])[..], &packed(&[end])[..]);
                    let sequences = Sequences { tokens, positions, rows, rows_before: 0 };
                    let mut cache =
                        Cache { memory: &mut memory, places: positions, keys, sources: &[], capacity };
                    logits.push(self.model.decode(params, sequences, &mut cache));
                }
                start = next;
            }
        }
        T::concat_rows(&logits)
    }
}

/// A memory within the graph, through which gradients flow.
struct InGraph<T>(Vec<(MemoryId, T)>);

impl<T: Tensor> Memory<T> for InGraph<T> {
    fn keep(&mut self, id: MemoryId, _: usize, places: &[usize], x: T) -> T {
        let old = self.0.iter().position(|(of, _)| *of == id).map(|at| self.0.swap_remove(at).1);
        let all = match old {
            Some(old) if places[0] > 0 => T::concat_rows(&[old.slice_rows(0..places[0]), x]),
            _ => x,
        };
        self.0.push((id, all));
        all
    }

    fn kept(&mut self, id: MemoryId, _: T) -> T {
        self.0.iter().find(|(of, _)| *of == id).expect("it was kept").1
    }
}

impl<M: Model> TokenColumn for ModelVariant<'_, M> {
    fn of<T: Tensor>(&self, params: BoundParams<'_, T>, batch: &Batch, mode: Mode) -> T {
        if self.unfused {
            let plain: Vec<DefaultBodies<T>> =
                params.tensors().iter().map(|&weight| DefaultBodies(weight)).collect();
            self.column(BoundParams::new(&plain), batch, mode).0
        } else {
            self.column(params, batch, mode)
        }
    }
}

/// What a model makes of a batch.
struct Gradients {
    loss: f64,
    losses: Vec<f64>,
    gradient: Vec<f64>,
}

fn learn<E: Engine>(
    engine: &mut E,
    model: &impl Model,
    params: &[f64],
    batch: &Batch,
    mode: Mode,
) -> Gradients {
    let params: Vec<E::Real> = params.iter().map(|&w| E::Real::from_f64(w)).collect();
    let mut gradient = vec![E::Real::from_f64(f64::NAN); params.len()];
    let loss = engine.gradient(model, &params, batch, mode, &mut gradient);
    let losses = engine.token_losses().to_vec();
    if mode == Mode::default() {
        assert_eq!(engine.loss(model, &params, batch), loss, "the loss without a gradient");
        assert_eq!(engine.token_losses(), losses);
    }
    Gradients { loss, losses, gradient: gradient.into_iter().map(Real::to_f64).collect() }
}

impl Deviations {
    /// Compares losses, and gradients matrix by matrix.
    fn compare_learned(
        &mut self,
        way: &'static str,
        what: &str,
        model: &impl Model,
        ours: &Gradients,
        exact: &Gradients,
    ) {
        self.compare(way, &format!("{what}, loss"), &[ours.loss], &[exact.loss]);
        self.compare(way, &format!("{what}, losses"), &ours.losses, &exact.losses);
        for window in model.layout().specs() {
            let part = |learned: &Gradients| learned.gradient[window.range()].to_vec();
            let what = format!("{what}, gradient of {}", window.name);
            // Where no gradient is of ordinary size, the greatest of them is the measure all the same.
            let scale = part(exact).iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
            assert!(scale > 0.0, "{what} is zero");
            let share = |x: Vec<f64>| x.iter().map(|x| x / scale).collect::<Vec<_>>();
            self.compare(way, &what, &share(part(ours)), &share(part(exact)));
        }
    }

    /// Compares one decoder on one batch in all ways.
    fn decoder(&mut self, name: &str, config: &DecoderConfig, batch: &Batch) {
        let (model, params) = with_large_params(config);
        self.model(name, &model, &params, batch);
    }

    /// Compares one model on one batch in all ways.
    fn model(&mut self, name: &str, model: &impl Model, params: &[f64], batch: &Batch) {
        let modes = [Mode::default(), Mode { dropout: Some(CounterRng::new(3)), smoothing: 0.1 }];
        for mode in modes {
            let what = format!("{name}, smoothing {}", mode.smoothing);
            let exact = learn(&mut ScalarEngine::new(), model, params, batch, mode);
            let unfused = ModelVariant { unfused: true, ..ModelVariant::new(model) }.door();
            let ways = [
                ("scalar, unfused", learn(&mut ScalarEngine::new(), &unfused, params, batch, mode)),
                ("fast", learn(&mut fast(), model, params, batch, mode)),
                ("fast, unfused", learn(&mut fast(), &unfused, params, batch, mode)),
            ];
            for (way, ours) in ways {
                self.compare_learned(way, &what, model, &ours, &exact);
            }
        }
    }
}

/// A model whose weights are larger than fresh ones: where all is near zero, all gradients are too, right or wrong.
fn with_large_params(config: &DecoderConfig) -> (Decoder, Vec<f64>) {
    let model = Decoder::new(DecoderConfig { init_std: 0.3, ..config.clone() }).expect("a variant is right");
    let mut random = Random::new(11);
    let mut params: Vec<f64> = model.layout().initial(&mut random);
    params.iter_mut().for_each(|w| *w += random.gauss(0.0, 0.05)); // gains begin as ones, all alike
    (model, narrow(&params))
}

#[test]
fn every_model() {
    let mut deviations = Deviations::default();
    for (name, config) in variants::variants() {
        deviations.decoder(name, &config, &variants::batch(&config));
    }
    for (name, config) in sphere_variants() {
        let (model, params) = sphere_with_params(&config);
        deviations.model(name, &model, &params, &sphere_batch(&config));
    }
    deviations.finish();
}

#[test]
fn the_dialog_model_in_full() {
    let config = DecoderConfig { n_layer: 2, ..DecoderConfig::dialog(40) };
    let mut batch = Batch::new();
    for (row, length) in [33, 5, 17].into_iter().enumerate() {
        batch.push((0..=length).map(|at| (at * at + 7 * at + row) % 40));
    }
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.1 + (at % 5) as f64 / 2.0);
    let mut deviations = Deviations::default();
    deviations.decoder("dialog in full", &config, &batch);
    deviations.finish();
}

/// The dialog variant, for longer sequences.
fn dialog() -> DecoderConfig {
    let (name, config) = variants::variants().swap_remove(1);
    assert_eq!(name, "dialog");
    DecoderConfig { context: 40, dropout: 0.3, ..config }
}

fn nodes(config: &DecoderConfig, batch: &Batch) -> usize {
    let (model, params) = with_large_params(config);
    let mut engine = fast();
    learn(&mut engine, &model, &params, batch, Mode::default());
    engine.nodes()
}

/// A batch that is cut into shards, in the middle of which the dropout must go on where the shard before ended.
#[test]
fn a_batch_in_shards() {
    let config = dialog();
    let mut batch = Batch::new();
    for row in 0..40 {
        let length = 1 + (row * 13) % config.context;
        batch.push((0..=length).map(|at| (row + at * (row % 3 + 1)) % config.vocab_size));
    }
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.5 + (at % 3) as f64);
    assert_eq!(nodes(&config, &batch), 2 * nodes(&config, &tokens(40)), "{} tokens", batch.len());
    let mut deviations = Deviations::default();
    deviations.decoder("in shards", &config, &batch);
    deviations.finish();
}

/// A sequence longer than all others together leaves nothing to the shards beside its own.
#[test]
fn a_shard_without_anything() {
    let config = DecoderConfig { n_layer: 1, ..dialog() };
    let mut batch = Batch::new();
    for length in [1021, 1, 2, 1] {
        batch.push((0..=length).map(|at| (at * at + 3) % config.vocab_size));
    }
    let mut deviations = Deviations::default();
    deviations.decoder("an empty shard", &config, &batch);
    deviations.finish();
}

/// That `DefaultBodies` takes something away: the tape of a model without overrides must be much longer.
#[test]
fn unfused_is_unfused() {
    let config = &dialog();
    let (model, params) = with_large_params(config);
    let unfused = ModelVariant { unfused: true, ..ModelVariant::new(&model) }.door();
    let batch = variants::batch(config);
    let nodes = |learn: &dyn Fn(&mut FastEngine)| {
        let mut engine = fast();
        learn(&mut engine);
        engine.nodes()
    };
    let mode = Mode { dropout: Some(CounterRng::new(3)), smoothing: 0.1 };
    let fused = nodes(&|engine| _ = learn(engine, &model, &params, &batch, mode));
    let unfused = nodes(&|engine| _ = learn(engine, &unfused, &params, &batch, mode));
    assert!(unfused > 10 * fused, "{fused} results fused, {unfused} unfused");
}

/// Read in pieces with a cache, a sequence has the logits, losses and gradients that it has as a whole.
#[test]
fn a_cache_changes_nothing() {
    let mut deviations = Deviations::default();
    for (name, config) in variants::variants() {
        let (model, params) = with_large_params(&config);
        deviations.in_pieces(name, &model, &params, &variants::batch(&config));
    }
    for (name, config) in sphere_variants() {
        let (model, params) = sphere_with_params(&config);
        let batch = sphere_batch(&config);
        deviations.in_pieces(name, &model, &params, &batch);
    }
    deviations.finish();
}

impl Deviations {
    fn in_pieces(&mut self, name: &str, model: &impl Model, params: &[f64], batch: &Batch) {
        let count = tokens(batch.len() * model.vocab_size());
        let whole = ModelVariant { logits_of: Some(batch), ..ModelVariant::new(model) }.door();
        let logits = learn(&mut ScalarEngine::new(), &whole, params, &count, Mode::default());
        let exact = learn(&mut ScalarEngine::new(), model, params, batch, Mode::default());
        for pieces in [&[1][..], &[2, 1, 3], &[4, 1, 1], &[]] {
            for unfused in [false, true] {
                let losses_in = || ModelVariant { unfused, pieces, ..ModelVariant::new(model) };
                let [losses_in, logits_in] =
                    [losses_in(), ModelVariant { logits_of: Some(batch), ..losses_in() }]
                        .map(ModelVariant::door);
                let what = format!("{name} in pieces of {pieces:?}, unfused: {unfused}");
                let (scalar, fast) = (&mut ScalarEngine::new(), &mut fast());
                let ours = [
                    ("scalar", learn(scalar, &logits_in, params, &count, Mode::default())),
                    ("fast", learn(fast, &logits_in, params, &count, Mode::default())),
                ];
                for (way, ours) in ours {
                    self.compare(way, &format!("{what}, logits"), &ours.losses, &logits.losses);
                }
                let ours = [
                    ("scalar", learn(scalar, &losses_in, params, batch, Mode::default())),
                    ("fast", learn(fast, &losses_in, params, batch, Mode::default())),
                ];
                for (way, ours) in ours {
                    self.compare_learned(way, &what, model, &ours, &exact);
                }
            }
        }
    }
}

/// The same through the engines' sessions.
#[test]
fn sessions_see_the_same_logits() {
    fn logits<E: Engine>(engine: &mut E, model: &impl Model, params: &[f64], tokens: &[usize]) -> Vec<f64> {
        let params: Vec<E::Real> = params.iter().map(|&w| E::Real::from_f64(w)).collect();
        let mut session = Session::single(engine, model, &params);
        let mut all = session.feed(0, &tokens[..2]).to_vec();
        tokens[2..].iter().for_each(|token| all.extend_from_slice(session.feed(0, &[*token])));
        all
    }
    let mut deviations = Deviations::default();
    for (name, config) in variants::variants() {
        let (model, params) = with_large_params(&config);
        let tokens: Vec<usize> = (0..config.context).map(|at| (at * at + 3) % config.vocab_size).collect();
        let exact = logits(&mut ScalarEngine::new(), &model, &params, &tokens);
        assert_eq!(exact.len(), (tokens.len() - 1) * config.vocab_size);
        deviations.compare("fast", name, &logits(&mut fast(), &model, &params, &tokens), &exact);
    }
    for (name, config) in sphere_variants() {
        let (model, params) = sphere_with_params(&config);
        let tokens: Vec<usize> = (0..config.context).map(|at| (at * at + 3) % config.vocab_size).collect();
        let exact = logits(&mut ScalarEngine::new(), &model, &params, &tokens);
        deviations.compare("fast", name, &logits(&mut fast(), &model, &params, &tokens), &exact);
    }
    deviations.finish();
}
