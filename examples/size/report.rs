//! The figures, as lines or as tables of Markdown.

use anyhow::{Result, bail};
use gradus::cost::{Activations, Moments, Operations, Part, TrainingMemory, parameters};
use gradus::counter_rng::CounterRng;
use gradus::model::{Mode, Model};
use gradus::random::Random;
use support::units::{bytes, count, duration, grouped};
use support::{Given, Usage, check_free, free_memory, say};

use crate::Args;
use crate::measure::{self, Steps};
use crate::subject::Subject;

/// Tokens a parameter for the least loss that a given number of operations buys (Hoffmann et al. 2022, table 3).
const CHINCHILLA: f64 = 20.0;

/// How much of the free memory is taken if nobody says how much: other programs run as well.
const WELL_BELOW: f64 = 0.8;

/// Where figures go.
pub struct Sheet {
    /// The name of the preset.
    pub name: String,
    pub markdown: bool,
}

/// A figure: what it is, the number, and a remark.
type Row = (String, String, String);

fn row(name: &str, number: String, remark: impl Into<String>) -> Row {
    (name.to_owned(), number, remark.into())
}

impl Sheet {
    fn section(&self, title: &str, rows: &[Row]) {
        if self.markdown {
            say!("\n### {title}\n\n| what | how much | |\n|---|---:|---|");
            rows.iter().for_each(|(name, number, remark)| say!("| {name} | {number} | {remark} |"));
            return;
        }
        say!("\n{title}");
        for (name, number, remark) in rows {
            say!("{}", format!("  {name:<34}{number:>16}  {remark}").trim_end());
        }
    }
}

impl Args {
    /// Prints everything about a model.
    pub fn answer<M: Model>(&self, sheet: &Sheet, subject: Subject<M>, given: &Given) -> Result<()> {
        let heading = if sheet.markdown { "## " } else { "" };
        say!("{heading}{}: {}", sheet.name, subject.what);
        sheet.section("Parameters", &of_parameters(&subject));
        let forward = subject.forward();
        let context = subject.model.context();
        let activations = activations(&subject)?;
        let threads = self.threads()?;
        let memory = |sequences| {
            let layout = subject.model.layout();
            let adamw = Moments::adamw(layout);
            TrainingMemory::new(layout, adamw, activations, (sequences, context), threads.count())
        };
        let sequences = match self.measure && !given.has("batch") {
            true => self.as_many_as_fit(|sequences| memory(sequences).total()),
            false => self.batch,
        };
        let needed = memory(sequences);
        let title = format!("Memory of a training step with AdamW: {sequences} x {context} tokens");
        sheet.section(&title, &of_training(&subject, needed, activations, (sequences, threads.count())));
        sheet.section("Memory of generation: a full context", &of_generation(&subject));
        // The rest is about training all of it.
        let adapted = subject.model.layout().trainable_len() < subject.model.layout().len();
        if adapted && !self.measure {
            return Ok(());
        }
        let title = match subject.translates {
            true => {
                "Floating-point operations for a token and one of its source, the mean over full contexts"
            }
            false => "Floating-point operations a token, the mean over a full context",
        };
        if !adapted {
            sheet.section(title, &of_operations(&subject, forward));
        }
        let training = forward.training() as f64 / context as f64;
        let rows = if self.measure {
            let what = format!("a training step of this model, {sequences} x {context} tokens,");
            check_free(&what, needed.total(), "give a smaller --batch, --context, --embd or --layers")?;
            let (mut random, vocab) = (Random::new(2), subject.model.vocab_size());
            let batch =
                subject.batch(sequences, context, || (random.uniform() * vocab as f64) as usize % vocab);
            let (params, tokens) = (subject.model.layout().len(), batch.len());
            let who = threads_in_words(threads.count());
            let steps = measure::steps(subject.model, &batch, self.steps, threads);
            let rows = of_steps(&steps, tokens, needed.total(), &who);
            sheet.section("Measured", &rows);
            if adapted {
                return Ok(());
            }
            let speed = tokens as f64 / steps.seconds;
            of_chinchilla(params, training, CHINCHILLA * params as f64 / speed, "at the speed of these steps")
        } else {
            let params = subject.model.layout().len();
            let speed = measure::product_speed(&threads);
            let who = threads_in_words(threads.count());
            let how = format!("a product of matrices, timed for half a second, {who}");
            sheet.section("This machine", &[row("operations a second", count(speed), how)]);
            let seconds = CHINCHILLA * params as f64 * training / speed;
            let remark =
                "at least: as if all of a step were as fast as that product; --measure makes real steps";
            of_chinchilla(params, training, seconds, remark)
        };
        sheet.section("A training by the rule of Chinchilla (Hoffmann et al. 2022)", &rows);
        Ok(())
    }

    /// The most sequences whose step fits well into the memory that is free, at most --batch and at least 1.
    fn as_many_as_fit(&self, need: impl Fn(usize) -> f64) -> usize {
        let free = free_memory();
        let fits = |sequences: &usize| need(*sequences) <= WELL_BELOW * free;
        let halves = std::iter::successors(Some(self.batch), |sequences| Some(sequences / 2));
        let most = halves.take_while(|sequences| *sequences > 0).find(fits).unwrap_or(1);
        if most < self.batch {
            let (need, free) = (bytes(need(self.batch)), bytes(free));
            say!("note: {} sequences need {need}, and {free} are free: so {most} instead", self.batch);
        }
        most
    }
}

