//! Measures every rung of the ladder and prints the results as tables.
//!
//! ```text
//! cargo run --release --example ladder
//! cargo run --release --example ladder -- --markdown --svg docs/ladder.svg
//! cargo run --release --example ladder -- --losses
//! ```

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use gradus::checkpoint::write_atomically;
use gradus::data::Batch;
use gradus_benches::ladder::{NamesWorkload, RUNGS, Rung, STEPS};
use gradus_benches::lines;
use gradus_benches::measure::{EventCounts, Measurement, Profiler, measure_rung, median, run_rung};
use gradus_benches::svg::{Bar, bar_chart, three_digits};

/// Trains the names GPT several times on every rung, each time in a process of its own.
#[derive(Parser)]
struct Args {
    /// Print Markdown: the short table for README.md, then the long ones for docs/10-the-ladder.md
    #[arg(long)]
    markdown: bool,
    /// Draw a bar chart into this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the first losses of every rung instead
    #[arg(long)]
    losses: bool,
    /// Trainings of each rung; the median counts
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Train this rung in this process
    #[arg(long, hide = true)]
    rung: Option<usize>,
    /// Steps of each training, up to 1,000
    #[arg(long, value_name = "N", default_value_t = STEPS as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=STEPS as i64))]
    steps: u32,
}

/// The measurements of a rung: a row of the tables.
struct Row {
    rung: &'static Rung,
    wall: f64,
    /// Microseconds a step.
    step: f64,
    nodes: f64,
    counts: EventCounts,
    memory: Option<f64>,
    lines: usize,
}

impl Row {
    /// Microseconds a name.
    fn name(&self) -> f64 {
        self.step / self.rung.batch as f64
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let steps = args.steps as usize;
    if let Some(rung) = args.rung {
        return run_rung(rung, steps);
    }
    if args.losses {
        return losses();
    }
    let rows = measure(args.runs, steps)?;
    if args.markdown {
        markdown(&rows);
    } else {
        plain_text(&rows);
    }
    if let Some(path) = &args.svg {
        let bar = |(at, row): (usize, &Row)| Bar {
            label: format!("{at} {}", row.rung.name.replace('`', "")),
            value: row.name(),
            pale: at > 0 && rows[at - 1].name() <= 1.03 * row.name(), // less than 3 percent may be noise
        };
        let bars: Vec<_> = rows.iter().enumerate().map(bar).collect();
        let title = "microseconds a name, each rung with one change more";
        write_atomically(path, bar_chart(title, "µs", &bars).as_bytes())?;
    }
    Ok(())
}

/// Measures all rungs in turn, then all of them again: whatever else the machine does slows them down alike.
fn measure(runs: u32, steps: usize) -> Result<Vec<Row>> {
    let mut measurements: Vec<Vec<Measurement>> = vec![Vec::new(); RUNGS.len()];
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        for (rung, measurements) in measurements.iter_mut().enumerate() {
            measurements.push(measure_rung(rung, steps)?);
        }
    }
    let profiler = Profiler::find();
    match profiler {
        Some(profiler) => eprintln!("event counts: {profiler:?}"),
        None => eprintln!("event counts: neither perf nor valgrind works here"),
    }
    let row = |(at, runs): (usize, &Vec<Measurement>)| {
        let median_of = |field: fn(&Measurement) -> f64| median(runs.iter().map(field).collect());
        let memory: Option<Vec<f64>> = runs.iter().map(|run| run.memory).collect();
        Ok(Row {
            rung: &RUNGS[at],
            wall: median_of(|run| run.wall),
            step: median_of(|run| run.step),
            nodes: median_of(|run| run.nodes),
            counts: profiler.and_then(|profiler| profiler.per_step(at)).unwrap_or_default(),
            memory: memory.map(median),
            lines: lines::count(RUNGS[at].sources)?,
        })
    };
    measurements.iter().enumerate().map(row).collect()
}

/// How many times faster a rung trains on a name than the rung before.
fn times_faster(rows: &[Row], at: usize) -> String {
    if at == 0 { "-".to_owned() } else { format!("{:.2}", rows[at - 1].name() / rows[at].name()) }
}

