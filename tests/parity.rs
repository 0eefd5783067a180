//! Every engine computes the same, in every way it can: each operation and each model, losses and gradients, on the fast
//! engine as on the scalar one, fused as unfused (with the default body of every derived operation), and with a cache as
//! without.
//!
//! The scalar engine as it is serves as the measure: other tests hold it against differences and against PyTorch. The gap
//! of two matrices is the greatest difference of any of their numbers, as a share of the greatest number. To see
//! the widest gaps: `cargo test --test parity -- --nocapture`.

use gradus::data::Batch;
use gradus::fast::Fast;
use gradus::hash::Hash;
use gradus::model::{Cache, Decoder, DecoderConfig, Model, Pass};
use gradus::params::{Init, Kind, Layout, Param, Weights};
use gradus::random::Random;
use gradus::real::Real;
use gradus::scalar::Scalar;
use gradus::tensor::AttentionShape;
use gradus::threads::Threads;
use gradus::{Engine, Tensor};

#[path = "common/cases.rs"]
mod cases;
#[path = "common/door.rs"]
mod door;
#[path = "common/engines.rs"]
mod engines;
#[path = "common/plain.rs"]
mod plain;
#[path = "common/variants.rs"]
mod variants;

use door::{Column, Door, elements, tokens};
use engines::{Autograd, Expression, Numbers, OnScalar, Outcome};
use plain::Plain;

/// How wide a gap may be between numbers of 64 bits that were added up in another order, and how wide to those of 32 bits.
const WIDE: f64 = 1e-12;
const NARROW: f64 = 1e-5;

/// Where all numbers of a matrix are smaller than the first, they are small differences of numbers of ordinary size, such as
/// the gradients of a normalised column, and a gap is a share of the second instead: then a tolerance of 1e-5
/// means a few of the last of 24 bits.
const TINY: f64 = 1e-3;
const ORDINARY: f64 = 0.25;

fn fast() -> Fast {
    Fast::new(Threads::new(1))
}

/// Gaps that are too wide, and the widest of all.
#[derive(Default)]
struct Gaps {
    wrong: Vec<String>,
    widest: Vec<(&'static str, f64, String)>,
}

impl Gaps {
    /// Compares some numbers. `way` says how they were computed.
    fn compare(&mut self, way: &'static str, what: &str, ours: &[f64], exact: &[f64]) {
        assert_eq!(ours.len(), exact.len(), "{way}, {what}: how many numbers");
        let greatest = exact.iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
        let scale = if greatest < TINY { ORDINARY } else { greatest };
        // NaN is no gap at all, but infinitely wide.
        let difference = |(a, b): (&f64, &f64)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() };
        let gap = ours.iter().zip(exact).map(difference).fold(0.0, f64::max) / scale;
        let tolerance = if way.starts_with("scalar") { WIDE } else { NARROW };
        if gap >= tolerance {
            self.wrong.push(format!("{way}, {what}: a gap of {gap:.1e}"));
        }
        match self.widest.iter_mut().find(|widest| widest.0 == way) {
            Some(widest) if widest.1 >= gap => {}
            Some(widest) => *widest = (way, gap, what.to_owned()),
            None => self.widest.push((way, gap, what.to_owned())),
        }
    }

    fn finish(self) {
        for (way, gap, what) in &self.widest {
            println!("{way}: at most {gap:.1e}, {what}");
        }
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

/// Numbers that both engines can hold, so that they begin with the same.
fn narrow(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x as f32)).collect()
}

