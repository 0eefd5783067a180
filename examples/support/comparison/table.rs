//! The table of a comparison, in Markdown.

use super::{Comparison, Outcome};
use crate::history::Report;

/// The arms of some outcomes, in their order, each with all of its trainings.
pub fn arms(outcomes: &[Outcome]) -> Vec<(&str, Vec<&Outcome>)> {
    let mut arms: Vec<(&str, Vec<&Outcome>)> = Vec::new();
    for outcome in outcomes {
        match arms.iter_mut().find(|(arm, _)| *arm == outcome.arm) {
            Some((_, all)) => all.push(outcome),
            None => arms.push((&outcome.arm, vec![outcome])),
        }
    }
    arms
}

/// A row for each arm: the means over its seeds, the median of the seconds, and the standard deviation of what matters
/// most. The angle is the mean of
/// those of all reports, since at the end of a schedule nothing turns any more.
pub fn table(comparison: &Comparison<'_>, outcomes: &[Outcome]) -> String {
    let mut lines = vec![
        format!("\n{} ({}; mean ± standard deviation over seeds)\n", comparison.title, comparison.unit),
        "| arm | parameters | seeds | training | validation | best | learned | tokens to the first arm's loss | \
         seconds | lengths | angle |"
            .to_owned(),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    let arms = arms(outcomes);
    let first = arms.first().map_or(&[][..], |(_, all)| all);
    for (arm, all) in &arms {
        let of = |figure: &dyn Fn(&Outcome, &Report) -> f64| -> Vec<f64> {
            all.iter().filter_map(|outcome| Some(figure(outcome, outcome.last()?))).collect()
        };
        if of(&|_, report| report.val).len() < all.len() {
            lines.push(format!("| {arm} | {} | {} | ran away | | | | | | | |", all[0].params, all.len()));
            continue;
        }
        let best = |outcome: &Outcome, _: &Report| {
            let history = outcome.history.as_ref();
            history.and_then(|history| history.stopping.best()).unwrap_or(f64::NAN)
        };
        let val = of(&|_, report| report.val);
        let learned = 100.0 * (1.0 - mean(&val) / comparison.chance);
        let reached: Vec<f64> = all
            .iter()
            .filter_map(|outcome| {
                let target = first.iter().find(|other| other.seed == outcome.seed)?.last()?.val;
                outcome.tokens_to(target, comparison.chance)
            })
            .collect();
        let reached = match reached.len() {
            0 => "not reached".to_owned(),
            count if count == all.len() => format!("{:.0}K", mean(&reached) / 1000.0),
            count => format!("{:.0}K ({count} of {})", mean(&reached) / 1000.0, all.len()),
        };
        let far =
            all.iter().filter_map(|outcome| outcome.last()).map(Report::off_the_sphere).fold(0.0, f64::max);
        let histories = all.iter().filter_map(|outcome| outcome.history.as_ref());
        let reports = histories.flat_map(|history| &history.reports);
        let angles: Vec<f64> = reports.filter_map(|report| Some(report.sphere?.angle)).collect();
        lines.push(format!(
            "| {arm} | {} | {} | {:.4} | {} | {:.4} | {learned:.1} % | {reached} | {:.0} | {} | {} |",
            all[0].params,
            all.len(),
            mean(&of(&|_, report| report.train)),
            with_deviation(&val),
            mean(&of(&best)),
            median(of(&|_, report| report.seconds)),
            if angles.is_empty() { "free".to_owned() } else { format!("1 ± {far:.0e}") },
            if angles.is_empty() { String::new() } else { format!("{:.4}", mean(&angles)) },
        ));
    }
    lines.join("\n") + "\n"
}

impl Outcome {
    /// After how many tokens the validation loss first was this low, on straight lines between reports; before the first
    /// step it is that of chance.
    fn tokens_to(&self, target: f64, chance: f64) -> Option<f64> {
        let mut before = (0.0, chance);
        for report in &self.history.as_ref()?.reports {
            let here = ((report.step * self.tokens) as f64, report.val);
            if here.1 <= target {
                let part = if before.1 > here.1 { (before.1 - target) / (before.1 - here.1) } else { 1.0 };
                return Some(before.0 + part.clamp(0.0, 1.0) * (here.0 - before.0));
            }
            before = here;
        }
        None
    }
}

/// The mean of some numbers.
pub fn mean(numbers: &[f64]) -> f64 {
    crate::losses::mean(numbers)
}

/// The one in the middle, which a disturbance of one training does not change.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The mean of some numbers, and their standard deviation as a sample if there are several.
pub fn with_deviation(numbers: &[f64]) -> String {
    let mean = mean(numbers);
    if numbers.len() < 2 {
        return format!("{mean:.4}");
    }
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    format!("{mean:.4} ± {:.4}", (squares / (numbers.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Data;
    use crate::history::History;

    fn outcome(arm: &str, seed: u64, vals: &[f64]) -> Outcome {
        let mut history = History::new(10);
        for (at, &val) in vals.iter().enumerate() {
            let step = 10 * (at + 1);
            history.stopping.record(val);
            history.reports.push(Report {
                step,
                train: val - 0.1,
                val,
                weight: 1.0,
                tokens_per_second: 1.0,
                seconds: step as f64,
                skipped: None,
                stage: None,
                sphere: None,
            });
        }
        Outcome { arm: arm.to_owned(), seed, params: 7, tokens: 100, history: Some(history) }
    }

    fn comparison() -> Comparison<'static> {
        let data = Data { name: "text.txt", path: "text.txt".into(), fingerprint: 1 };
        Comparison { program: "p", title: "Title", unit: "nats", chance: 4.0, data }
    }

    #[test]
    fn a_row_has_means_and_deviations_of_its_seeds() {
        let outcomes = [
            outcome("one", 1, &[3.0, 2.0]),
            outcome("two", 1, &[2.0, 1.0]),
            outcome("one", 2, &[3.0, 2.2]),
            outcome("two", 2, &[3.2, 2.4]),
        ];
        let text = table(&comparison(), &outcomes);
        let row =
            |arm: &str| text.lines().find(|line| line.starts_with(&format!("| {arm} |"))).expect("its row");
        // The deviation of 2.0 and 2.2 is 0.2/√2.
        assert!(row("one").contains("| 2 | 2.0000 | 2.1000 ± 0.1414 | 2.1000 | 47.5 % |"), "{text}");
        // `two` reaches 2.0 after 10 steps of 100 tokens with one seed, and with the other never.
        assert!(row("two").contains("| 1K (1 of 2) |"), "{text}");
        let lucky = table(&comparison(), &outcomes[..2]);
        assert!(lucky.contains("| 1K |"), "{lucky}");
        let unlucky = table(&comparison(), &outcomes[2..]);
        assert!(unlucky.contains("| not reached |"), "{unlucky}");
        assert_eq!(median(vec![3.0, 90.0, 4.0]), 4.0);
        assert_eq!(outcomes[0].tokens_to(2.5, 4.0), Some(1500.0));
        assert_eq!(outcomes[0].tokens_to(3.5, 4.0), Some(500.0));
        assert_eq!(outcomes[0].tokens_to(1.9, 4.0), None);
    }

    #[test]
    fn an_arm_that_ran_away_says_so() {
        let outcomes = [outcome("one", 1, &[3.0]), Outcome { history: None, ..outcome("two", 1, &[]) }];
        assert!(table(&comparison(), &outcomes).contains("| two | 7 | 1 | ran away |"));
    }
}
