//! Chapter 20, what training has to remember: its tables and the answers to its exercises.

use gradus::Engine;
use gradus::cost::{Activations, Moments, TrainingMemory};
use gradus::data::Batch;
use gradus::engine::GradientTo;
use gradus::fast::{FastEngine, NodeInfo, Precision};
use gradus::model::{Decoder, DecoderConfig, LoraConfig, Mode, Model};
use gradus::thread_pool::ThreadPool;
use gradus::train::LossScaler;

use crate::says;
use crate::translation::thousands;

const LENGTH: usize = 512;

fn llama(n_layer: usize, vocab_size: usize) -> Decoder {
    let config = DecoderConfig { n_layer, context: LENGTH, ..DecoderConfig::llama(vocab_size) };
    Decoder::new(config).expect("a preset is right")
}

fn batch(sequences: usize, length: usize) -> Batch {
    let mut batch = Batch::new();
    (0..sequences).for_each(|_| batch.push(vec![0; length + 1]));
    batch
}

/// What is on the tape after the gradient of one sequence.
fn tape(model: &Decoder, precision: Precision) -> Vec<NodeInfo> {
    let mut engine = FastEngine::new(ThreadPool::new(1)).with_precision(precision);
    let params = vec![0.0; model.layout().len()];
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let batch = batch(1, LENGTH);
    let (total, to) = (batch.total_loss_weight(), GradientTo::Write(&mut gradient));
    engine.accumulate(model, &params, &batch, Mode::default(), total, to);
    engine.tape()
}

#[test]
fn chapter_20_a_block() {
    for node in tape(&llama(1, 64), Precision::F32) {
        println!("{} {:?} {} {} {}", node.op, node.shape, node.data, node.bytes, node.saved);
    }
    for node in tape(&llama(1, 64), Precision::Bf16) {
        println!("{} {:?} {} {} {}", node.op, node.shape, node.data, node.bytes, node.saved);
    }
}
