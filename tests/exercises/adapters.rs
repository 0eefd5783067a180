//! Chapter 18, low-rank adapters: its tables, and the answers to its exercises.

use std::process::Command;

use gradus::data::Batch;
use gradus::model::{Decoder, DecoderConfig, Linear, LoraConfig, LoraTarget, Model, Preset};
use gradus::params::{BoundParams, Init, Layout};
use gradus::random::Random;
use gradus::scalar::{Arena, ScalarEngine};
use gradus::train::{Settings, Trainer};

use crate::translation::thousands;
use crate::{program, says};

fn llama() -> Decoder {
    Decoder::new(Preset::Llama.config(Preset::Llama.vocab_size())).expect("a preset is right")
}

/// An adapter of one layer of the Llama, `up_proj`, and how many numbers the layer has.
fn up_proj(rank: usize) -> (usize, usize) {
    let lora = LoraConfig { rank, targets: vec![LoraTarget::UpProj], ..LoraConfig::default() };
    let base = Decoder::new(DecoderConfig { n_layer: 1, ..DecoderConfig::llama(10) }).expect("a Llama");
    let model = base.with_adapters(&lora).expect("it has this layer");
    let specs = model.layout().specs();
    let weight = specs.iter().find(|spec| spec.name.ends_with("up_proj.weight")).expect("it has this layer");
    (model.layout().trainable_len(), weight.rows * weight.cols)
}

/// What `size` prints, side by side.
#[test]
fn chapter_18_memory() {
    let printed = |lora: &[&str]| {
        let options = ["--preset", "llama", "--context", "512", "--batch", "4", "--threads", "2"];
        program::run(Command::new(program::example("size")).args(options).args(lora)).stdout
    };
    let (whole, adapted) = (printed(&[]), printed(&["--lora-rank", "16"]));
    let figure = |printed: &str, name: &str| {
        let (_, memory) = printed.split_once("Memory of a training step").expect("a section");
        let line = memory.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim().split("  ").next().unwrap_or_default().to_owned()
    };
    for (name, line) in [
        ("parameters", "parameters  "),
        ("gradient", "gradient  "),
        ("gradients of the parts of the batch", "gradients of parts of the batch"),
        ("two moments", "AdamW's two moments"),
        ("results", "results, kept for the way back"),
        ("gradients of results", "gradients of results"),
        ("together", "together"),
    ] {
        says(18, &format!("| {name} | {} | {} |", figure(&whole, line), figure(&adapted, line)));
    }
}

#[test]
fn chapter_18_numbers() {
    let model = llama().with_adapters(&LoraConfig::default()).expect("a Llama has all layers");
    let (trained, base) = (model.layout().trainable_len(), model.base_len());
    let share = 100.0 * trained as f64 / base as f64;
    says(18, &format!("{} trained numbers, {share:.1} % of its own", thousands(trained)));
    says(18, &format!("with {:.1} million parameters", base as f64 / 1e6));
    for rank in [1, 4, 16, 64, 384] {
        let (numbers, all) = up_proj(rank);
        let share = 100.0 * numbers as f64 / all as f64;
        says(18, &format!("| {rank} | {} | {share:.1} % |", thousands(numbers)));
        says(18, &format!("| of {} |", thousands(all)));
    }
}

/// The first step of Adam moves the output by as much at any rank.
#[test]
fn chapter_18_alpha() {
    const INPUTS: usize = 512;
    let mut random = Random::new(18);
    let (alpha, learning_rate) = (32.0, 0.0002);
    let mut means = Vec::new();
    for rank in [4, 16, 64] {
        let (mut sum, rounds) = (0.0, 1000);
        for _ in 0..rounds {
            let mut layout = Layout::default();
            Linear::new(&mut layout, "layer", INPUTS, 1, Init::Constant(0.0)).with_adapter(
                &mut layout,
                rank,
                alpha / rank as f64,
            );
            let drawn: Vec<f64> = layout.initial(&mut random);
            let x: Vec<f64> = (0..INPUTS).map(|_| random.gauss(0.0, 1.0)).collect();
            let a = layout.specs()[1].range();
            let low = drawn[a].chunks(INPUTS).map(|a| a.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>());
            // B is the learning rate, with the signs of A·x; so the output moves by this much.
            let moved: f64 = low.map(|low| learning_rate * low.signum() * low).sum();
            sum += alpha / rank as f64 * moved;
        }
        means.push(sum / rounds as f64 / (alpha * learning_rate));
    }
    let mean = means.iter().sum::<f64>() / 3.0;
    assert!(means.iter().all(|own| (own / mean - 1.0).abs() < 0.02), "{means:?}");
    says(18, &format!("the mean of `|(A·x)ⱼ|` is {mean:.2},"));
    says(18, &format!("32 · 0.0002 · {mean:.2} = {:.4} in the first step", alpha * learning_rate * mean));
}

