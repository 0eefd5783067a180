//! The figures of chapter 5 to compare one's own program with, and what chapters 4 and 5 say about parts left out.

use gradus::data::Names;
use gradus::random::Random;
use gradus::scalar::Arena;

use crate::formulas::{MISTAKES, Mistake, SHAPES, gradient, logits, starts, train};
use crate::says;
use crate::training::{Training, default, file, last_hundred, without};

/// A name as tokens, between two BOS.
fn tokens(names: &Names, name: &str) -> Vec<usize> {
    let letters = name.chars().filter_map(|c| names.tokenizer().token(c));
    let bos = [names.tokenizer().bos()];
    bos.into_iter().chain(letters).chain(bos).collect()
}

/// The parameters of the formula of chapter 5, in the order of the table of chapter 4.
fn by_formula() -> Vec<f64> {
    (0..4192_u32).map(|i| (f64::from(i * i % 1009) - 504.0) / 2000.0).collect()
}

/// A number to six significant digits.
fn six(x: f64) -> String {
    let digits = (5.0 - x.abs().max(1e-9).log10().floor()) as usize;
    format!("{x:.digits$}")
}

/// What chapter 5 shows: the losses of the steps 1, 2 and 10, and the first number of each matrix's gradient.
fn figures(mistake: Mistake) -> ([String; 3], [String; 9]) {
    let anna = tokens(&file(), "anna");
    let losses = train(by_formula(), std::iter::repeat_n(anna.clone(), 10), mistake);
    let gradient = gradient(&mut Arena::new(), &by_formula(), &anna, mistake).1;
    ([0, 1, 9].map(|step| six(losses[step])), starts().map(|at| six(gradient[at])))
}

#[test]
fn chapter_5_exact_figures() {
    let first: Vec<String> = by_formula().iter().take(3).map(f64::to_string).collect();
    says(5, "Let parameter `i` be `((i² mod 1009) - 504) / 2000`");
    says(5, &format!("the first three are {}, {} and {}.", first[0], first[1], first[2]));
    let right = figures(Mistake::None);
    let ([first, second, tenth], gradient) = &right;
    says(5, &format!("For the name \"anna\" the loss is {first},"));
    for ((name, ..), gradient) in SHAPES.iter().zip(gradient) {
        says(5, &format!("{name} {gradient}"));
    }
    says(5, &format!("the loss is {second} in the second step and {tenth} in the tenth"));
    for mistake in MISTAKES {
        assert_ne!(figures(mistake), right, "{mistake:?}");
    }
}

/// The formulas are those of the library, and a mistake in them does not show in the loss.
#[test]
fn chapter_5_mistakes_learn_too() {
    let run = |seed: u64, mistake: Mistake| {
        let Training { names, trainer, .. } = default(seed);
        let (params, head) = (trainer.params(), (27 + 16) * 16); // the library keeps `H` before attention
        let params = [&params[..head], &params[head + 27 * 16..], &params[head..head + 27 * 16]].concat();
        last_hundred(&train(params, names.iter().take(1000).map(|name| tokens(&names, name)), mistake))
    };
    assert!((run(1, Mistake::None) - last_hundred(&default(1).steps(1000))).abs() < 1e-6);
    let runs = MISTAKES.iter().flat_map(|mistake| [1, 2, 3].map(|seed| run(seed, *mistake)));
    let (least, most) = runs.fold((f64::MAX, 0.0), |(least, most), loss| (loss.min(least), loss.max(most)));
    says(5, &format!("With the seeds 1 to 3, all of them end between {least:.2} and {most:.2}."));
}

#[test]
fn chapter_5_what_beats_pairs_of_letters() {
    let (attention, positions) = ("o_proj", "embed_positions");
    let rows = [
        ("complete", &[][..]),
        ("without attention's output", &[attention]),
        ("without the table of positions", &[positions]),
        ("without both", &[attention, positions]),
    ]
    .map(|(model, parts)| {
        let losses = [1, 2, 3].map(|seed| {
            let mut training = without(seed, parts);
            training.steps(1000);
            training.unread(3000)
        });
        format!("{model} {:.3}", losses.iter().sum::<f64>() / 3.0)
    });
    says(5, &rows.join(" "));
}

/// Without positions, the last token sees the same keys and values in another order.
#[test]
fn chapter_4_order_without_positions() {
    let names = file();
    let after_c =
        |mistake| ["abc", "bac"].map(|name| logits(&by_formula(), &tokens(&names, name)[..4], mistake));
    let apart = |[a, b]: [Vec<f64>; 2]| a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart(after_c(Mistake::NoPositions)) < 1e-12);
    assert!(apart(after_c(Mistake::None)) > 1e-3);
    says(4, "at the c, the model could not tell \"abc\" from \"bac\"");
}

#[test]
fn chapter_5_the_longest_name() {
    let longest = file().iter().map(str::len).max().expect("a name");
    assert_eq!(file().count_truncated(16), 0);
    says(5, &format!("the longest name has {longest} letters."));
}

#[test]
fn chapter_5_the_normal_distribution() {
    let mut random = Random::new(5);
    let numbers: Vec<f64> = (0..100_000).map(|_| random.gauss(0.0, 0.08).abs()).collect();
    let percent = |within: f64| numbers.iter().filter(|x| **x < within).count() as f64 / 1000.0;
    let (one, two) = (percent(0.08), percent(0.16));
    says(5, &format!("{one:.0} percent of the numbers are between -0.08 and 0.08"));
    says(5, &format!("{two:.0} percent between -0.16 and 0.16"));
}