/// What a step keeps. All parameters have to be there for that, if only as zeros.
fn activations<M: Model>(subject: &Subject<M>) -> Result<Activations> {
    let params = subject.model.layout().len();
    let need = 4.0 * params as f64;
    if need > free_memory() {
        bail!(Usage(format!(
            "the parameters alone need {}, and {} are free: give a smaller --embd, --layers or --vocab-size",
            bytes(need),
            bytes(free_memory())
        )));
    }
    let mode = Mode { dropout: Some(CounterRng::new(0)), ..Mode::default() };
    Ok(Activations::measure(&subject.frozen, mode, |sequences, length| {
        subject.batch(sequences, length, || 0)
    }))
}

fn of_parameters<M: Model>(subject: &Subject<M>) -> Vec<Row> {
    let layout = subject.model.layout();
    let all = layout.len();
    let rounded = if all < 10_000 { String::new() } else { count(all as f64) };
    let mut rows = vec![row("all", grouped(all as u64), rounded)];
    for (part, params) in parameters(layout) {
        let remark = match part {
            Part::Head if subject.tied => "shares the token table".to_owned(),
            _ => format!("{:.1} %", 100.0 * params as f64 / all as f64),
        };
        if params > 0 || part == Part::Head {
            rows.push(row(part.name(), grouped(params as u64), remark));
        }
    }
    let trained = layout.trainable_len();
    if trained < all {
        let remark = format!(
            "{:.1} %: adapters, counted with their layers above",
            100.0 * trained as f64 / all as f64
        );
        rows.push(row("trained", grouped(trained as u64), remark));
    }
    rows
}

fn of_training<M: Model>(
    subject: &Subject<M>,
    memory: TrainingMemory,
    activations: Activations,
    (sequences, threads): (usize, usize),
) -> Vec<Row> {
    let layout = subject.model.layout();
    let shape = (sequences, subject.model.context());
    let muon = TrainingMemory::new(layout, Moments::muon(layout), activations, shape, threads);
    let squares = match memory.squares > 0.0 {
        true => format!("{} of it grow with the square of the context", bytes(memory.squares)),
        false => "measured on the engine's tape".to_owned(),
    };
    let shards = if memory.shards > memory.gradient {
        "one for each thread, of the part that it works on"
    } else {
        ""
    };
    vec![
        row("parameters", bytes(memory.parameters), ""),
        row("gradient", bytes(memory.gradient), ""),
        row("gradients of parts of the batch", bytes(memory.shards), shards),
        row(
            "AdamW's two moments",
            bytes(memory.moments),
            format!("Muon has {}, with what it works on", bytes(muon.moments)),
        ),
        row("results, kept for the way back", bytes(memory.results), squares),
        row(
            "gradients of results",
            bytes(memory.result_gradients),
            "an estimate: a buffer serves many of them",
        ),
        row("together", bytes(memory.total()), format!("with Muon {}", bytes(muon.total()))),
    ]
}

fn of_generation<M: Model>(subject: &Subject<M>) -> Vec<Row> {
    let (params, kept) = (4.0 * subject.model.layout().len() as f64, 4.0 * subject.generation.kept as f64);
    let whose = if subject.translates { "of the text and its source" } else { "" };
    vec![
        row("parameters", bytes(params), ""),
        row("cache of keys and values", bytes(kept), whose),
        row("together", bytes(params + kept), ""),
    ]
}

fn of_operations<M: Model>(subject: &Subject<M>, forward: Operations) -> Vec<Row> {
    let token = |operations: u64| count(operations as f64 / subject.model.context() as f64);
    let last = subject.generation.operations.total();
    vec![
        row("products with weights", token(forward.products), "two for each weight that multiplies"),
        row("attention's products", token(forward.attention), "of what each query sees"),
        row("the rest", token(forward.elementwise), "element by element"),
        row("forward, together", token(forward.total()), ""),
        row(
            "training",
            token(forward.training()),
            "three times as many: on the way back, each product has a gradient for both of its factors",
        ),
        row("the last token of a full context", count(last as f64), "with a cache"),
    ]
}

fn of_steps(steps: &Steps, tokens: usize, predicted: f64, who: &str) -> Vec<Row> {
    let all =
        if steps.count == 1 { "one step".to_owned() } else { format!("the median of {}", steps.count - 1) };
    let speed = tokens as f64 / steps.seconds;
    let mut rows = vec![
        row("time of a step", duration(steps.seconds), format!("{all}, {who}")),
        row("tokens a second", count(speed), ""),
        row("loss of the first", format!("{:.4}", steps.loss), "nats a token, on random tokens"),
    ];
    if let Some(peak) = steps.peak {
        rows.push(row("peak memory", bytes(peak), format!("predicted {}", bytes(predicted))));
    }
    rows
}

fn of_chinchilla(params: usize, training: f64, seconds: f64, remark: &str) -> Vec<Row> {
    let tokens = CHINCHILLA * params as f64;
    vec![
        row("tokens", count(tokens), "20 for each parameter"),
        row("operations", count(tokens * training), ""),
        row("time on this machine", duration(seconds), remark),
    ]
}

fn threads_in_words(threads: usize) -> String {
    if threads == 1 { "on one thread".to_owned() } else { format!("on {threads} threads") }
}
