//! The worked examples of the book, and what is needed to rebuild the names GPT: computed, and compared with the text.

use std::process::Command;

use gradus::data::{Batch, Names};
use gradus::model::DecoderConfig;
use gradus::optim::{AdamSettings, Decay, Optimizer, Schedule, clip};
use gradus::scalar::{Arena, Graph, Value};
use gradus::tensor::{AttentionSpec, Mask, Rotation, packed};
use gradus::train::Settings;
use gradus::{Tensor, UnaryOp};

use crate::answers::{polynomial, rung};
use crate::training::{default, file, last_hundred};
use crate::{checks, dataset, program, says, solution_3};

/// Numbers with so many digits, those that are nearly 0 without a sign.
pub fn rounded(numbers: &[f64], digits: usize) -> String {
    let text = numbers.iter().map(|x| format!("{:.digits$}", if x.abs() < 1e-9 { 0.0 } else { *x }));
    text.collect::<Vec<_>>().join(", ")
}

#[test]
fn chapter_1_a_thousandth_more() {
    fn expression<'g>(graph: &'g Graph<'g>, a: f64) -> Value<'g> {
        let (a, b) = (graph.value(a), graph.value(2.0));
        let (c, d) = (a + b, a * b + b.pow(3.0));
        let c = c + c + 1.0;
        let c = c + 1.0 + c + (-a);
        let d = d + d * 2.0 + (b + a).relu();
        let d = d + 3.0 * d + (b - a).relu();
        let f = (c - d).pow(2.0);
        f / 2.0 + 10.0 / f
    }
    let mut arena = Arena::new();
    let [before, after] = [-4.0, -3.999].map(|a| expression(arena.graph(), a).data());
    says(1, &format!("the result `g` is {before:.4}"));
    says(1, &format!("`g` becomes {after:.4}, which is {:.4} more", after - before));
}

/// The expression has two differences. An engine that makes each of a sum and a negation has two nodes more.
#[test]
fn chapter_1_the_nodes_of_the_expression() {
    fn expression<'g>(graph: &'g Graph<'g>, minus: fn(Value<'g>, Value<'g>) -> Value<'g>) -> usize {
        let (a, b) = (graph.value(-4.0), graph.value(2.0));
        let (c, d) = (a + b, a * b + b.pow(3.0));
        let c = c + c + 1.0;
        let c = c + 1.0 + c + (-a);
        let d = d + d * 2.0 + (b + a).relu();
        let d = d + 3.0 * d + minus(b, a).relu();
        let f = minus(c, d).pow(2.0);
        let _ = f / 2.0 + 10.0 / f;
        graph.len()
    }
    let mut arena = Arena::new();
    let one = expression(arena.graph(), |a, b| a - b);
    let two = expression(arena.graph(), |a, b| a + (-b));
    says(1, &format!("the expression has {one} nodes"));
    says(1, &format!("which makes `a - b` of two operations, it has {two}."));
}

#[test]
fn chapter_3_a_product() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let x = graph.matrix(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let w = graph.matrix(2, 3, &[1.0, 0.0, -1.0, 0.5, 0.5, 0.5]);
    let y = x.matmul_t(w);
    let row = |row| y.read_row(row, |row| row.to_vec());
    says(3, &format!("{} + {} + {} = {}", 1, 0, -3, row(0)[0]).replace("+ -3", "- 3"));
    assert_eq!((row(0), row(1)), (vec![-2.0, 3.0], vec![-2.0, 7.5]));
    says(3, "⎡ -2 3 ⎤");
    says(3, "⎣ -2 7.5 ⎦");
    assert_eq!(solution_3::View::whole(6, 2, 3).place(1, 2), 11);
    says(3, "`6 + 1 · 3 + 2 · 1 = 11`");
}

#[test]
fn chapter_4_softmax_norm_and_two_tokens() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    for row in [[3.0, -4.0], [300.0, -400.0]] {
        let y = graph.matrix(1, 2, &row).rms_norm(None, 0.0).read_row(0, |row| rounded(row, 2));
        says(4, &format!("becomes {y}"));
    }
    let [q, k, v] = two_tokens();
    let out = checks::library_attention(&q, &k, &v, 1.0);
    assert_eq!(out[0], [10.0, 0.0]);
    says(4, &format!("the probabilities {:.3} and {:.3}", out[1][0] / 10.0, out[1][1] / 10.0));
    says(4, &format!("gets ({})", rounded(&out[1], 2)));
}

/// The queries, keys and values of the small case of chapters 4 and 8.
fn two_tokens() -> [Vec<Vec<f64>>; 3] {
    let rows = |a: [f64; 2], b: [f64; 2]| vec![a.to_vec(), b.to_vec()];
    [rows([1.0, 0.0], [0.0, 2.0]), rows([1.0, 0.0], [0.0, 1.0]), rows([10.0, 0.0], [0.0, 10.0])]
}

