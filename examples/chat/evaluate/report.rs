//! What was found, as Markdown with plots beside it, and as a few lines.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gradus::checkpoint::write_atomically;
use gradus::score::{Distinct, Repetition, ToolAccuracy};
use support::units::grouped;
use support::{Usage, check_output, print::printable};

use super::answers::{Replies, ToolResults};
use super::loss::{Losses, Tally, range_name};
use super::plots::Bars;

/// How many replies are shown.
pub const SHOWN: usize = 10;

/// How many calls that went wrong are shown, of each kind of questions.
const WRONG: usize = 12;

/// The files to write.
pub struct Paths {
    report: PathBuf,
    loss: PathBuf,
    tools: PathBuf,
}

/// All that was found, as far as the work came.
pub struct Findings {
    /// What was judged, and how: names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Where the conversations come from.
    pub origin: String,
    pub losses: Losses,
    /// How many conversations there are to read, how many of them were cut, and how many more have nothing to predict.
    pub conversations: [usize; 3],
    pub tools: Vec<ToolResults>,
    pub replies: Replies,
    pub interrupted: bool,
}

impl Paths {
    /// The files of a report.
    ///
    /// # Errors
    /// If one of them cannot be written, or if it is there and may not be written over.
    pub fn of(report: &Path, overwrite: bool) -> Result<Self> {
        let stem = report.file_stem().and_then(|stem| stem.to_str()).unwrap_or("evaluation");
        let beside = |what: &str| report.with_file_name(format!("{stem}-{what}.svg"));
        let paths = Paths { report: report.to_owned(), loss: beside("loss"), tools: beside("tools") };
        for path in [&paths.report, &paths.loss, &paths.tools] {
            check_output("--out", path, &[])?;
            let problem =
                || format!("{} is there already: give another --out, or --overwrite", path.display());
            ensure!(overwrite || !path.exists(), Usage(problem()));
        }
        Ok(paths)
    }

    /// Writes them.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub fn write(&self, found: &Findings) -> Result<()> {
        let plots = [(&self.loss, found.loss_plot()), (&self.tools, found.tool_plot())];
        for (path, plot) in plots.iter().filter_map(|(path, plot)| Some((path, plot.as_ref()?))) {
            write_atomically(path, plot.draw().as_bytes()).with_context(|| unwritable(path))?;
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().replace(' ', "%20");
        let report = found.report(&name(&self.loss), &name(&self.tools));
        write_atomically(&self.report, printable(&report).as_bytes())
            .with_context(|| unwritable(&self.report))
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

impl Findings {
    /// A few lines for the terminal.
    pub fn summary(&self) -> String {
        let mut lines = Vec::new();
        let whole = self.losses.whole;
        if whole.tokens > 0 {
            lines.push(format!(
                "held-out loss: {:.4} nats a token of the assistant, perplexity {:.2}, {:.3} bits per byte ({} conversations, {} tokens)",
                whole.loss(),
                whole.perplexity(),
                whole.bits_per_byte(),
                grouped(whole.conversations as u64),
                grouped(whole.tokens as u64),
            ));
        }
        for ToolResults { name, modes, .. } in &self.tools {
            for mode in modes.iter().filter(|mode| mode.asked() > 0) {
                let ToolAccuracy {
                    needed, valid, right_tool, right_arguments, not_needed, none_called, ..
                } = mode.accuracy;
                lines.push(format!(
                    "tools, {name}, {}: valid JSON {valid} of {needed}, right tool {right_tool}, right arguments {right_arguments}; \
                     none called where none is needed {none_called} of {not_needed}",
                    mode.name,
                ));
            }
        }
        let replies = &self.replies;
        if !replies.all.is_empty() {
            let [distinct_1, distinct_2, repeated] =
                diversity(replies.all.iter().map(|one| one.reply.as_str()));
            let count = replies.all.len();
            lines.push(format!(
                "{count} replies: distinct-1 {distinct_1:.1} %, distinct-2 {distinct_2:.1} %, repeated runs of four words {repeated:.1} %, \
                 {} ended by themselves",
                replies.all.iter().filter(|one| one.ended).count(),
            ));
        }
        if self.interrupted {
            lines.push("interrupted: these are the figures of what was done until then".to_owned());
        }
        lines.join("\n")
    }

    fn loss_plot(&self) -> Option<Bars<'static>> {
        let known = || self.losses.positions.iter().enumerate().filter(|(_, one)| one.tokens > 0);
        known().next()?;
        Some(Bars {
            title: "The loss by the place of a token in its reply",
            y: "nats a token",
            groups: known().map(|(range, _)| range_name(range)).collect(),
            series: vec![(
                "tokens of the assistant, by their place in the reply".to_owned(),
                known().map(|(_, one)| Some(one.loss())).collect(),
            )],
            top: None,
            digits: 2,
        })
    }

    fn tool_plot(&self) -> Option<Bars<'static>> {
        let modes = || {
            self.tools.iter().flat_map(|results| results.modes.iter().map(move |mode| (results.name, mode)))
        };
        let series: Vec<(String, Vec<Option<f64>>)> = modes()
            .filter(|(_, mode)| mode.asked() > 0)
            .map(|(name, mode)| {
                let parts = parts(&mode.accuracy);
                (
                    format!("{name}, {}", mode.name),
                    parts.map(|(_, n, of)| (of > 0).then(|| 100.0 * n as f64 / of as f64)).to_vec(),
                )
            })
            .collect();
        let groups = parts(&ToolAccuracy::default()).map(|(name, ..)| name.to_owned()).to_vec();
        (!series.is_empty()).then_some(Bars {
            title: "Tool calls on questions that were held out",
            y: "percent of the questions",
            groups,
            series,
            top: Some(100.0),
            digits: 0,
        })
    }

