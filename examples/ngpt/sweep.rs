//! Which trainings make a comparison.

use anyhow::{Result, ensure};
use gradus::model::{Decoder, InnerScale, Model, OutputAxis, Residual, SoftmaxScale, Sphere};
use support::{Entry, Given, Method, Usage};

use crate::arm::ArmRecipe;
use crate::recipe::{Arch, Logits, Recipe, Sweep};

/// The learning rates of a grid, the same for all.
const RATES: [f64; 5] = [0.001, 0.002, 0.004, 0.008, 0.016];

/// A variant: what it is called, and what is different about it.
type Variant = (String, Arch, Box<dyn Fn(&mut Recipe)>);

/// All trainings, seed by seed, so that after the first of them every arm can be seen.
pub fn entries(recipe: &Recipe, given: &Given, vocab_size: usize) -> Result<Vec<Entry<ArmRecipe>>> {
    let problem = "one learning rate for each of the --arms, or none";
    let fits = recipe.rates.is_empty() || (recipe.rates.len() == recipe.arms.len() && recipe.sweep.is_none());
    ensure!(fits, Usage(format!("--rates needs {problem}, and no --sweep")));
    let mut entries = Vec::new();
    for at in 0..recipe.seeds {
        let seed = recipe.train.seed.wrapping_add(at as u64);
        for (arm, arch, change) in variants(recipe) {
            let mut own = recipe.clone();
            defaults(&mut own, arch, given);
            change(&mut own);
            own.train.seed = seed;
            // What says which others there are has no bearing on this one.
            (own.arms, own.sweep, own.seeds, own.rates) = (vec![arch], None, 1, Vec::new());
            let params = match arch {
                Arch::Baseline => Decoder::new(own.decoder(vocab_size)).map(|model| model.layout().len()),
                Arch::Ngpt => Sphere::new(own.sphere(vocab_size)).map(|model| model.layout().len()),
            };
            entries.push(Entry {
                arm,
                seed,
                params: params.map_err(Usage::of)?,
                tokens: own.train.tokens(own.sizes.context)[1],
                steps: own.train.steps,
                recipe: ArmRecipe { arch, recipe: own },
            });
        }
    }
    Ok(entries)
}

/// What each arm's options are where nothing was said: the paper's for nGPT, the usual ones for the baseline.
fn defaults(recipe: &mut Recipe, arch: Arch, given: &Given) {
    let train = &mut recipe.train;
    if !given.has("warmup") {
        train.warmup = if arch == Arch::Ngpt { 0 } else { train.steps / 10 };
    }
    if !given.has("weight_decay") {
        train.weight_decay = if arch == Arch::Ngpt { 0.0 } else { 0.1 };
    }
}