#[test]
fn chapter_5_the_box_has_the_defaults() {
    let config = DecoderConfig::microgpt(27);
    let AdamSettings { beta1, beta2, eps, weight_decay, .. } = AdamSettings::MICROGPT;
    let settings = Settings::default();
    let line = Schedule { warmup: 0, decay: Decay::Linear { floor: 0.0 } };
    assert_eq!((weight_decay, settings.schedule, settings.clip), (0.0, line, None));
    says(5, &format!("standard deviation {}", config.init_std));
    says(5, &format!("at most {} tokens", config.context));
    says(5, &format!("{} wide, {} heads of {} numbers", config.n_embd, config.n_head, config.head_dim()));
    says(5, &format!("scores times 1/√{} = {}", config.head_dim(), 1.0 / (config.head_dim() as f64).sqrt()));
    says(5, &format!("an inner width of {} with ReLU", config.n_ffn));
    assert_eq!((config.norm_eps, eps), (0.00001, 0.00000001));
    says(5, "`x / √(mean(x²) + 0.00001)`");
    says(5, &format!("`m ← {beta1} · m + {:.2} · g`", 1.0 - beta1));
    says(5, &format!("`v ← {beta2} · v + {:.2} · g²`", 1.0 - beta2));
    says(5, &format!("`m̂ = m / (1 - {beta1}ᵗ)`"));
    says(5, &format!("`v̂ = v / (1 - {beta2}ᵗ)`"));
    says(5, "`w ← w - rate · m̂ / (√v̂ + 0.00000001)`");
    says(5, &format!("`rate = {} · (1 - (t - 1) / {})`", settings.learning_rate, settings.steps));
    let help = program::run(Command::new(program::example("names")).arg("--help")).stdout;
    let option = help.lines().position(|line| line.contains("--temperature")).expect("the option");
    assert!(help.lines().skip(option).take(3).any(|line| line.contains("[default: 0.5]")), "{help}");
    says(5, "temperature 0.5");
}

/// What one can know about the next letter without a model: how frequent each is, and how frequent after each other.
fn simpler_knowledge(names: &Names) -> (f64, f64) {
    let (mut pairs, mut batch) = ([[0.0_f64; 27]; 27], Batch::new());
    names.fill(&mut batch, 0, names.len(), 16);
    for (&token, &target) in batch.sequences().tokens.iter().zip(batch.targets()) {
        pairs[token][target] += 1.0;
    }
    let entropy = |counts: &[f64]| -> f64 {
        let sum: f64 = counts.iter().sum();
        counts.iter().filter(|n| **n > 0.0).map(|n| -n * (n / sum).ln()).sum()
    };
    let letters: [f64; 27] = std::array::from_fn(|target| pairs.iter().map(|row| row[target]).sum());
    let total = batch.len() as f64;
    (entropy(&letters) / total, pairs.iter().map(|row| entropy(row)).sum::<f64>() / total)
}

#[test]
fn chapter_5_what_to_compare_with() {
    let (letters, pairs) = simpler_knowledge(&file());
    says(5, &format!("| nothing: ln 27 | {:.2} |", 27_f64.ln()));
    says(5, &format!("| how frequent each letter is | {letters:.2} |"));
    says(5, &format!("| how frequent each letter is after each other letter | {pairs:.2} |"));
    let mut training = default(42);
    let last = last_hundred(&training.steps(1000));
    let rest = training.names.len() - 1000;
    let loss = training.unread(rest);
    says(5, &format!("| what the model has learned after a thousand names | {loss:.2} |"));
    says(
        5,
        &format!("on the {},{} names that it has not read. (The {last:.4} above", rest / 1000, rest % 1000),
    );
    // The public names, if they are on this machine.
    let public = dataset::dataset("names.txt").map(|path| Names::read(&path).expect("the names can be read"));
    if let Some(names) = public.filter(|names| names.len() == 32_033) {
        let (letters, pairs) = simpler_knowledge(&names);
        says(5, &format!("their letters have a loss of {letters:.2}, and their pairs of letters {pairs:.2}"));
    }
}