    /// The report. Plots are named as they stand beside it.
    fn report(&self, loss_plot: &str, tool_plot: &str) -> String {
        let mut out = String::from("# Evaluation\n\n");
        if self.interrupted {
            out += "It was interrupted: this is what was done until then.\n\n";
        }
        out += "| | |\n|---|---|\n";
        for (name, value) in &self.facts {
            line(&mut out, format_args!("| {name} | {} |", cell(value)));
        }
        self.report_losses(&mut out, loss_plot);
        self.report_tools(&mut out, tool_plot);
        self.report_replies(&mut out);
        out
    }

    fn report_losses(&self, out: &mut String, plot: &str) {
        let Losses { whole, sources, .. } = &self.losses;
        let [total, cut, left_out] = self.conversations;
        *out += "\n## Loss on held-out conversations\n\n";
        if whole.tokens == 0 {
            *out += "Nothing was read.\n";
            return;
        }
        line(
            out,
            format_args!("{} of {total} conversations were read: {}.", whole.conversations, self.origin),
        );
        if cut > 0 {
            line(out, format_args!("{cut} were cut after the last reply that fits into the context."));
        }
        if left_out > 0 {
            line(
                out,
                format_args!(
                    "{left_out} more have nothing that the model could predict, or do not fit into the context."
                ),
            );
        }
        *out += "\nWhat counts are the tokens that the assistant says, its calls of tools and the token that ends a reply among them. \
                 Bits per byte are all that it takes to say them, a byte of their text: unlike the other two, they can be compared \
                 between models with different tokens.\n\n\
                 | conversations of | | tokens | loss (nats a token) | perplexity | bits per byte |\n|---|--:|--:|--:|--:|--:|\n";
        let mut row = |name: &str, tally: Tally| {
            let [count, tokens] = [tally.conversations, tally.tokens].map(|n| grouped(n as u64));
            let (loss, perplexity, bits) = (tally.loss(), tally.perplexity(), tally.bits_per_byte());
            line(
                out,
                format_args!(
                    "| {} | {count} | {tokens} | {loss:.4} | {perplexity:.2} | {bits:.3} |",
                    cell(name)
                ),
            );
        };
        if sources.len() > 1 {
            sources.iter().filter(|(_, tally)| tally.tokens > 0).for_each(|(name, tally)| row(name, *tally));
        }
        row("all", *whole);
        if let Some(bars) = self.loss_plot() {
            line(out, format_args!("\n![{}]({plot})", bars.description()));
        }
    }

    fn report_tools(&self, out: &mut String, plot: &str) {
        *out += "\n## Calls of tools\n\n";
        if self.tools.iter().all(|results| results.modes.iter().all(|mode| mode.asked() == 0)) {
            *out += "No question was asked.\n";
            return;
        }
        *out += "Each question comes with the tools that are offered, and needs one call or none. The first call of a reply is judged. \
                 *Constrained* means that a call, once the model has begun one, is held to the schemas of the tools, token by token. \
                 Arguments are right if they are equal: numbers by value, texts without case and outer white space, expressions by \
                 their result.\n";
        for ToolResults { name, questions, modes } in &self.tools {
            line(out, format_args!("\n### Questions {name}\n"));
            let asked: Vec<_> = modes.iter().filter(|mode| mode.asked() > 0).collect();
            let heads: String = asked.iter().map(|mode| format!(" {} |", mode.name)).collect();
            line(out, format_args!("| |{heads}\n|---|{}", "--:|".repeat(asked.len())));
            let rows: Vec<_> = asked.iter().map(|mode| parts(&mode.accuracy)).collect();
            for (at, (part, ..)) in parts(&ToolAccuracy::default()).iter().enumerate() {
                let cells: String =
                    rows.iter().map(|row| format!(" {} of {} |", row[at].1, row[at].2)).collect();
                line(out, format_args!("| {part} |{cells}"));
            }
            if let Some(mode) = asked.iter().find(|mode| mode.too_long > 0) {
                line(
                    out,
                    format_args!(
                        "\n{} of the {questions} questions leave no room for a reply in the context.",
                        mode.too_long
                    ),
                );
            }
            for mode in asked.iter().filter(|mode| !mode.wrong.is_empty()) {
                line(
                    out,
                    format_args!(
                        "\nWhat went wrong, {}:\n\n| question | right | said |\n|---|---|---|",
                        mode.name
                    ),
                );
                for wrong in mode.wrong.iter().take(WRONG) {
                    let [asked, right, said] =
                        [&wrong.question, &wrong.expected, &wrong.said].map(|text| cell(text));
                    line(out, format_args!("| {asked} | {right} | {said} |"));
                }
                if mode.wrong.len() > WRONG {
                    line(out, format_args!("\nAnd {} more.", mode.wrong.len() - WRONG));
                }
            }
        }
        if let Some(bars) = self.tool_plot() {
            line(out, format_args!("\n![{}]({plot})", bars.description()));
        }
    }