const SHORT: [&str; 2] = ["µs a step", "times faster"];

/// The figures of the short table. Where a step has several names, the time of one is what the next column compares.
fn short(rows: &[Row], at: usize) -> [String; 2] {
    let row = &rows[at];
    let step = three_digits(row.step);
    let step =
        if row.rung.batch == 1 { step } else { format!("{step} ({} a name)", three_digits(row.name())) };
    [step, times_faster(rows, at)]
}

const SPEED: [&str; 4] = ["wall, s", "µs a step", "µs a name", "times faster"];

/// How fast a rung is.
fn speed(rows: &[Row], at: usize) -> [String; 4] {
    let row = &rows[at];
    [format!("{:.3}", row.wall), three_digits(row.step), three_digits(row.name()), times_faster(rows, at)]
}

const WORK: [&str; 7] =
    ["nodes", "ns a node", "k instructions", "branch misses", "k L1 misses", "peak MB", "lines"];

/// What it does in a step, and what it takes.
fn work(row: &Row) -> [String; 7] {
    let or_dash = |x: Option<f64>, unit: f64, decimals: usize| match x {
        Some(x) => format!("{:.decimals$}", x / unit),
        None => "-".to_owned(),
    };
    [
        format!("{:.0}", row.nodes),
        three_digits(row.step * 1e3 / row.nodes),
        or_dash(row.counts.instructions, 1e3, 0),
        or_dash(row.counts.branch_misses, 1.0, 0),
        or_dash(row.counts.l1_misses, 1e3, 1),
        or_dash(row.memory, 1e6, 1),
        row.lines.to_string(),
    ]
}

fn markdown(rows: &[Row]) {
    println!("## README.md\n");
    table(rows, Some(("in a few words", |rung| rung.short)), &SHORT, short);
    println!("\n## docs/10-the-ladder.md\n");
    table(rows, Some(("what changed, and why it helps", |rung| rung.change)), &SPEED, speed);
    println!("\nWhat a step makes and does:\n");
    table(rows, None, &WORK, |rows, at| work(&rows[at]));
}

/// A text about a rung.
type RungText = fn(&Rung) -> &'static str;

/// A table in Markdown: number and name of each rung, perhaps a text about it, and figures.
fn table<const N: usize>(
    rows: &[Row],
    text: Option<(&str, RungText)>,
    columns: &[&str; N],
    figures: fn(&[Row], usize) -> [String; N],
) {
    let (heading, rule) = text.map_or((String::new(), ""), |(heading, _)| (format!(" {heading} |"), "---|"));
    println!("| | step |{heading} {} |", columns.join(" | "));
    println!("|---:|---|{rule}{}", "---:|".repeat(N));
    for (at, row) in rows.iter().enumerate() {
        let text = text.map_or(String::new(), |(_, text)| format!(" {} |", text(row.rung)));
        println!("| {at} | {} |{text} {} |", row.rung.name, figures(rows, at).join(" | "));
    }
}

fn plain_text(rows: &[Row]) {
    let line = |cells: &[String]| cells.iter().map(|cell| format!(" {cell:>14}")).collect::<String>();
    let headings = [&SPEED[..], &WORK].concat();
    println!("{:26}{}", "", line(&headings.iter().map(|&heading| heading.to_owned()).collect::<Vec<_>>()));
    for (at, row) in rows.iter().enumerate() {
        let cells = [&speed(rows, at)[..], &work(row)].concat();
        println!("{:26}{}", format!("{at:2} {}", row.rung.name), line(&cells));
    }
}

/// The first losses of every rung.
fn losses() -> Result<()> {
    let workload = NamesWorkload::load()?;
    for (at, rung) in RUNGS.iter().enumerate() {
        let mut trainer = (rung.new_trainer)(&workload)?;
        let mut batch = Batch::new();
        println!("{at:2} {}", rung.name);
        for step in 0..20 {
            workload.fill(&mut batch, step, rung.batch);
            print!(" {:.12}", trainer.step(&batch));
        }
        println!();
    }
    Ok(())
}
