//! A rung in a process of its own: time, memory and instructions.

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gradus::data::Batch;

use crate::ladder::{NamesTask, RUNGS};

/// What one process found.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds from the start of the process to its end.
    pub wall: f64,
    /// Microseconds a step, in the loop of steps.
    pub step: f64,
    /// Nodes a step.
    pub nodes: f64,
    /// The most memory that it held, in bytes, where the system tells.
    pub memory: Option<f64>,
}

/// What the process of a rung does: it learns, and prints what a [`Sample`] needs to know.
///
/// # Errors
/// If there is no such rung, or no names.
pub fn child(rung: usize, steps: usize) -> Result<()> {
    let task = NamesTask::load()?;
    let rung = RUNGS.get(rung).context("there is no such rung")?;
    let mut run = (rung.start)(&task)?;
    let mut batch = Batch::new();
    let mut nodes = 0;
    let start = Instant::now();
    for step in 0..steps {
        task.fill(&mut batch, step, rung.batch);
        run.step(&batch);
        nodes += run.nodes();
    }
    println!("{} {nodes} {}", start.elapsed().as_secs_f64(), peak_memory().unwrap_or(f64::NAN));
    Ok(())
}

/// The most memory that this process held, in bytes.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

/// This program again, to be a child.
fn arguments(rung: usize, steps: usize) -> Result<Vec<String>> {
    let own = env::current_exe()?.into_os_string().into_string();
    let own = own.ok().context("the path of this program is no UTF-8")?;
    Ok(vec![own, "--rung".to_owned(), rung.to_string(), "--steps".to_owned(), steps.to_string()])
}

/// One process of a rung.
///
/// # Errors
/// If it fails.
pub fn sample(rung: usize, steps: usize) -> Result<Sample> {
    let arguments = arguments(rung, steps)?;
    let start = Instant::now();
    let output = Command::new(&arguments[0]).args(&arguments[1..]).stderr(Stdio::inherit()).output()?;
    let wall = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "the process of rung {rung} failed");
    let figures = String::from_utf8(output.stdout)?;
    let figures = figures.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [seconds, nodes, memory] = figures[..] else { anyhow::bail!("rung {rung} printed {figures:?}") };
    let steps = steps as f64;
    Ok(Sample {
        wall,
        step: seconds * 1e6 / steps,
        nodes: nodes / steps,
        memory: memory.is_finite().then_some(memory),
    })
}

/// What the processor did in a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Instructions.
    pub instructions: Option<f64>,
    /// Branches that it had guessed wrong, where it tells.
    pub wrong_guesses: Option<f64>,
    /// Lines that the first cache asked the second for, where it tells: to be read, to be written, or on a guess.
    pub cache_misses: Option<f64>,
}

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The processor, asked by `perf`.
    Perf,
    /// `valgrind`, which counts instructions, but does not know all vector instructions.
    Valgrind,
}

impl Counter {
    /// The first that works on this machine.
    pub fn find() -> Option<Self> {
        [Counter::Perf, Counter::Valgrind]
            .into_iter()
            .find(|counter| counter.totals(RUNGS.len() - 1, 1).is_some_and(|totals| totals[0].is_some()))
    }

    /// The counts of a step, about.
    pub fn a_step(self, rung: usize) -> Option<Counts> {
        let (few, many) = match self {
            Counter::Perf => (100, 1000),
            Counter::Valgrind => (10, 60),
        };
        let (least, most) = (self.totals(rung, few)?, self.totals(rung, many)?);
        let of = |at: usize| Some((most[at]? - least[at]?) / (many - few) as f64);
        Some(Counts { instructions: of(0), wrong_guesses: of(1), cache_misses: of(2) })
    }

    /// Instructions, wrong guesses and cache misses of a process of a rung.
    fn totals(self, rung: usize, steps: usize) -> Option<[Option<f64>; 3]> {
        const EVENTS: [&str; 3] = ["instructions", "branch-misses", "L1-dcache-load-misses"];
        let events = EVENTS.map(|event| format!("{event}:u")).join(","); // of the program, not of the system
        let (program, options): (_, &[&str]) = match self {
            Counter::Perf => ("perf", &["stat", "-x", ",", "-e", &events, "--"]),
            Counter::Valgrind => {
                ("valgrind", &["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
            }
        };
        let arguments = arguments(rung, steps).ok()?;
        let output = Command::new(program).args(options).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stderr).ok().filter(|_| output.status.success())?;
        let number = |text: &str| text.trim().replace(',', "").parse().ok();
        let of = |event: &str| number(text.lines().find(|line| line.contains(event))?.split(',').next()?);
        Some(match self {
            Counter::Perf => EVENTS.map(of),
            Counter::Valgrind => [number(text.split_once("refs:")?.1.lines().next()?), None, None],
        })
    }
}

/// The one in the middle, by size.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
    (low + high) / 2.0
}