    fn report_replies(&self, out: &mut String) {
        let Replies { all, asked, too_long } = &self.replies;
        *out += "\n## Replies\n\n";
        if all.is_empty() {
            *out += "There are none.\n";
            return;
        }
        line(
            out,
            format_args!(
                "{} replies to the first questions of held-out conversations ({asked} were to be asked), and what people answered.",
                all.len()
            ),
        );
        if *too_long > 0 {
            line(out, format_args!("{too_long} questions leave no room for a reply in the context."));
        }
        *out += "\n| | of the model | of people |\n|---|--:|--:|\n";
        let [model, people] = [
            diversity(all.iter().map(|one| one.reply.as_str())),
            diversity(all.iter().map(|one| one.reference.as_str())),
        ];
        let names = [
            "distinct-1: different words, in percent of all words (Li et al. 2016)",
            "distinct-2: different pairs of words, in percent of all words",
            "repetition: runs of four words that stood in the same reply before, in percent of all runs",
        ];
        for (name, (model, people)) in names.iter().zip(model.iter().zip(people)) {
            line(out, format_args!("| {name} | {model:.1} | {people:.1} |"));
        }
        let words = |count: fn(&super::answers::Shown) -> &str| {
            let all_words: usize = all.iter().map(|one| count(one).split_whitespace().count()).sum();
            all_words as f64 / all.len() as f64
        };
        line(
            out,
            format_args!(
                "| words, on average | {:.1} | {:.1} |",
                words(|one| &one.reply),
                words(|one| &one.reference)
            ),
        );
        let ended = all.iter().filter(|one| one.ended).count();
        line(out, format_args!("| ended by themselves | {ended} of {} | |", all.len()));
        let shown = all.len().min(SHOWN);
        line(out, format_args!("\n### The first {shown}"));
        for (one, number) in all.iter().take(SHOWN).zip(1..) {
            for (who, text) in
                [("Question", &one.question), ("Reply", &one.reply), ("Reference", &one.reference)]
            {
                line(out, format_args!("\n{who} {number}:\n\n{}", block(text)));
            }
        }
    }
}

/// What is counted of calls: a name, how many, and of how many.
fn parts(accuracy: &ToolAccuracy) -> [(&'static str, usize, usize); 6] {
    let &ToolAccuracy {
        needed,
        called,
        valid,
        fitting,
        right_tool,
        right_arguments,
        not_needed,
        none_called,
    } = accuracy;
    [
        ("a tool called", called, needed),
        ("valid JSON", valid, needed),
        ("fits its schema", fitting, needed),
        ("right tool", right_tool, needed),
        ("right arguments", right_arguments, needed),
        ("none called", none_called, not_needed),
    ]
}

/// Distinct-1, distinct-2 and the share of repeated runs of four words, in percent.
fn diversity<'a>(replies: impl Iterator<Item = &'a str>) -> [f64; 3] {
    let (mut words, mut pairs, mut runs) = (Distinct::new(1), Distinct::new(2), Repetition::new(4));
    for reply in replies {
        words.add(reply);
        pairs.add(reply);
        runs.add(reply);
    }
    [words.score(), pairs.score(), runs.score()]
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}

/// A text in a cell of a table, as it is.
fn cell(text: &str) -> String {
    let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown = String::new();
    for c in flat.chars() {
        match c {
            '<' => shown += "&lt;",
            '>' => shown += "&gt;",
            '&' => shown += "&amp;",
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '$' | '~' => shown.extend(['\\', c]),
            _ => shown.push(c),
        }
    }
    shown
}

/// A text of its own, as it is, between fences that are longer than any in it.
fn block(text: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}", text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_models_are_no_markup() {
        assert_eq!(cell("a|b\n <b> *c*"), "a\\|b &lt;b&gt; \\*c\\*");
        assert_eq!(block("x"), "```text\nx\n```");
        assert_eq!(block("```rust\n```"), "````text\n```rust\n```\n````");
    }

    #[test]
    fn diversity_is_that_of_all_replies() {
        let [words, pairs, repeated] = diversity(["a b a b a b", "a"].into_iter());
        assert_eq!((words, pairs), (100.0 * 2.0 / 7.0, 100.0 * 2.0 / 7.0));
        assert_eq!(repeated, 100.0 / 3.0);
    }
}