fn variants(recipe: &Recipe) -> Vec<Variant> {
    fn ngpt(name: &str, change: impl Fn(&mut Recipe) + 'static) -> Variant {
        (name.to_owned(), Arch::Ngpt, Box::new(change))
    }
    fn logits(name: &str, kind: Logits, start: f64) -> Variant {
        ngpt(name, move |recipe| {
            recipe.sphere.logit_scale = kind;
            recipe.sphere.logit_start = start;
        })
    }
    fn starts(name: &str, alpha: f64, logits: f64, change: impl Fn(&mut Recipe) + 'static) -> Variant {
        ngpt(name, move |recipe| {
            (recipe.sphere.alpha, recipe.sphere.logit_start) = (alpha, logits);
            change(recipe);
        })
    }
    let alpha = |name: &str, alpha: f64| ngpt(name, move |recipe| recipe.sphere.alpha = alpha);
    let (width, layers) = (recipe.sizes.embd as f64, recipe.sizes.layers as f64);
    match recipe.sweep {
        None => {
            let arm = |(at, &arch): (usize, &Arch)| -> Variant {
                let rate = recipe.rates.get(at).copied();
                let change = move |recipe: &mut Recipe| {
                    recipe.train.learning_rate = rate.unwrap_or(recipe.train.learning_rate);
                };
                (arch.name().to_owned(), arch, Box::new(change))
            };
            recipe.arms.iter().enumerate().map(arm).collect()
        }
        Some(Sweep::Alpha) => vec![
            alpha("alpha 0.05", 0.05),
            alpha("alpha 0.15", 0.15),
            alpha("alpha 0.20", 0.20),
            alpha("alpha 1/layers", 1.0 / layers),
            ngpt("alpha 1/layers, signed", move |recipe| {
                (recipe.sphere.alpha, recipe.sphere.signed_alpha) = (1.0 / layers, true);
            }),
            ngpt("alpha 0.05, grows to 4 times as much", |recipe| {
                (recipe.sphere.alpha, recipe.sphere.grow_alpha) = (0.05, 4.0);
            }),
            ngpt("sum, alpha 0.05", |recipe| {
                (recipe.sphere.residual, recipe.sphere.alpha) = (Residual::Sum, 0.05);
            }),
            ngpt("sum, alpha 1/layers", move |recipe| {
                (recipe.sphere.residual, recipe.sphere.alpha) = (Residual::Sum, 1.0 / layers);
            }),
        ],
        Some(Sweep::LogitScale) => vec![
            logits("one for each token, from 1", Logits::PerToken, 1.0),
            logits("one for each token, from 10", Logits::PerToken, 10.0),
            logits("a single one, from 1", Logits::Scalar, 1.0),
            logits("a single one, from 10", Logits::Scalar, 10.0),
            logits("the constant 1/√width", Logits::Fixed, width.sqrt().recip()),
            logits("the constant 1", Logits::Fixed, 1.0),
            logits("the constant 10", Logits::Fixed, 10.0),
        ],
        Some(Sweep::QkNorm) => vec![
            ngpt("QK-norm, √d_head", |_| {}),
            ngpt("QK-norm, 1/√d_head", |recipe| recipe.sphere.softmax_scale = SoftmaxScale::InverseRoot),
            ngpt("no QK-norm, √d_head", |recipe| recipe.sphere.no_qk_norm = true),
            ngpt("no QK-norm, 1/√d_head", |recipe| {
                recipe.sphere.no_qk_norm = true;
                recipe.sphere.softmax_scale = SoftmaxScale::InverseRoot;
            }),
        ],
        Some(Sweep::Ablation) => vec![
            ngpt("nothing taken away", |_| {}),
            ngpt("scores by 1/√d_head", |recipe| recipe.sphere.softmax_scale = SoftmaxScale::InverseRoot),
            ngpt("√d alone in the MLP", |recipe| recipe.sphere.inner_scale = InnerScale::Root),
            ngpt("no √d, s_u, s_v in the MLP", |recipe| recipe.sphere.inner_scale = InnerScale::None),
            ngpt("a single s_z", |recipe| recipe.sphere.logit_scale = Logits::Scalar),
            logits("no s_z", Logits::Fixed, 1.0),
            ngpt("output matrices along the last axis", |recipe| {
                recipe.sphere.output_axis = OutputAxis::Last
            }),
            ngpt("no short steps: alpha 1", |recipe| recipe.sphere.alpha = 1.0),
            ngpt("no QK-norm", |recipe| recipe.sphere.no_qk_norm = true),
            ngpt("projected every 10 steps", |recipe| recipe.sphere.constrain_every = 10),
            ngpt("projected at the start alone", |recipe| recipe.sphere.constrain_every = 0),
        ],
        Some(Sweep::Rate) => rates(recipe, &[Method::Adamw, Method::Muon]),
        Some(Sweep::Width) => [64, 128, 256].into_iter().flat_map(|width| at_width(recipe, width)).collect(),
        Some(Sweep::Remedies) => vec![
            ("baseline".to_owned(), Arch::Baseline, unchanged()),
            starts("the paper's nGPT", 0.05, 1.0, |_| {}),
            starts("warmup of a tenth", 0.05, 1.0, |recipe| recipe.train.warmup = recipe.train.steps / 10),
            starts("signed alpha", 0.05, 1.0, |recipe| recipe.sphere.signed_alpha = true),
            starts("alpha from 1/layers", 1.0 / layers, 1.0, |_| {}),
            starts("s_z from 10", 0.05, 10.0, |_| {}),
            starts("alpha from 1/layers, s_z from 10", 1.0 / layers, 10.0, |_| {}),
            starts("both, warmup of a tenth", 1.0 / layers, 10.0, |recipe| {
                recipe.train.warmup = recipe.train.steps / 10;
            }),
            starts("both, signed alpha", 1.0 / layers, 10.0, |recipe| recipe.sphere.signed_alpha = true),
            starts("both, Muon along the sphere", 1.0 / layers, 10.0, |recipe| recipe.sphere.tangent = true),
        ],
        Some(Sweep::Laptop) => laptop(),
    }
}