#[test]
fn chapter_5_other_seeds() {
    let mut first: Vec<f64> = (1..=200).map(|seed| default(seed).steps(1)[0]).collect();
    first.sort_by(f64::total_cmp);
    let usual = first.iter().filter(|loss| (3.1..=3.6).contains(*loss)).count();
    says(5, &format!("nearly always between 3.1 and 3.6 (with {usual} of 200 *seeds*;"));
    says(5, &format!("with all, between {:.2} and {:.2})", first[0], first[199]));
    let mut losses: Vec<f64> = (1..=50).map(|seed| last_hundred(&default(seed).steps(1000))).collect();
    losses.sort_by(f64::total_cmp);
    says(5, &format!("with the seeds 1 to 50, ours is between {:.2} and {:.2}", losses[0], losses[49]));
    says(5, &format!("half of them are below {:.2}", (losses[24] + losses[25]) / 2.0));
}

#[test]
fn chapter_5_the_numbers_of_one_step() {
    let mut training = default(42);
    training.steps(1);
    let name = training.names.iter().next().expect("a name").to_owned();
    let thousands = |n: usize| format!("{},{:03}", n / 1000, n % 1000);
    let nodes = training.trainer.split_mut().0.nodes();
    says(5, &format!("{} numbers for \"{name}\"", thousands(nodes)));
}

#[test]
fn chapter_5_adam_by_hand() {
    let mut optimizer = checks::library_adam(2);
    let mut params = [0.0; 2];
    let (mut m, mut v) = ([0.0; 2], [0.0; 2]);
    for t in 1..=3 {
        let g = [2.0, if t == 2 { -0.1 } else { 0.1 }];
        let before = params;
        optimizer.update(&mut params, &g, 0.01);
        for at in 0..2 {
            m[at] = 0.85 * m[at] + 0.15 * g[at];
            v[at] = 0.99 * v[at] + 0.01 * g[at] * g[at];
            let (m_hat, v_hat) = (m[at] / (1.0 - 0.85_f64.powi(t)), v[at] / (1.0 - 0.99_f64.powi(t)));
            let step = before[at] - params[at];
            assert!((step - 0.01 * m_hat / (v_hat.sqrt() + 1e-8)).abs() < 1e-12);
            let name = ["a", "b"][at];
            says(
                5,
                &format!(
                    "| `{name}` | {t} | {} | {:.5} | {:.6} | {m_hat:.4} | {:.4} | {step:.5} |",
                    g[at],
                    m[at],
                    v[at],
                    v_hat.sqrt()
                ),
            );
        }
    }
}

#[test]
fn chapter_6_temperatures() {
    says(6, &format!("`e⁴ = {:.1}`, `e² = {:.1}` and 1", 4_f64.exp(), 2_f64.exp()));
    says(6, &format!("1 + 2 + … + 8 = {} tokens", (1..=8).sum::<usize>()));
    let mut arena = Arena::new();
    for temperature in [2.0, 1.0, 0.5] {
        let logits = [2.0, 1.0, 0.0].map(|x: f64| x / temperature);
        let p = arena.graph().matrix(1, 3, &logits).softmax().read_row(0, <[f64]>::to_vec);
        says(6, &format!("| {temperature} | {:.2} | {:.2} | {:.2} |", p[0], p[1], p[2]));
    }
}

#[test]
fn chapter_8_attention_backward() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let [q, k, v] = two_tokens().map(|rows| graph.matrix(2, 2, &rows.concat()));
    let queries = &packed(&[2]);
    let keys = queries;
    let spec =
        AttentionSpec { n_head: 1, n_kv_head: 1, scale: 1.0, mask: Mask::Causal, bias: None, queries, keys };
    q.attention(k, v, spec).at(1, 0).backward();
    let grad = |x: gradus::scalar::Matrix<'_>, row| rounded(&[0, 1].map(|col| x.at(row, col).grad()), 3);
    says(8, &format!("`dV` | {} | {} |", grad(v, 0), grad(v, 1)));
    says(8, &format!("`dQ` | {} | {} |", grad(q, 0), grad(q, 1)));
    says(8, &format!("`dK` | {} | {} |", grad(k, 0), grad(k, 1)));
    let p = [0.0, 2.0].map(f64::exp);
    let p = p.map(|x| x / (p[0] + p[1]));
    let mean = p[0] * 10.0;
    says(8, &format!("`P` | 1, 0 | {} |", rounded(&p, 3)));
    says(8, &format!("`dS` | 0, 0 | {} |", rounded(&[p[0] * (10.0 - mean), p[1] * (0.0 - mean)], 3)));
    says(8, &format!("`Σ p·dp` is {mean:.3}"));
}

