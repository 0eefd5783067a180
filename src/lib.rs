//! Transformers, step by step.
//!
//! *Gradus* is Latin for a step. This crate begins with one number that remembers how it was made
//! ([`scalar::Value`]), and ends, for now, with a GPT that invents names. Everything between the two is here to be
//! read, in this order:
//!
//! 1. [`function`]: functions and their slopes, the whole table of derivatives.
//! 2. [`scalar`]: numbers in a graph, and the backward pass: automatic differentiation.
//! 3. [`tensor`]: the contract between models and engines, and what softmax, attention and the rest *are*.
//! 4. [`model`]: the transformer, written once for every engine.
//! 5. [`params`] and [`optim`]: weights, and how they learn from gradients.
//! 6. [`tokenizer`] and [`data`]: from text to numbers.
//! 7. [`train`] and [`generate`]: the loop that learns and the loop that speaks.
//! 8. [`checkpoint`]: a trained model on disk.
//!
//! All of it at once, on three names:
//!
//! ```
//! use gradus::data::{Batch, Names};
//! use gradus::model::{Decoder, DecoderConfig};
//! use gradus::random::Random;
//! use gradus::scalar::ScalarEngine;
//! use gradus::train::{Settings, Trainer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut random = Random::new(42);
//! let names = Names::from_text("ada\nbob\neve\n")?;
//! let config = DecoderConfig { n_embd: 8, n_head: 2, n_kv_head: 2, ..DecoderConfig::microgpt(names.vocab_size()) };
//! let model = Decoder::new(config)?;
//! let mut trainer = Trainer::new(model, ScalarEngine::new(), Settings { steps: 60, ..Settings::default() }, &mut random);
//! let mut batch = Batch::new();
//! let learn = |step| {
//!     names.fill(&mut batch, step, 1, 16);
//!     trainer.step(&batch).loss
//! };
//! let losses: Vec<f64> = (0..60).map(learn).collect();
//! assert!(losses[59] < 0.5 * losses[0]);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod counter_rng;
pub mod data;
pub mod engine;
pub mod fast;
pub mod function;
pub mod gemm;
pub mod generate;
pub mod model;
pub mod optim;
pub mod params;
pub mod random;
pub mod real;
pub mod scalar;
pub mod tensor;
pub mod thread_pool;
pub mod tokenizer;
pub mod train;

pub use engine::Engine;
pub use function::{BinaryOp, UnaryOp};
pub use model::Model;
pub use tensor::Tensor;
