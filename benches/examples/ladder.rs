//! The ladder as a table: what every shortcut gains.
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
use gradus_benches::ladder::{NamesTask, RUNGS, Rung, STEPS};
use gradus_benches::lines;
use gradus_benches::measure::{Counter, Counts, Sample, child, median, sample};
use gradus_benches::svg::{bars, three_digits};

/// Every rung trains the names GPT several times, each time in a process of its own.
#[derive(Parser)]
struct Args {
    /// Print the tables as Markdown, with what changed from rung to rung
    #[arg(long)]
    markdown: bool,
    /// Draw it into this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the first losses of every rung instead
    #[arg(long)]
    losses: bool,
    /// How often each rung is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Be the process of this rung
    #[arg(long, hide = true)]
    rung: Option<usize>,
    /// Steps of each training, up to 1,000
    #[arg(long, value_name = "N", default_value_t = STEPS as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=STEPS as i64))]
    steps: u32,
}

/// What was measured of a rung.
struct Row {
    rung: &'static Rung,
    wall: f64,
    step: f64,
    nodes: f64,
    counts: Counts,
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
        return child(rung, steps);
    }
    if args.losses {
        return losses();
    }
    let rows = measure(args.runs, steps)?;
    if args.markdown {
        markdown(&rows);
    } else {
        plain(&rows);
    }
    if let Some(path) = &args.svg {
        let bar = |(at, row): (usize, &Row)| {
            let name = format!("{at} {}", row.rung.name.replace('`', ""));
            let pays = at == 0 || rows[at - 1].name() > 1.03 * row.name(); // less is noise
            (name, row.name(), pays)
        };
        let all: Vec<_> = rows.iter().enumerate().map(bar).collect();
        write_atomically(
            path,
            bars("microseconds for a name, each rung with one shortcut more", "us", &all).as_bytes(),
        )?;
    }
    Ok(())
}

/// All rungs in turn, and again: so that whatever else the machine does meets all of them alike.
fn measure(runs: u32, steps: usize) -> Result<Vec<Row>> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); RUNGS.len()];
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        for (rung, samples) in samples.iter_mut().enumerate() {
            samples.push(sample(rung, steps)?);
        }
    }
    let counter = Counter::find();
    eprintln!(
        "instructions: {}",
        counter.map_or("nobody counts them here".to_owned(), |by| format!("{by:?}"))
    );
    let row = |(at, samples): (usize, &Vec<Sample>)| {
        let all = |of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
        let memory: Option<Vec<f64>> = samples.iter().map(|sample| sample.memory).collect();
        Ok(Row {
            rung: &RUNGS[at],
            wall: all(|sample| sample.wall),
            step: all(|sample| sample.step),
            nodes: all(|sample| sample.nodes),
            counts: counter.and_then(|counter| counter.a_step(at)).unwrap_or_default(),
            memory: memory.map(median),
            lines: lines::count(RUNGS[at].sources)?,
        })
    };
    samples.iter().enumerate().map(row).collect()
}

/// How fast a rung is.
fn speed(rows: &[Row], at: usize) -> [String; 4] {
    let row = &rows[at];
    let faster = if at == 0 { "-".to_owned() } else { format!("{:.2}", rows[at - 1].name() / row.name()) };
    [format!("{:.3}", row.wall), three_digits(row.step), three_digits(row.name()), faster]
}

const SPEED: [&str; 4] = ["wall, s", "us a step", "us a name", "times faster"];

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
        or_dash(row.counts.wrong_guesses, 1.0, 0),
        or_dash(row.counts.cache_misses, 1e3, 1),
        or_dash(row.memory, 1e6, 1),
        row.lines.to_string(),
    ]
}

const WORK: [&str; 7] =
    ["nodes", "ns a node", "k instructions", "wrong guesses", "k cache misses", "peak MB", "lines"];

fn markdown(rows: &[Row]) {
    println!("| | step | what changed, and why it helps | {} |", SPEED.join(" | "));
    println!("|---:|---|---|{}", "---:|".repeat(SPEED.len()));
    for (at, row) in rows.iter().enumerate() {
        println!("| {at} | {} | {} | {} |", row.rung.name, row.rung.change, speed(rows, at).join(" | "));
    }
    println!("\n| | step | {} |", WORK.join(" | "));
    println!("|---:|---|{}", "---:|".repeat(WORK.len()));
    for (at, row) in rows.iter().enumerate() {
        println!("| {at} | {} | {} |", row.rung.name, work(row).join(" | "));
    }
}

fn plain(rows: &[Row]) {
    let line = |cells: &[String]| cells.iter().map(|cell| format!(" {cell:>14}")).collect::<String>();
    let heads = [&SPEED[..], &WORK].concat();
    println!("{:26}{}", "", line(&heads.iter().map(|&head| head.to_owned()).collect::<Vec<_>>()));
    for (at, row) in rows.iter().enumerate() {
        let cells = [&speed(rows, at)[..], &work(row)].concat();
        println!("{:26}{}", format!("{at:2} {}", row.rung.name), line(&cells));
    }
}

/// The first losses of every rung, side by side.
fn losses() -> Result<()> {
    let task = NamesTask::load()?;
    for (at, rung) in RUNGS.iter().enumerate() {
        let mut run = (rung.start)(&task)?;
        let mut batch = Batch::new();
        println!("{at:2} {}", rung.name);
        for step in 0..20 {
            task.fill(&mut batch, step, rung.batch);
            print!(" {:.12}", run.step(&batch));
        }
        println!();
    }
    Ok(())
}