#[test]
fn chapter_8_rope_and_swiglu() {
    let mut arena = Arena::new();
    let graph = arena.graph();
    let rotated = |position: usize| {
        graph
            .matrix(1, 2, &[1.0, 0.0])
            .rope(&[position], 1, Rotation::plain(10_000.0))
            .read_row(0, <[f64]>::to_vec)
    };
    says(8, &format!("({})", rounded(&rotated(1), 3)));
    let dot = |a: usize, b: usize| rotated(a).iter().zip(&rotated(b)).map(|(a, b)| a * b).sum::<f64>();
    assert!((dot(3, 1) - dot(7, 5)).abs() < 1e-12);
    says(8, &format!("cos 2 = {:.3}", dot(3, 1)));
    let (g, u) = (graph.value(1.0), graph.value(2.0));
    let y = g.silu() * u;
    y.backward();
    says(8, &format!("`s = {:.4}`", UnaryOp::Sigmoid.eval(1.0)));
    says(8, &format!("`y = {:.4}`", y.data()));
    says(8, &format!("toward `u` {:.4} and toward `g` {:.4}", u.grad(), g.grad()));
}

#[test]
fn chapter_9_schedule_clipping_and_muon() {
    let schedule = Schedule { warmup: 100, decay: Decay::Cosine { floor: 0.02 } };
    for step in [0, 50, 100, 550, 999] {
        says(9, &format!("| {step} | {:.5} |", 0.003 * schedule.factor(step, 1000)));
    }
    let mut gradient = [3.0, 4.0];
    assert_eq!(clip(&mut gradient, 1.0), 5.0);
    says(9, &format!("becomes ({})", rounded(&gradient, 1)));
    says(9, &format!("0.1 becomes {}", rounded(&polynomial(0.1), 2)));
}

/// The constants of the formulas are those of the program.
#[test]
fn chapter_9_the_formulas_have_the_defaults() {
    let recipe = include_str!("../../examples/support/recipe.rs");
    assert!(recipe.contains("AdamSettings { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay,"));
    says(9, "with 0.9 and 0.99 for the two running means");
    assert!(recipe.contains("MuonSettings { momentum: 0.95, order, iterations: 5, weight_decay,"));
    says(9, "`m ← 0.95 · m + 0.05 · g`");
    let muon = include_str!("../../src/optim/muon.rs");
    assert!(
        ["A: f32 = 3.4445;", "B: f32 = -4.7750;", "C: f32 = 2.0315;"].iter().all(|line| muon.contains(line))
    );
    says(9, "`3.4445·X - 4.7750·(X·Xᵀ)·X + 2.0315·(X·Xᵀ)²·X`, five times");
    let help = program::run(Command::new(program::example("dialog")).arg("--help")).stdout;
    for (option, default, sentence) in [
        ("--learning-rate", "0.003", "For `r = 0.003`"),
        ("--warmup", "100", "`(t + 1) / 101` in the first 100 steps"),
        ("--weight-decay", "0.01", "`w ← w · (1 - rate · 0.01)`"),
        ("--muon-rate", "5", "`rate` is 5 times that of AdamW"),
        ("--clip", "1", "If it is more than 1"),
        ("--ema", "0.995", "`average ← 0.995 · average + 0.005 · w`"),
    ] {
        let line = help.lines().find(|line| line.trim_start().starts_with(option)).expect("the option");
        assert!(line.ends_with(&format!("[default: {default}]")), "{line}");
        says(9, sentence);
    }
}

#[test]
fn tokens_are_letters_in_order_and_bos() {
    let names = file();
    let tokenizer = names.tokenizer();
    assert_eq!((tokenizer.token('a'), tokenizer.token('z'), tokenizer.bos()), (Some(0), Some(25), 26));
    says(5, "a to z are 0 to 25, and BOS is 26");
    says(5, "27,757 names");
    assert_eq!(names.len(), 27757);
}

/// What the text of chapter 10 says about its tables.
#[test]
fn chapter_10_follows_its_tables() {
    let [time, instructions] =
        [(0, 1), (1, 2)].map(|(table, column)| move |number| rung(number)[table][column]);
    let less = |before: f64, after: f64| format!("{:.0} percent", 100.0 * (1.0 - after / before));
    says(10, &format!("from 3,418 microseconds a name to {:.1}", rung(14)[0][2]));
    assert_eq!(time(0), 3418.0);
    assert!((instructions(1) / instructions(0) - 0.25).abs() < 0.02);
    says(10, &format!("together they save only {} of the time", less(time(1), time(5))));
    let (fewer, faster) = (less(instructions(3), instructions(4)), less(time(3), time(4)));
    says(10, &format!("{fewer} fewer instructions, and {faster} less time"));
    let (more, faster) = (less(instructions(4), instructions(5)).replace('-', ""), less(time(4), time(5)));
    says(10, &format!("*{more} more* instructions, and {} *less* time", faster));
    says(10, &format!("{:.0} nanoseconds a node. For a matrix", rung(12)[1][1]));
    let (before, after) = (rung(5)[1][0], rung(6)[1][0]);
    says(10, &format!("{:.1} times fewer nodes, and a sum", before / after));
}
