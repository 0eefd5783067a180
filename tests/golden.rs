use gradus::data::{Batch, Names};
use gradus::model::{Decoder, DecoderConfig};
use gradus::random::Random;
use gradus::scalar::Scalar;
use gradus::train::{Settings, Trainer};
use std::path::Path;
mod common;

#[test]
fn t() {
    let mut random = Random::python(42);
    let mut names = Names::read(&common::dataset("names.txt").unwrap()).unwrap();
    names.shuffle(&mut random);
    let model = Decoder::new(DecoderConfig::microgpt(names.vocab_size())).unwrap();
    let golden: Vec<f64> = std::fs::read_to_string("../shared/golden/microgpt/losses.txt")
        .unwrap()
        .lines()
        .map(|l| l.parse().unwrap())
        .collect();
    let mut trainer = Trainer::new(model, Scalar::new(), Settings::default(), &mut random);
    let mut batch = Batch::new();
    let t = std::time::Instant::now();
    let mut gap: f64 = 0.0;
    for step in 0..1000 {
        names.fill(&mut batch, step, 1, 16);
        let loss = trainer.step(&batch).loss;
        gap = gap.max((loss - golden[step]).abs());
    }
    println!("gap {gap:e} {:?}", t.elapsed());
    for _ in 0..20 {
        let mut s = gradus::generate::Sampler::new(gradus::generate::Sampling { temperature: 0.5 });
        let (e, m, w) = trainer.parts();
        let bos = names.tokenizer().bos();
        let out = gradus::generate::generate(e, m, w, &[bos], bos, &mut s, &mut random);
        print!("{} ", names.tokenizer().text(&out));
    }
}