/// How much each element of an output counts.
fn upstream(n: usize) -> f64 {
    0.2 + (n as f64 * 1.7 + 0.5).sin()
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

impl Column for Case {
    fn of<T: Tensor>(&self, weights: Weights<'_, T>, _: &Batch, _: Pass) -> T {
        let x: Vec<T> = self.inputs.iter().map(|&input| weights[input]).collect();
        let y = match self.form {
            Form::AsIs => self.of(&x),
            Form::Unfused => self.of(&x.into_iter().map(Plain).collect::<Vec<_>>()).0,
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
    let mut gaps = Gaps::default();
    let (scalar, fast) = (&mut Scalar::new(), &mut fast());
    for (number, (name, inputs, exact)) in listed.0.iter().enumerate() {
        let weights: Vec<f64> = inputs.iter().flat_map(|m| &m.data).copied().collect();
        let mut layout = Layout::default();
        let mut window = |m: &Numbers| layout.add("", m.rows, m.cols, Kind::Matrix, Init::Ones);
        let params: Vec<Param> = inputs.iter().map(&mut window).collect();
        let count = exact.output.data.len();
        let batch = tokens(count);
        let door = |form, upstream| {
            Door::new(layout.clone(), Case { number, inputs: params.clone(), form, upstream })
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
            let pass = Pass::default();
            let outputs = [
                (by_scalar, learn(scalar, ones, &weights, &batch, pass)),
                (by_fast, learn(fast, ones, &weights, &batch, pass)),
            ];
            for (way, ours) in outputs {
                gaps.compare(way, &format!("{name}, output"), &ours.losses, &exact.output.data);
            }
            let gradients = [
                (by_scalar, learn(scalar, counted, &weights, &batch, pass)),
                (by_fast, learn(fast, counted, &weights, &batch, pass)),
            ];
            for (way, ours) in gradients {
                for (at, window) in layout.windows().iter().enumerate() {
                    let what = format!("{name}, gradient {at}");
                    gaps.compare(way, &what, &ours.gradient[window.range()], &gradient[window.range()]);
                }
            }
        }
    }
    gaps.finish();
}

/// Attention by itself: how many heads, how wide, and how long the sequences are.
#[derive(Debug)]
struct Attend {
    heads: [usize; 2],
    width: usize,
    causal: bool,
    queries: Vec<usize>,
    keys: Vec<usize>,
}

impl Attend {
    /// Queries, keys and values.
    fn layout(&self) -> (Layout, [Param; 3]) {
        let [rows, keys] = [&self.queries, &self.keys].map(|lengths| lengths.iter().sum());
        let [q, kv] = self.heads.map(|heads| heads * self.width);
        let mut layout = Layout::default();
        let params = [(rows, q), (keys, kv), (keys, kv)]
            .map(|(rows, cols)| layout.add("", rows, cols, Kind::Matrix, Init::Ones));
        (layout, params)
    }
}

impl Column for Attend {
    fn of<T: Tensor>(&self, weights: Weights<'_, T>, _: &Batch, _: Pass) -> T {
        let (_, [q, k, v]) = self.layout();
        let shape = |scale| AttentionShape {
            n_head: self.heads[0],
            n_kv_head: self.heads[1],
            scale,
            causal: self.causal,
            queries: &self.queries,
            keys: &self.keys,
        };
        // Twice, so that all gradients are added to what is there as well.
        let attend = |scale| weights[q].attention(weights[k], weights[v], shape(scale));
        let y = elements(attend(0.4) + attend(-0.3));
        let upstream: Vec<f64> = (0..y.shape().0).map(upstream).collect();
        y * y.constant(upstream.len(), 1, &upstream)
    }
}

/// An engine may have ways of its own for narrow heads or short sequences: all widths, and sequences on both sides of any
/// width of a vector, in one batch.
#[test]
fn attention_of_every_width_and_length() {
    let lengths = [1, 2, 7, 8, 9, 15, 16, 17, 33];
    let mut gaps = Gaps::default();
    let (scalar, fast) = (&mut Scalar::new(), &mut fast());
    for width in [1, 2, 3, 4, 5, 8, 12, 16, 32, 33] {
        for (heads, causal, cached) in [
            ([1, 1], true, false),
            ([2, 2], true, true),
            ([4, 2], true, false),
            ([3, 1], true, true),
            ([2, 2], false, false),
            ([4, 1], false, true),
        ] {
            let keys = lengths.to_vec();
            let queries = keys.iter().map(|&keys| if cached { 1 + keys / 2 } else { keys }).collect();
            let attend = Attend { heads, width, causal, queries, keys };
            let what = format!("{attend:?}");
            let (layout, _) = attend.layout();
            let mut random = Random::new(width as u64);
            let weights: Vec<f64> = (0..layout.len()).map(|_| random.gauss(0.0, 1.0)).collect();
            let count = tokens(layout.windows()[0].range().len());
            let door = Door::new(layout.clone(), attend);
            let [exact, ours] = [
                learn(scalar, &door, &narrow(&weights), &count, Pass::default()),
                learn(fast, &door, &narrow(&weights), &count, Pass::default()),
            ];
            gaps.compare("fast", &format!("{what}, output"), &ours.losses, &exact.losses);
            for (at, window) in layout.windows().iter().enumerate() {
                let part = |learned: &Learned| {
                    let gradient = &learned.gradient[window.range()];
                    gradient.iter().map(|g| g * count.len() as f64).collect::<Vec<_>>()
                };
                gaps.compare("fast", &format!("{what}, gradient {at}"), &part(&ours), &part(&exact));
            }
        }
    }
    gaps.finish();
}

/// A model in a way of its own: without overrides, or reading its sequences in pieces, or both.
struct Otherwise<'m> {
    model: &'m Decoder,
    unfused: bool,
    /// How many tokens it reads at a time, over and over; all at once if there are none.
    pieces: &'m [usize],
    /// Whether it tells the logits of this batch instead of its losses.
    logits_of: Option<&'m Batch>,
}

impl<'m> Otherwise<'m> {
    fn new(model: &'m Decoder) -> Self {
        Otherwise { model, unfused: false, pieces: &[], logits_of: None }
    }

    fn door(self) -> Door<Self> {
        Door::new(self.model.layout().clone(), self)
    }

    fn column<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch, pass: Pass) -> T {
        match self.logits_of {
            Some(batch) => elements(self.in_pieces(weights, batch)),
            None if self.pieces.is_empty() => self.model.losses(weights, batch, pass),
            None => self.in_pieces(weights, batch).cross_entropy(batch.targets(), pass.smoothing),
        }
    }

    /// The logits of all sequences, each read with a cache of its own.
    fn in_pieces<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch) -> T {
        let pieces = if self.pieces.is_empty() { &[usize::MAX] } else { self.pieces };
        let sequences = batch.sequences();
        let mut logits = Vec::new();
        let mut at = 0;
        for length in sequences.lengths {
            let mut cache = Cache::default();
            let (end, mut piece) = (at + length, pieces.iter().cycle());
            while at < end {
                let next = end.min(at.saturating_add(*piece.next().expect("they go round and round")));
                logits.push(self.model.extend(weights, &sequences.tokens[at..next], &mut cache));
                at = next;
            }
            assert_eq!(cache.length(), *length);
        }
        T::concat_rows(&logits)
    }
}