/// Every rate for every arm and optimizer.
fn rates(recipe: &Recipe, methods: &[Method]) -> Vec<Variant> {
    let arms = recipe.arms.iter().flat_map(|&arch| methods.iter().map(move |&method| (arch, method)));
    arms.flat_map(|(arch, method)| {
        RATES.into_iter().map(move |rate| {
            let change = move |recipe: &mut Recipe| {
                (recipe.train.optimizer, recipe.train.learning_rate) = (method, rate);
            };
            let variant: Variant =
                (format!("{} {} {rate}", arch.name(), method.name()), arch, Box::new(change));
            variant
        })
    })
    .collect()
}

/// Every rate for every arm at a width, with heads as wide as they are.
fn at_width(recipe: &Recipe, width: usize) -> Vec<Variant> {
    let head = (recipe.sizes.embd / recipe.sizes.heads).max(1);
    let all = rates(recipe, &[recipe.train.optimizer]);
    all.into_iter()
        .map(move |(name, arch, change)| {
            let wider = move |recipe: &mut Recipe| {
                change(recipe);
                (recipe.sizes.embd, recipe.sizes.heads, recipe.ffn) = (width, (width / head).max(1), None);
            };
            let variant: Variant = (format!("{width} wide, {name}"), arch, Box::new(wider));
            variant
        })
        .collect()
}

/// 200 steps of 256 tokens with AdamW, as on a laptop: scores by 1/√d_head, no factors in the MLP, all matrices along the
/// last axis, a single logit scale.
fn laptop() -> Vec<Variant> {
    fn setting(recipe: &mut Recipe) {
        let (train, sphere) = (&mut recipe.train, &mut recipe.sphere);
        (train.steps, train.optimizer, train.warmup) = (200, Method::Adamw, 0);
        (train.batch, train.accumulate, recipe.sizes.context) = (2, 1, 128);
        sphere.softmax_scale = SoftmaxScale::InverseRoot;
        sphere.inner_scale = InnerScale::None;
        sphere.output_axis = OutputAxis::Last;
        sphere.residual = Residual::Sum;
        sphere.logit_scale = Logits::Fixed;
    }
    let mut all: Vec<Variant> = vec![("baseline".to_owned(), Arch::Baseline, Box::new(setting))];
    for (scale, start) in [("1/√width", None), ("10", Some(10.0))] {
        for (alpha, qk_norm) in [(0.05, true), (0.15, true), (0.2, true), (0.2, false)] {
            let off = if qk_norm { "" } else { ", no QK-norm" };
            let change = move |recipe: &mut Recipe| {
                setting(recipe);
                let width = recipe.sizes.embd as f64;
                recipe.sphere.logit_start = start.unwrap_or(width.sqrt().recip());
                (recipe.sphere.alpha, recipe.sphere.no_qk_norm) = (alpha, !qk_norm);
            };
            all.push((format!("logits by {scale}, alpha {alpha}{off}"), Arch::Ngpt, Box::new(change)));
        }
    }
    for (alpha, start) in [(0.05, 1.0), (0.2, 10.0)] {
        let paper = move |recipe: &mut Recipe| {
            let sphere = recipe.sphere.clone();
            setting(recipe);
            recipe.sphere = sphere;
            (recipe.sphere.alpha, recipe.sphere.logit_start) = (alpha, start);
        };
        all.push((
            format!("the paper's scalings, s_z from {start}, alpha {alpha}"),
            Arch::Ngpt,
            Box::new(paper),
        ));
    }
    all
}

fn unchanged() -> Box<dyn Fn(&mut Recipe)> {
    Box::new(|_| {})
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Arch::Baseline => "baseline",
            Arch::Ngpt => "ngpt",
        }
    }
}
