//! The fast engine for generation alone: weights stored in a precision of their own, and threads that stay awake.
//!
//! It records on the same tape with the same operations as [`FastEngine`](super::FastEngine), so there is one model definition and
//! one [`Tensor`](crate::Tensor). Three operations know how weights are stored: what multiplies by them (`ops/matmul_t.rs`), what
//! looks up rows of a table (`ops/gather_rows.rs`), and attention, which is computed for reading alone (`attention/reading.rs`).
//!
//! **Which bits come out.** Each row of a result is computed by itself, in an order that depends on nothing else. So the logits
//! of a sequence have the same bits in whatever company it is read, on any number of threads, and however its tokens are cut into
//! pieces.

use std::ops::Range;
use std::sync::Arc;

use super::tape::{Recording, Tape};
use super::weights::{StoredParams, Weights};
use crate::crew::Crew;
use crate::engine::{Pass, Reader};
use crate::params::{BoundParams, Layout};

/// The [`Reader`] of stored weights.
///
/// ```
/// use gradus::engine::Session;
/// use gradus::fast::{InferenceEngine, StoredParams};
/// use gradus::model::{Decoder, DecoderConfig, Model};
/// use gradus::gemm::Dtype;
///
/// let model = Decoder::new(DecoderConfig::microgpt(27))?;
/// let params: Vec<f32> = model.layout().initial(&mut gradus::random::Random::new(1));
/// let stored = StoredParams::new(model.layout(), &params, Dtype::Int8);
/// assert!(stored.bytes() < size_of_val(&params[..]));
/// let mut engine = InferenceEngine::new(2);
/// let logits = Session::single(&mut engine, &model, &stored).feed(0, &[3, 1, 4]).to_vec();
/// assert_eq!(logits.len(), 27);
/// # Ok::<(), gradus::model::ConfigError>(())
/// ```
pub struct InferenceEngine {
    crew: Arc<Crew>,
    tape: Tape,
}

impl InferenceEngine {
    /// An engine that works with so many threads, the caller's among them; 0 means one for each processor.
    pub fn new(threads: usize) -> Self {
        InferenceEngine { crew: Arc::new(Crew::new(threads)), tape: Tape::default() }
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.crew.count()
    }

    /// Its threads, for what is done between two tokens.
    pub fn crew(&self) -> Arc<Crew> {
        Arc::clone(&self.crew)
    }
}

impl Reader for InferenceEngine {
    type Params = StoredParams;

    fn run(&mut self, layout: &Layout, params: &StoredParams, pass: impl Pass, out: &mut Vec<f64>) {
        self.tape.rewind();
        let weights = Weights::Stored(params, &self.crew);
        let on = Recording { tape: &self.tape, weights };
        let matrices = on.bind(layout);
        let result = pass.run(BoundParams::new(&matrices), &mut &on);
        out.clear();
        self.tape.read(weights, |view| out.extend(view.data(result.id).iter().map(|&x| f64::from(x))));
    }

    fn copy_kept(&mut self, from: Range<usize>, to: usize) {
        self.tape.kept.get_mut().copy_tokens(from, to);
    }
}
