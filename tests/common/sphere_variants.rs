//! The normalized transformers that tests of models go through.

use gradus::data::Batch;
use gradus::model::{
    AlphaSign, InnerScale, LogitScale, Model, OutputAxis, Residual, SoftmaxScale, Sphere, SphereConfig,
};
use gradus::optim::constrain;
use gradus::params::ParamKind;
use gradus::random::Random;

/// That of the paper in a small size, each variant on its own, and all of them at once.
pub fn sphere_variants() -> Vec<(&'static str, SphereConfig)> {
    let small = SphereConfig {
        context: 8,
        n_layer: 2,
        n_embd: 8,
        n_head: 2,
        n_ffn: 12,
        rope_base: 100.0,
        ..SphereConfig::paper(11)
    };
    let everything = SphereConfig {
        residual: Residual::Sum,
        alpha: 0.5,
        alpha_sign: AlphaSign::Signed,
        qk_norm: false,
        softmax_scale: SoftmaxScale::InverseRoot,
        inner_scale: InnerScale::None,
        logit_scale: LogitScale::Fixed { value: 5.0 },
        output_axis: OutputAxis::Last,
        ..small.clone()
    };
    vec![
        ("the paper's", small.clone()),
        ("residual as a sum", SphereConfig { residual: Residual::Sum, ..small.clone() }),
        ("alpha of 0.2", SphereConfig { alpha: 0.2, ..small.clone() }),
        ("signed alpha", SphereConfig { alpha_sign: AlphaSign::Signed, ..small.clone() }),
        ("no norm of queries and keys", SphereConfig { qk_norm: false, ..small.clone() }),
        ("another softmax scale", SphereConfig { softmax_scale: SoftmaxScale::InverseRoot, ..small.clone() }),
        ("a constant inner scale", SphereConfig { inner_scale: InnerScale::Root, ..small.clone() }),
        ("no inner scale", SphereConfig { inner_scale: InnerScale::None, ..small.clone() }),
        ("one logit scale", SphereConfig { logit_scale: LogitScale::Scalar { start: 4.0 }, ..small.clone() }),
        (
            "a fixed logit scale",
            SphereConfig { logit_scale: LogitScale::Fixed { value: 9.0 }, ..small.clone() },
        ),
        ("dropout", SphereConfig { dropout: 0.2, ..small.clone() }),
        ("the wrong axis", SphereConfig { output_axis: OutputAxis::Last, ..small.clone() }),
        ("one head", SphereConfig { n_head: 1, ..small }),
        ("everything", everything),
    ]
}

/// A model and parameters as after some training: on the sphere, no two factors alike, some of `alpha` below 0.
pub fn sphere_with_params(config: &SphereConfig) -> (Sphere, Vec<f64>) {
    let model = Sphere::new(config.clone()).expect("a variant is right");
    let mut random = Random::new(11);
    let mut params: Vec<f64> = model.layout().initial(&mut random);
    for spec in model.layout().specs().iter().filter(|spec| spec.kind == ParamKind::Scale) {
        let own = &mut params[spec.range()];
        own.iter_mut().for_each(|x| *x *= 1.0 + 0.3 * random.gauss(0.0, 1.0));
        if spec.name.ends_with("alpha") {
            own.iter_mut().step_by(3).for_each(|x| *x *= -4.0);
        }
    }
    constrain(model.layout(), &mut params);
    (model, params.iter().map(|&x| f64::from(x as f32)).collect())
}

/// Sequences of unequal lengths and loss weights, with every token and every position among them.
pub fn sphere_batch(config: &SphereConfig) -> Batch {
    let mut batch = Batch::new();
    for row in 0..8 {
        let length = if row == 3 { 2 } else { config.context + 1 };
        batch.push((0..length).map(|at| (row * config.context + at * (row % 3 + 1)) % config.vocab_size));
    }
    batch.loss_weights_mut().iter_mut().enumerate().for_each(|(at, w)| *w = 0.5 + (at % 3) as f64);
    batch
}
