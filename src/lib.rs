//! Transformers, step by step.
//!
//! *Gradus* is Latin for a step. This crate begins with one number that knows how it was computed ([`scalar::Value`]) and
//! leads up to GPTs that invent names and continue dialogues. Read it in this order:
//!
//! 1. [`function`]: functions and their slopes, the whole table of derivatives.
//! 2. [`scalar`]: numbers in a graph, and the backward pass: automatic differentiation.
//! 3. [`tensor`]: the contract between models and engines, with the definitions of softmax, attention and the rest.
//! 4. [`model`]: the transformer, written once for every engine.
//! 5. [`params`] and [`optim`]: parameters, and how gradients update them.
//! 6. [`tokenizer`] and [`data`]: from text to batches of tokens.
//! 7. [`train`] and [`generate`]: the training loop and the generation loop; [`score`]: how good a text is that was generated.
//! 8. [`checkpoint`]: a trained model on disk.
//! 9. [`fast`]: the same models on whole matrices in `f32`.
//! 10. [`cost`]: what a model of any size needs: parameters, memory and floating-point operations.
//!
//! All of it together, on three names:
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
//! let train_step = |step| {
//!     names.fill(&mut batch, step, 1, 16);
//!     trainer.step(&batch).loss
//! };
//! let losses: Vec<f64> = (0..60).map(train_step).collect();
//! assert!(losses[59] < 0.5 * losses[0]);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod cost;
pub mod counter_rng;
pub mod crew;
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
pub mod score;
pub mod tensor;
pub mod thread_pool;
pub mod tokenizer;
pub mod train;

pub use engine::{Engine, Reader};
pub use function::{BinaryOp, UnaryOp};
pub use model::Model;
pub use tensor::Tensor;

/// The code of the front page, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
