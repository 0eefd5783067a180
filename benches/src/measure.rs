//! Measures a rung in a process of its own: time, memory and the processor's event counters.

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gradus::data::Batch;

use crate::ladder::{NamesWorkload, RUNGS};

/// One training of a rung.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Seconds from the start of the process to its end.
    pub wall: f64,
    /// Microseconds a step, without start-up.
    pub step: f64,
    /// Nodes a step.
    pub nodes: f64,
    /// Peak memory in bytes, where the system reports it.
    pub memory: Option<f64>,
}

/// Trains a rung in this process, and prints what [`measure_rung`] reads: seconds, nodes and peak memory.
///
/// # Errors
/// If there is no such rung, or no file of names.
pub fn run_rung(rung: usize, steps: usize) -> Result<()> {
    let workload = NamesWorkload::load()?;
    let rung = RUNGS.get(rung).context("there is no such rung")?;
    let mut trainer = (rung.new_trainer)(&workload)?;
    let mut batch = Batch::new();
    let mut nodes = 0;
    let start = Instant::now();
    for step in 0..steps {
        workload.fill(&mut batch, step, rung.batch);
        trainer.step(&batch);
        nodes += trainer.node_count();
    }
    println!("{} {nodes} {}", start.elapsed().as_secs_f64(), peak_memory().unwrap_or(f64::NAN));
    Ok(())
}

/// The peak memory of this process, in bytes.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}

/// This program with the arguments that make it call [`run_rung`].
fn command_line(rung: usize, steps: usize) -> Result<Vec<String>> {
    let program = env::current_exe()?.into_os_string().into_string();
    let program = program.ok().context("the path of this program is not UTF-8")?;
    Ok(vec![program, "--rung".to_owned(), rung.to_string(), "--steps".to_owned(), steps.to_string()])
}

/// Trains a rung in a new process.
///
/// # Errors
/// If the process fails.
pub fn measure_rung(rung: usize, steps: usize) -> Result<Measurement> {
    let command = command_line(rung, steps)?;
    let start = Instant::now();
    let output = Command::new(&command[0]).args(&command[1..]).stderr(Stdio::inherit()).output()?;
    let wall = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "the process of rung {rung} failed");
    let figures = String::from_utf8(output.stdout)?;
    let figures = figures.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [seconds, nodes, memory] = figures[..] else { anyhow::bail!("rung {rung} printed {figures:?}") };
    let steps = steps as f64;
    Ok(Measurement {
        wall,
        step: seconds * 1e6 / steps,
        nodes: nodes / steps,
        memory: memory.is_finite().then_some(memory),
    })
}

/// Event counts of one step, as far as the processor reports them.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventCounts {
    /// Instructions.
    pub instructions: Option<f64>,
    /// Mispredicted branches.
    pub branch_misses: Option<f64>,
    /// Cache lines that the first-level data cache requested from the second: for loads, stores or prefetches.
    pub l1_misses: Option<f64>,
}

/// The tool that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profiler {
    /// `perf`, which reads the counters of the processor.
    Perf,
    /// `valgrind`, which simulates the program. It counts instructions only, and does not know all vector instructions.
    Valgrind,
}

impl Profiler {
    /// The first that works on this machine.
    pub fn find() -> Option<Self> {
        [Profiler::Perf, Profiler::Valgrind]
            .into_iter()
            .find(|profiler| profiler.totals(RUNGS.len() - 1, 1).is_some_and(|totals| totals[0].is_some()))
    }

    /// The approximate counts of one step: the difference of a long and a short training, so that start-up cancels.
    pub fn per_step(self, rung: usize) -> Option<EventCounts> {
        let (few, many) = match self {
            Profiler::Perf => (100, 1000),
            Profiler::Valgrind => (10, 60),
        };
        let (short, long) = (self.totals(rung, few)?, self.totals(rung, many)?);
        let per_step = |at: usize| Some((long[at]? - short[at]?) / (many - few) as f64);
        Some(EventCounts { instructions: per_step(0), branch_misses: per_step(1), l1_misses: per_step(2) })
    }

    /// Instructions, branch misses and L1 misses of a whole process.
    fn totals(self, rung: usize, steps: usize) -> Option<[Option<f64>; 3]> {
        const EVENTS: [&str; 3] = ["instructions", "branch-misses", "L1-dcache-load-misses"];
        let events = EVENTS.map(|event| format!("{event}:u")).join(","); // `u`: without the kernel
        let (program, options): (_, &[&str]) = match self {
            Profiler::Perf => ("perf", &["stat", "-x", ",", "-e", &events, "--"]),
            Profiler::Valgrind => {
                ("valgrind", &["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
            }
        };
        let command = command_line(rung, steps).ok()?;
        let output = Command::new(program).args(options).args(command).output().ok()?;
        let text = String::from_utf8(output.stderr).ok().filter(|_| output.status.success())?;
        let number = |text: &str| text.trim().replace(',', "").parse().ok();
        let count = |event: &str| number(text.lines().find(|line| line.contains(event))?.split(',').next()?);
        Some(match self {
            Profiler::Perf => EVENTS.map(count),
            Profiler::Valgrind => [number(text.split_once("refs:")?.1.lines().next()?), None, None],
        })
    }
}

/// The median.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
    (low + high) / 2.0
}
