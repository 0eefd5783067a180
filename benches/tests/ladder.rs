//! Every rung computes the same, and the tables of the README and of the chapter are about these rungs.

use gradus::data::Batch;
use gradus_benches::ladder::{DynTrainer, NamesWorkload, RUNGS, STEPS};
use gradus_benches::lines;

/// The gradient of the first step and the losses of the first twenty.
fn train(workload: &NamesWorkload, trainer: &mut dyn DynTrainer, names: usize) -> (Vec<f64>, Vec<f64>) {
    let mut batch = Batch::new();
    let mut gradient = Vec::new();
    let mut step = |step| {
        workload.fill(&mut batch, step, names);
        let loss = trainer.step(&batch);
        if step == 0 {
            gradient = trainer.gradient();
        }
        loss
    };
    let losses = (0..20).map(&mut step).collect();
    (gradient, losses)
}

fn greatest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // Not `f64::max`, which would ignore NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, d| if d <= most { most } else { d })
}

#[test]
fn every_rung_has_the_losses_gradients_and_answers_of_the_first() {
    let workload = NamesWorkload::load().unwrap();
    for rung in RUNGS {
        let mut reference = (RUNGS[0].new_trainer)(&workload).unwrap();
        let (gradient, losses) = train(&workload, &mut *reference, rung.batch);
        let mut trainer = (rung.new_trainer)(&workload).unwrap();
        let (own_gradient, own_losses) = train(&workload, &mut *trainer, rung.batch);
        let tolerance = if rung.double { 1e-9 } else { 1e-4 };
        let difference = greatest_difference(&losses, &own_losses);
        assert!(difference <= tolerance, "{}: losses differ by {difference:e}", rung.name);
        let difference = greatest_difference(&gradient, &own_gradient);
        assert!(difference <= 1e-2 * tolerance, "{}: gradients differ by {difference:e}", rung.name);
        for first in 0..3 {
            let (answer, own_answer) = (reference.greedy(&[first, 3], 10), trainer.greedy(&[first, 3], 10));
            assert_eq!(answer, own_answer, "{}: continues {first}, 3 differently", rung.name);
        }
    }
}

#[test]
fn later_rungs_have_fewer_nodes() {
    let workload = NamesWorkload::load().unwrap();
    let node_count = |rung: usize| {
        let mut batch = Batch::new();
        workload.fill(&mut batch, 0, 1);
        let mut trainer = (RUNGS[rung].new_trainer)(&workload).unwrap();
        trainer.step(&batch);
        trainer.node_count()
    };
    let (naive, direct, nary) = (node_count(0), node_count(2), node_count(6));
    assert!(direct < naive && 6 * nary < direct, "{naive} {direct} {nary}");
}

#[test]
fn the_sources_of_every_rung_exist() {
    for rung in RUNGS {
        let lines = lines::count(rung.sources).unwrap();
        assert!(lines > 300, "{}: {lines} lines", rung.name);
    }
}

/// The rows of a page's tables about a rung, without number and name.
fn rows<'a>(page: &'a str, at: usize, name: &str) -> Vec<&'a str> {
    let start = format!("| {at} | {name} | ");
    page.lines().filter_map(|row| row.strip_prefix(&start)).collect()
}

/// The README has one row for each rung, in order, and no others.
#[test]
fn the_short_table_of_the_readme_is_about_these_rungs() {
    let readme = include_str!("../../README.md");
    for (at, rung) in RUNGS.iter().enumerate() {
        let words = rung.short.split_whitespace().count();
        assert!((1..=8).contains(&words), "rung {at}: {words} words in {:?}", rung.short);
        let rows = rows(readme, at, rung.name);
        let [row] = rows[..] else { panic!("{} rows of the README are about rung {at}", rows.len()) };
        let figures = row.strip_prefix(rung.short).unwrap_or_else(|| panic!("rung {at} is: {}", rung.short));
        assert_eq!(figures.matches(" | ").count(), 2, "rung {at}: a time and a factor, not {figures}");
    }
    assert!(!readme.contains(&format!("\n| {} | ", RUNGS.len())), "a row for a rung that is not there");
}

/// The chapter has two rows for each rung: what it is and how fast, how many nodes it has and how many lines. (The names
/// that come with the project are used, or the public ones if they are there; so a few nodes more or less are no error.)
#[test]
fn the_long_tables_of_the_chapter_are_about_these_rungs() {
    let chapter = include_str!("../../docs/10-the-ladder.md");
    let workload = NamesWorkload::load().unwrap();
    for (at, rung) in RUNGS.iter().enumerate() {
        let rows = rows(chapter, at, rung.name);
        let [speed, work] = rows[..] else {
            panic!("{} rows of the chapter are about rung {at}", rows.len())
        };
        assert!(speed.starts_with(rung.change), "rung {at} is: {}", rung.change);
        let figures: Vec<f64> = work.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        let (nodes_printed, lines_printed) = (figures[0], figures[figures.len() - 1]);
        let mut trainer = (rung.new_trainer)(&workload).unwrap();
        let mut batch = Batch::new();
        let mut nodes = 0;
        for step in 0..STEPS {
            workload.fill(&mut batch, step, rung.batch);
            trainer.step(&batch);
            nodes += trainer.node_count();
        }
        let close = |printed: f64, actual: f64| (printed / actual - 1.0).abs() < 0.05;
        let nodes = nodes as f64 / STEPS as f64;
        assert!(close(nodes_printed, nodes), "rung {at} makes {nodes} nodes a step, not {nodes_printed}");
        let lines = lines::count(rung.sources).unwrap();
        assert!(close(lines_printed, lines as f64), "rung {at} has {lines} lines, not {lines_printed}");
    }
}
