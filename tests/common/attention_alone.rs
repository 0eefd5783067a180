//! Attention by itself, as a model whose parameters are queries, keys and values.

use std::ops::Range;

use gradus::data::Batch;
use gradus::model::Mode;
use gradus::params::{BoundParams, Init, Layout, Param, ParamSpec};
use gradus::random::Random;
use gradus::real::Real;
use gradus::tensor::{AttentionSpec, Bias, Buckets, Mask, alibi_slopes};
use gradus::{Engine, Tensor};

use crate::model_adapter::{ModelAdapter, TokenColumn, elements, tokens};

/// How many heads, how wide, who sees whom, and the rows of the sequences.
#[derive(Clone, Debug)]
pub struct AttentionAlone {
    pub heads: [usize; 2],
    pub width: usize,
    pub mask: Mask,
    pub bias: Biased,
    pub queries: Vec<Range<usize>>,
    pub keys: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Biased {
    No,
    Alibi,
    Table,
}

/// With fewer than there are distances.
const BUCKETS: Buckets = Buckets { count: 12, max_distance: 20, bidirectional: true };

/// What there is to compare, as [`AttentionAlone::learn`] gives it.
pub const LEARNED: [&str; 5] =
    ["output", "gradient of queries", "gradient of keys", "gradient of values", "gradient of the table"];

impl AttentionAlone {
    /// Queries, keys and values, and the table of a bias.
    fn layout(&self) -> (Layout, [Param; 4]) {
        let last = |rows: &[Range<usize>]| rows.iter().map(|rows| rows.end).max().unwrap_or(0);
        let [rows, keys] = [last(&self.queries), last(&self.keys)];
        let [q, kv] = self.heads.map(|heads| heads * self.width);
        let mut layout = Layout::default();
        let params = [(rows, q), (keys, kv), (keys, kv), (BUCKETS.count, self.heads[0])]
            .map(|(rows, cols)| layout.add(ParamSpec::matrix("", rows, cols, Init::Constant(1.0))));
        (layout, params)
    }

    /// Random parameters: queries, keys, values and a table, one after another.
    pub fn params(&self, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..self.layout().0.len()).map(|_| f64::from(random.gauss(0.0, 1.0) as f32)).collect()
    }

    /// The places of queries, keys, values and the table among the parameters.
    pub fn places(&self) -> [Range<usize>; 4] {
        let (layout, _) = self.layout();
        std::array::from_fn(|at| layout.specs()[at].range())
    }

    /// What an engine makes of it: the output, each element times its [`upstream`], and the gradients of their sum with
    /// respect to queries, keys, values and the table.
    pub fn learn<E: Engine>(&self, engine: &mut E, params: &[f64]) -> [Vec<f64>; 5] {
        let params: Vec<E::Real> = params.iter().map(|&w| E::Real::from_f64(w)).collect();
        let places = self.places();
        let model = ModelAdapter::new(self.layout().0, self.clone());
        let batch = tokens(places[0].len());
        let mut gradient = vec![E::Real::from_f64(f64::NAN); params.len()];
        let loss = engine.gradient(&model, &params, &batch, Mode::default(), &mut gradient);
        let output = engine.token_losses().to_vec();
        let again = engine.loss(&model, &params, &batch);
        assert_eq!(again.to_bits(), loss.to_bits(), "the loss without a gradient");
        // The loss is a mean.
        let part =
            |place: Range<usize>| gradient[place].iter().map(|g| g.to_f64() * batch.len() as f64).collect();
        let [q, k, v, table] = places.map(part);
        [output, q, k, v, table]
    }
}

impl TokenColumn for AttentionAlone {
    fn of<T: Tensor>(&self, params: BoundParams<'_, T>, _: &Batch, _: Mode) -> T {
        let (_, [q, k, v, table]) = self.layout();
        let slopes = alibi_slopes(self.heads[0]);
        let bias = match self.bias {
            Biased::No => None,
            Biased::Alibi => Some(Bias::Alibi(&slopes[..])),
            Biased::Table => Some(Bias::Table(params[table], BUCKETS)),
        };
        let spec = |scale| AttentionSpec {
            n_head: self.heads[0],
            n_kv_head: self.heads[1],
            scale,
            mask: self.mask,
            bias,
            queries: &self.queries,
            keys: &self.keys,
        };
        // Twice, so that all gradients are added to what is there as well.
        let attend = |scale| params[q].attention(params[k], params[v], spec(scale));
        let y = elements(attend(0.4) + attend(-0.3));
        let upstream: Vec<f64> = (0..y.shape().0).map(upstream).collect();
        y * y.constant(upstream.len(), 1, &upstream)
    }
}

/// How much each element of an output counts.
pub fn upstream(n: usize) -> f64 {
    0.2 + (n as f64 * 1.7 + 0.5).sin()
}