impl Column for Otherwise<'_> {
    fn of<T: Tensor>(&self, weights: Weights<'_, T>, batch: &Batch, pass: Pass) -> T {
        if self.unfused {
            let plain: Vec<Plain<T>> = weights.tensors().iter().map(|&weight| Plain(weight)).collect();
            self.column(Weights::new(&plain), batch, pass).0
        } else {
            self.column(weights, batch, pass)
        }
    }
}

/// What a model makes of a batch.
struct Learned {
    loss: f64,
    losses: Vec<f64>,
    gradient: Vec<f64>,
}

fn learn<E: Engine>(
    engine: &mut E,
    model: &impl Model,
    weights: &[f64],
    batch: &Batch,
    pass: Pass,
) -> Learned {
    let weights: Vec<E::Real> = weights.iter().map(|&w| E::Real::from_f64(w)).collect();
    let mut gradient = vec![E::Real::from_f64(f64::NAN); weights.len()];
    let loss = engine.gradient(model, &weights, batch, pass, &mut gradient);
    let losses = engine.token_losses().to_vec();
    if pass == Pass::default() {
        assert_eq!(engine.loss(model, &weights, batch), loss, "the loss without a gradient");
        assert_eq!(engine.token_losses(), losses);
    }
    Learned { loss, losses, gradient: gradient.into_iter().map(Real::to_f64).collect() }
}