#[test]
fn exercise_18_1() {
    let (numbers, all) = up_proj(384);
    assert_eq!(numbers, all);
    says(18, "gives a rank of 384");
    let square = 512 * 512;
    assert_eq!(square / (512 + 512), 256);
    says(
        18,
        &format!(
            "The square layer has {} numbers, and `r·1024` are as many at a rank of 256",
            thousands(square)
        ),
    );
}

#[test]
fn exercise_18_2() {
    let config = DecoderConfig {
        context: 8,
        n_embd: 16,
        n_head: 2,
        n_kv_head: 1,
        n_ffn: 24,
        n_layer: 1,
        ..DecoderConfig::llama(7)
    };
    let base = Decoder::new(config).expect("a small Llama");
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    let model = base.clone().with_adapters(&lora).expect("a Llama has all layers");
    let mut random = Random::new(4);
    let base_params: Vec<f64> = base.layout().initial(&mut random);
    let mut batch = Batch::new();
    batch.push([1, 5, 2, 6, 3]);
    let without = |params: &[f64]| {
        Trainer::from_params(base.clone(), ScalarEngine::new(), Settings::default(), params.to_vec())
            .step(&batch)
            .loss
    };
    // Which matrices move in the first steps, if those with this in their names are drawn and the others are zero.
    let mut moves = |drawn: &str, steps: usize| {
        let mut params = base_params.clone();
        params.resize(model.layout().len(), 0.0);
        for (spec, range, _) in model.layout().trainable().filter(|(spec, ..)| spec.name.contains(drawn)) {
            assert!(spec.is_adapter());
            params[range].iter_mut().for_each(|w| *w = random.gauss(0.0, 0.5));
        }
        let mut trainer =
            Trainer::from_params(model.clone(), ScalarEngine::new(), Settings::default(), params);
        (0..steps)
            .map(|step| {
                let before = trainer.params().to_vec();
                let loss = trainer.step(&batch).loss;
                if step == 0 || drawn == "none of them" {
                    assert_eq!(loss, without(&base_params), "it is the base");
                }
                ["lora_A", "lora_B"].map(|part| {
                    let of = |(spec, ..): &(&gradus::params::ParamSpec, _, _)| spec.name.contains(part);
                    model
                        .layout()
                        .trainable()
                        .filter(of)
                        .any(|(_, range, _)| before[range.clone()] != trainer.params()[range])
                })
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(moves("lora_B", 2), [[true, false], [true, true]]);
    says(18, "`A` moves first, and `B` from the second step on");
    assert_eq!(moves("none of them", 5), [[false, false]; 5]);
    says(18, "If both are zero, neither ever moves");
}

#[test]
fn exercise_18_3() {
    let mut layout = Layout::default();
    let layer =
        Linear::new(&mut layout, "layer", 2, 2, Init::Constant(0.0)).with_adapter(&mut layout, 1, 0.5);
    let mut arena = Arena::new();
    let graph = arena.graph();
    let numbers: [(usize, usize, &[f64]); 3] =
        [(2, 2, &[1.0, 0.0, 0.0, 1.0]), (1, 2, &[1.0, 2.0]), (2, 1, &[3.0, -1.0])];
    let bound = numbers.map(|(rows, cols, data)| graph.matrix(rows, cols, data));
    // The outputs for the two unit vectors are the columns of the merged weight.
    let inputs = graph.matrix(3, 2, &[1.0, 0.0, 0.0, 1.0, 2.0, 1.0]);
    let y = layer.forward(BoundParams::new(&bound), inputs);
    let at = |row: usize, col: usize| y.at(row, col).data();
    says(18, &format!("which makes `{} {}` and `{} {}`", at(0, 0), at(1, 0), at(0, 1), at(1, 1)));
    says(18, &format!("The output is `{} {}`", at(2, 0), at(2, 1)));
}
