//! Chapter 17, memory is the limit of generation: its figures and the answers to its exercises.

use gradus::gemm::{Dtype, StoredMatrix};
use gradus::model::{Decoder, DecoderConfig, Model};
use gradus::params::{ParamKind, ParamSpec};
use gradus::random::Random;

use crate::says;
use crate::translation::thousands;

/// What the chapter's machine reads in a second, and multiplies.
const BANDWIDTH: f64 = 20e9;
const OPERATIONS: f64 = 100e9;

fn preset() -> Decoder {
    Decoder::new(DecoderConfig::llama(32_000)).expect("it fits")
}

/// Bytes of the weights of the preset.
fn weights(dtype: Dtype) -> usize {
    let bytes = |spec: &ParamSpec| match (spec.kind, dtype) {
        (ParamKind::Matrix | ParamKind::Embedding, Dtype::Bf16) => 2 * spec.range().len(),
        (ParamKind::Matrix | ParamKind::Embedding, Dtype::Int8) => spec.range().len() / 32 * 34,
        _ => 4 * spec.range().len(),
    };
    preset().layout().specs().iter().map(bytes).sum()
}

/// Bytes of keys and values that are kept of a token.
fn kept(heads: usize) -> usize {
    let config = preset().config().clone();
    2 * config.n_layer * heads * config.head_dim() * 4
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

const DTYPES: [(&str, Dtype); 3] = [("f32", Dtype::F32), ("bf16", Dtype::Bf16), ("int8", Dtype::Int8)];

#[test]
fn chapter_17_what_a_token_reads() {
    for (name, dtype) in DTYPES {
        let bytes = weights(dtype);
        let tokens = BANDWIDTH / bytes as f64;
        says(
            17,
            &format!(
                "| {name} | {} | {:.1} | {tokens:.0} |",
                megabytes(bytes),
                1e3 * bytes as f64 / BANDWIDTH
            ),
        );
    }
    let numbers = preset().layout().len();
    let milliseconds = 1e3 * 2.0 * numbers as f64 / OPERATIONS;
    says(17, &format!("{} operations, which take {milliseconds:.2} ms", thousands(2 * numbers)));
    let reading = 1e3 * weights(Dtype::F32) as f64 / BANDWIDTH;
    says(17, &format!("reading takes {:.0} times as long as multiplying", reading / milliseconds));
}

#[test]
fn chapter_17_a_prompt() {
    let reading = weights(Dtype::F32) as f64 / BANDWIDTH;
    let token = 2.0 * preset().layout().len() as f64 / OPERATIONS;
    says(
        17,
        &format!(
            "From {:.0} tokens on, multiplying takes longer than reading",
            (reading / token).round() + 1.0
        ),
    );
    let [together, alone] = [1e3 * (reading.max(512.0 * token)), 1e3 * 512.0 * reading.max(token)];
    says(17, &format!("take {together:.0} ms together, and {alone:.0} ms one by one"));
}

#[test]
fn chapter_17_the_cache() {
    says(17, &format!("2 · 8 · 4 · 64 · 4 = {} bytes", thousands(kept(4))));
    let all = kept(4) * 4096;
    says(17, &format!("{} after 4,096 tokens", megabytes(all)));
    for (name, dtype) in DTYPES {
        says(17, &format!("| {name} | {:.0} % |", 100.0 * all as f64 / weights(dtype) as f64));
    }
}

/// By how much the products of a layer with 512 inputs change when its weights are stored in another way: the root of the mean
/// square of the differences, in proportion to that of the products.
fn difference(dtype: Dtype) -> f64 {
    const INPUTS: usize = 512;
    const OUTPUTS: usize = 256;
    let mut random = Random::python(17);
    let mut normal =
        |count: usize, std: f64| -> Vec<f32> { (0..count).map(|_| random.gauss(0.0, std) as f32).collect() };
    let (matrix, x) = (normal(INPUTS * OUTPUTS, 0.02), normal(INPUTS, 1.0));
    let stored = StoredMatrix::new(dtype, &matrix, OUTPUTS, INPUTS);
    let mut row = vec![0.0; INPUTS];
    let (mut wrong, mut whole) = (0.0, 0.0);
    for output in 0..OUTPUTS {
        stored.read_row(output, &mut row);
        let dot =
            |weights: &[f32]| weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
        let right = dot(&matrix[output * INPUTS..][..INPUTS]);
        wrong += (dot(&row) - right).powi(2);
        whole += right * right;
    }
    (wrong / whole).sqrt()
}

#[test]
fn chapter_17_how_far_off() {
    assert_eq!(difference(Dtype::F32), 0.0);
    let [bf16, int8] = [Dtype::Bf16, Dtype::Int8].map(|dtype| 100.0 * difference(dtype));
    says(17, &format!("they differ by {bf16:.2} % with bf16 and by {int8:.2} % with int8"));
    // The bounds of the chapter, for each weight.
    let mut random = Random::new(3);
    let numbers: Vec<f32> = (0..32).map(|_| random.gauss(0.0, 0.02) as f32).collect();
    let most = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let mut read = [0.0; 32];
    StoredMatrix::new(Dtype::Bf16, &numbers, 1, 32).read_row(0, &mut read);
    assert!(numbers.iter().zip(&read).all(|(a, b)| (a - b).abs() <= a.abs() / 256.0));
    StoredMatrix::new(Dtype::Int8, &numbers, 1, 32).read_row(0, &mut read);
    assert!(numbers.iter().zip(&read).all(|(a, b)| (a - b).abs() <= most / 254.0 + most / 2048.0));
}

#[test]
fn exercise_17_1() {
    let tokens = 4.0 * BANDWIDTH / weights(Dtype::Int8) as f64;
    says(17, &format!("At most {tokens:.0}: it reads 80 GB in a second"));
    let multiplied = OPERATIONS / (2.0 * preset().layout().len() as f64);
    assert!(multiplied < tokens);
    says(17, &format!("0.83 ms a token, which leaves {multiplied:.0}"));
}

#[test]
fn exercise_17_2() {
    let [four, eight] = [4, 8].map(|heads| kept(heads) * 4096);
    says(17, &format!("{} instead of {}.", megabytes(eight), megabytes(four)));
    let share = 100.0 * eight as f64 / weights(Dtype::Int8) as f64;
    says(17, &format!("That is {share:.0} % of the weights in int8"));
}

#[test]
fn exercise_17_3() {
    let seconds = |sequences: usize| {
        let reading = (weights(Dtype::F32) + sequences * kept(4) * 1000) as f64 / BANDWIDTH;
        reading.max(2.0 * (sequences * preset().layout().len()) as f64 / OPERATIONS)
    };
    let [one, four] = [1, 4].map(seconds);
    says(17, &format!("{:.1} ms instead of {:.1}", 1e3 * four, 1e3 * one));
    says(17, &format!("{:.1} times as many tokens a second", 4.0 * one / four));
}