impl Gaps {
    /// Compares losses, and gradients matrix by matrix.
    fn compare_learned(
        &mut self,
        way: &'static str,
        what: &str,
        model: &Decoder,
        ours: &Learned,
        exact: &Learned,
    ) {
        self.compare(way, &format!("{what}, loss"), &[ours.loss], &[exact.loss]);
        self.compare(way, &format!("{what}, losses"), &ours.losses, &exact.losses);
        for window in model.layout().windows() {
            let part = |learned: &Learned| learned.gradient[window.range()].to_vec();
            let what = format!("{what}, gradient of {}", window.name);
            // Where no gradient is of ordinary size, the greatest of them is the measure all the same.
            let scale = part(exact).iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
            assert!(scale > 0.0, "{what} is zero");
            let share = |x: Vec<f64>| x.iter().map(|x| x / scale).collect::<Vec<_>>();
            self.compare(way, &what, &share(part(ours)), &share(part(exact)));
        }
    }

    /// Compares one model on one batch in all ways.
    fn model(&mut self, name: &str, config: &DecoderConfig, batch: &Batch) {
        let (model, weights) = grown(config);
        let passes =
            [Pass::default(), Pass { dropout: Some(Hash::new(3)), smoothing: 0.1, ..Pass::default() }];
        for pass in passes {
            let what = format!("{name}, smoothing {}", pass.smoothing);
            let exact = learn(&mut Scalar::new(), &model, &weights, batch, pass);
            let unfused = Otherwise { unfused: true, ..Otherwise::new(&model) }.door();
            let ways = [
                ("scalar, unfused", learn(&mut Scalar::new(), &unfused, &weights, batch, pass)),
                ("fast", learn(&mut fast(), &model, &weights, batch, pass)),
                ("fast, unfused", learn(&mut fast(), &unfused, &weights, batch, pass)),
            ];
            for (way, ours) in ways {
                self.compare_learned(way, &what, &model, &ours, &exact);
            }
        }
    }
}

/// A model whose weights are larger than fresh ones: where all is near zero, all gradients are too, right or wrong.
fn grown(config: &DecoderConfig) -> (Decoder, Vec<f64>) {
    let model = Decoder::new(DecoderConfig { init_std: 0.3, ..config.clone() }).expect("a variant is right");
    let mut random = Random::new(11);
    let mut weights: Vec<f64> = model.layout().initial(&mut random);
    weights.iter_mut().for_each(|w| *w += random.gauss(0.0, 0.05)); // gains begin as ones, all alike
    (model, narrow(&weights))
}

#[test]
fn every_model() {
    let mut gaps = Gaps::default();
    for (name, config) in variants::variants() {
        gaps.model(name, &config, &variants::batch(&config));
    }
    gaps.finish();
}

#[test]
fn the_dialog_model_in_full() {
    let config = DecoderConfig { n_layer: 2, ..DecoderConfig::dialog(40) };
    let mut batch = Batch::new();
    for (row, length) in [33, 5, 17].into_iter().enumerate() {
        batch.push((0..=length).map(|at| (at * at + 7 * at + row) % 40));
    }
    batch.weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.1 + (at % 5) as f64 / 2.0);
    let mut gaps = Gaps::default();
    gaps.model("dialog in full", &config, &batch);
    gaps.finish();
}

/// The dialog variant, for longer sequences.
fn dialog() -> DecoderConfig {
    let (name, config) = variants::variants().swap_remove(1);
    assert_eq!(name, "dialog");
    DecoderConfig { block_size: 40, dropout: 0.3, ..config }
}

fn nodes(config: &DecoderConfig, batch: &Batch) -> usize {
    let (model, weights) = grown(config);
    let mut engine = fast();
    learn(&mut engine, &model, &weights, batch, Pass::default());
    engine.nodes()
}

/// A batch that is cut into shards, in the middle of which the dropout must go on where the shard before ended.
#[test]
fn a_batch_in_shards() {
    let config = dialog();
    let mut batch = Batch::new();
    for row in 0..40 {
        let length = 1 + (row * 13) % config.block_size;
        batch.push((0..=length).map(|at| (row + at * (row % 3 + 1)) % config.vocab_size));
    }
    batch.weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.5 + (at % 3) as f64);
    assert_eq!(nodes(&config, &batch), 3 * nodes(&config, &tokens(40)), "{} tokens", batch.len());
    let mut gaps = Gaps::default();
    gaps.model("in shards", &config, &batch);
    gaps.finish();
}

