//! Every rung computes the same.

use gradus::data::Batch;
use gradus_benches::ladder::{NamesTask, RUNGS, STEPS, TrainingRun};
use gradus_benches::lines;

/// The gradient of the first step, and the losses of some.
fn follow(task: &NamesTask, mut run: Box<dyn TrainingRun>, names: usize) -> (Vec<f64>, Vec<f64>) {
    let mut batch = Batch::new();
    let mut gradient = Vec::new();
    let mut step = |step| {
        task.fill(&mut batch, step, names);
        let loss = run.step(&batch);
        if step == 0 {
            gradient = run.gradient();
        }
        loss
    };
    let losses = (0..20).map(&mut step).collect();
    (gradient, losses)
}

fn greatest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // Not `f64::max`, which would pass over NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |most, d| if d <= most { most } else { d })
}

#[test]
fn every_rung_has_the_losses_and_gradients_of_the_first() {
    let task = NamesTask::load().unwrap();
    for rung in RUNGS {
        let reference = (RUNGS[0].start)(&task).unwrap();
        let (gradient, losses) = follow(&task, reference, rung.batch);
        let (own_gradient, own_losses) = follow(&task, (rung.start)(&task).unwrap(), rung.batch);
        let tolerance = if rung.double { 1e-9 } else { 1e-4 };
        let apart = greatest_difference(&losses, &own_losses);
        assert!(apart <= tolerance, "{}: losses are {apart:e} apart", rung.name);
        let apart = greatest_difference(&gradient, &own_gradient);
        assert!(apart <= 1e-2 * tolerance, "{}: gradients are {apart:e} apart", rung.name);
    }
}

#[test]
fn the_later_rungs_make_fewer_nodes() {
    let task = NamesTask::load().unwrap();
    let nodes = |rung: usize| {
        let mut batch = Batch::new();
        task.fill(&mut batch, 0, 1);
        let mut run = (RUNGS[rung].start)(&task).unwrap();
        run.step(&batch);
        run.nodes()
    };
    let (naive, direct, nary) = (nodes(0), nodes(2), nodes(6));
    assert!(direct < naive && 6 * nary < direct, "{naive} {direct} {nary}");
}

#[test]
fn the_sources_of_every_rung_are_there() {
    for rung in RUNGS {
        let lines = lines::count(rung.sources).unwrap();
        assert!(lines > 300, "{}: {lines} lines", rung.name);
    }
}

/// What the README's tables say of each rung: what it is, how many nodes it makes and how long it is. (Where the public
/// names lie, they are used; and a few lines more or less are no reason to measure again.)
#[test]
fn the_readme_is_about_these_rungs() {
    let readme = include_str!("../../README.md");
    let task = NamesTask::load().unwrap();
    for (at, rung) in RUNGS.iter().enumerate() {
        let start = format!("| {at} | {} | ", rung.name);
        let rows: Vec<&str> = readme.lines().filter_map(|row| row.strip_prefix(&start)).collect();
        let [what, work] = rows[..] else { panic!("{} rows begin with {start}", rows.len()) };
        assert!(what.starts_with(rung.change), "rung {at} is: {}", rung.change);
        let shown: Vec<f64> = work.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        let mut run = (rung.start)(&task).unwrap();
        let mut batch = Batch::new();
        let mut nodes = 0;
        for step in 0..STEPS {
            task.fill(&mut batch, step, rung.batch);
            run.step(&batch);
            nodes += run.nodes();
        }
        let close = |told: f64, is: f64| (told / is - 1.0).abs() < 0.05;
        let nodes = nodes as f64 / STEPS as f64;
        assert!(close(shown[0], nodes), "rung {at} makes {nodes} nodes a step, not {}", shown[0]);
        let (told, lines) = (shown[shown.len() - 1], lines::count(rung.sources).unwrap());
        assert!(close(told, lines as f64), "rung {at} has {lines} lines, not {told}");
    }
}
