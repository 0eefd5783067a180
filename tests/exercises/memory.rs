//! Chapter 20, what training has to remember: its tables and the answers to its exercises.

use gradus::Engine;
use gradus::data::Batch;
use gradus::engine::GradientTo;
use gradus::fast::{FastEngine, NodeInfo, Precision};
use gradus::model::{Decoder, DecoderConfig, Mode, Model};
use gradus::thread_pool::ThreadPool;
use gradus::train::LossScaler;

use crate::says;
use crate::translation::thousands;

const LENGTH: usize = 512;

fn llama(n_layer: usize, vocab_size: usize) -> Decoder {
    let config = DecoderConfig { n_layer, context: LENGTH, ..DecoderConfig::llama(vocab_size) };
    Decoder::new(config).expect("a preset is right")
}

/// The numbers that a node holds for each token: of its result, and what it saves.
type Held = (String, usize, usize);

/// What is on the tape after the gradient of one text, without parameters.
fn tape(model: &Decoder, precision: Precision) -> Vec<NodeInfo> {
    let mut engine = FastEngine::new(ThreadPool::new(1)).with_precision(precision);
    let params = vec![0.0; model.layout().len()];
    let mut gradient = vec![0.0; model.layout().trainable_len()];
    let mut batch = Batch::new();
    batch.push(vec![0; LENGTH + 1]);
    let (total, to) = (batch.total_loss_weight(), GradientTo::Write(&mut gradient));
    engine.accumulate(model, &params, &batch, Mode::default(), total, to);
    engine.tape().into_iter().filter(|node| node.data + node.saved >= LENGTH).collect()
}

fn held(nodes: &[NodeInfo]) -> Vec<Held> {
    let held = |node: &NodeInfo| (node.op.clone(), node.data / LENGTH, node.saved / LENGTH);
    nodes.iter().map(held).collect()
}

#[test]
fn chapter_20_a_block() {
    let sum = |n_layer| {
        let nodes = held(&tape(&llama(n_layer, 64), Precision::F32));
        nodes.iter().map(|(_, data, saved)| data + saved).sum::<usize>()
    };
    let block = sum(2) - sum(1);
    says(20, &format!("2 + 2·w + 2·heads | {} |", thousands(block)));
    says(20, &format!("Eight blocks make {}.", thousands(8 * block)));
    let all = sum(1) - block + 8 * block;
    let head = 32_000 - 64; // that of a vocabulary of 64 is counted
    says(20, &format!("a token leaves {} numbers behind", thousands(all + head)));
    says(20, &format!("that is {:.0} MB", ((all + head) * 1024 * 4) as f64 / 1e6));
}

/// The float16 next to a number: eleven binary digits, of which the last is never below 2 to the power of -24.
fn f16(x: f64) -> f64 {
    let digit = 2.0_f64.powi((x.abs().log2().floor() as i32 - 10).max(-24));
    let rounded = (x / digit).round_ties_even() * digit;
    if rounded.abs() < 65520.0 { rounded } else { f64::INFINITY }
}

#[test]
fn chapter_20_gradients_of_sixteen_bits() {
    let shown = |x: f64| match x {
        0.0 => "0".to_owned(),
        x if x.is_infinite() => "infinite".to_owned(),
        x => {
            let digits = (3 - x.log10().floor() as i32).max(0) as usize;
            format!("{x:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    for (gradient, name) in [(2.0, "2"), (0.0031, "0.0031"), (2.5e-6, "0.0000025"), (1e-8, "0.00000001")] {
        let scaled = f16(65536.0 * gradient) / 65536.0;
        says(20, &format!("| {name} | {} | {} |", shown(f16(gradient)), shown(scaled)));
    }
    // Next to 1, below: the step is less than half of the gap.
    let bf16 = |x: f64| (x * 256.0).round_ties_even() / 256.0;
    assert_eq!((0..1000).fold(1.0, |w, _| bf16(w - 0.001)), 1.0);
    assert_eq!(bf16(1.0 - 1.0 / 256.0), 1.0 - 1.0 / 256.0);
}

#[test]
fn exercise_20_1() {
    let billions = 7.0;
    says(20, &format!("{:.0} GB, before it has read a token", 16.0 * billions));
    let (base, trained) = (2.0 * billions, 16.0 * 0.005 * billions);
    says(20, &format!("{base:.0} GB and {trained:.2} GB: together {:.1} GB", base + trained));
}

#[test]
fn exercise_20_2() {
    let kept = |group: usize| 16 / group + group;
    let all: Vec<String> = [1, 2, 4, 8, 16].map(|group| kept(group).to_string()).to_vec();
    says(20, &format!("{} and {}", all[..4].join(", "), all[4]));
    assert_eq!((1..=16).filter(|group| 16 % group == 0).min_by_key(|&group| kept(group)), Some(4));
}

#[test]
fn exercise_20_3() {
    let normal = 2.0_f64.powi(-14);
    let scale = 2.0_f64.powi((normal / 2e-8).log2().ceil() as i32);
    says(20, &format!("{}, or 2 to the power of {}", thousands(scale as usize), scale.log2()));
    let most = 65504.0 / scale;
    says(20, &format!("up to {most:.0}"));
    let mut scaler = LossScaler { scale: 65536.0, ..LossScaler::default() };
    let mut steps = 0;
    while scaler.scale > scale {
        // A gradient of `most` that was multiplied by the scale, in f16.
        let scaled = most * scaler.scale;
        let mut gradient = [if scaled < 65520.0 { scaled as f32 } else { f32::INFINITY }];
        scaler.unscale(&mut gradient);
        steps += 1;
    }
    assert_eq!(scaler.skipped, steps);
    says(20, &format!("{steps} steps are skipped"));
}