/// A sequence longer than all others together leaves nothing to the shard after its own.
#[test]
fn a_shard_without_anything() {
    let config = DecoderConfig { n_layer: 1, ..dialog() };
    let mut batch = Batch::new();
    for length in [766, 1, 2] {
        batch.push((0..=length).map(|at| (at * at + 3) % config.vocab_size));
    }
    let mut gaps = Gaps::default();
    gaps.model("an empty shard", &config, &batch);
    gaps.finish();
}

/// That `Plain` takes something away: the tape of a model without overrides must be much longer.
#[test]
fn unfused_is_unfused() {
    let config = &dialog();
    let (model, weights) = grown(config);
    let unfused = Otherwise { unfused: true, ..Otherwise::new(&model) }.door();
    let batch = variants::batch(config);
    let nodes = |learn: &dyn Fn(&mut Fast)| {
        let mut engine = fast();
        learn(&mut engine);
        engine.nodes()
    };
    let pass = Pass { dropout: Some(Hash::new(3)), smoothing: 0.1, ..Pass::default() };
    let fused = nodes(&|engine| _ = learn(engine, &model, &weights, &batch, pass));
    let unfused = nodes(&|engine| _ = learn(engine, &unfused, &weights, &batch, pass));
    assert!(unfused > 10 * fused, "{fused} results fused, {unfused} unfused");
}

/// Read in pieces with a cache, a sequence has the logits, losses and gradients that it has as a whole.
#[test]
fn a_cache_changes_nothing() {
    let mut gaps = Gaps::default();
    for (name, config) in variants::variants() {
        let (model, weights) = grown(&config);
        let batch = variants::batch(&config);
        let count = tokens(batch.len() * config.vocab_size);
        let whole = Otherwise { logits_of: Some(&batch), ..Otherwise::new(&model) }.door();
        let logits = learn(&mut Scalar::new(), &whole, &weights, &count, Pass::default());
        let exact = learn(&mut Scalar::new(), &model, &weights, &batch, Pass::default());
        for pieces in [&[1][..], &[2, 1, 3], &[4, 1, 1], &[]] {
            for unfused in [false, true] {
                let losses_in = || Otherwise { unfused, pieces, ..Otherwise::new(&model) };
                let [losses_in, logits_in] =
                    [losses_in(), Otherwise { logits_of: Some(&batch), ..losses_in() }].map(Otherwise::door);
                let what = format!("{name} in pieces of {pieces:?}, unfused: {unfused}");
                let (scalar, fast) = (&mut Scalar::new(), &mut fast());
                let ours = [
                    ("scalar", learn(scalar, &logits_in, &weights, &count, Pass::default())),
                    ("fast", learn(fast, &logits_in, &weights, &count, Pass::default())),
                ];
                for (way, ours) in ours {
                    gaps.compare(way, &format!("{what}, logits"), &ours.losses, &logits.losses);
                }
                let ours = [
                    ("scalar", learn(scalar, &losses_in, &weights, &batch, Pass::default())),
                    ("fast", learn(fast, &losses_in, &weights, &batch, Pass::default())),
                ];
                for (way, ours) in ours {
                    gaps.compare_learned(way, &what, &model, &ours, &exact);
                }
            }
        }
    }
    gaps.finish();
}

/// The same through the engines' own loop.
#[test]
fn generation_sees_the_same_logits() {
    fn logits<E: Engine>(engine: &mut E, model: &Decoder, weights: &[f64], tokens: &[usize]) -> Vec<f64> {
        let weights: Vec<E::Real> = weights.iter().map(|&w| E::Real::from_f64(w)).collect();
        let mut all = Vec::new();
        let mut next = 2;
        engine.generate(model, &weights, &tokens[..next], &mut |logits| {
            all.extend_from_slice(logits);
            next += 1;
            tokens.get(next - 1).copied()
        });
        all
    }
    let mut gaps = Gaps::default();
    for (name, config) in variants::variants() {
        let (model, weights) = grown(&config);
        let tokens: Vec<usize> = (0..config.block_size).map(|at| (at * at + 3) % config.vocab_size).collect();
        let exact = logits(&mut Scalar::new(), &model, &weights, &tokens);
        assert_eq!(exact.len(), (tokens.len() - 1) * config.vocab_size);
        gaps.compare("fast", name, &logits(&mut fast(), &model, &weights, &tokens), &exact);
    }
    gaps.finish();
}
