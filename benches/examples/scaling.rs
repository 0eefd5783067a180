//! How the time of a character grows with the width, depth, context and batch of a dialog model in training.
//!
//! ```text
//! cargo run --release --example scaling
//! cargo run --release --example scaling -- --svg docs/scaling.svg
//! ```
//!
//! Theory: where products of matrices are nearly all the work, time goes with the square of the width and with the
//! depth; attention adds a part that goes with the context; and a batch makes a character cheaper only in that all share a
//! step of the optimizer. The slope of a line through the points on logarithmic scales says what the exponent is.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use gradus::checkpoint::write_atomically;
use gradus::fast::FastEngine;
use gradus::model::DecoderConfig;
use gradus::thread_pool::ThreadPool;
use gradus_benches::measure::median;
use gradus_benches::svg::{Panel, panels, three_digits};
use gradus_benches::work::{VOCAB, adamw, dialog, stretches};

/// Measures steps of training around those of the dialog preset (128 wide, 3 layers, context 64, batch 32), by AdamW on one
/// thread.
#[derive(Parser)]
struct Args {
    /// Draw the curves into this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How long each point is measured; the median of its steps counts
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
}

/// A size that grows while the others stay.
struct Axis {
    name: &'static str,
    sizes: &'static [usize],
    /// The exponent by theory, and where it comes from.
    expected: (&'static str, &'static str),
    /// What is trained, and in batches of how many stretches.
    of: fn(usize) -> (DecoderConfig, usize),
}

const AXES: [Axis; 4] = [
    Axis {
        name: "width",
        sizes: &[32, 64, 128, 256, 512],
        expected: (
            "1 to 2",
            "2 for products of matrices, 1 for everything else: the wider, the more of the first",
        ),
        of: |n_embd| (DecoderConfig { n_embd, n_ffn: 4 * n_embd, ..preset() }, 32),
    },
    Axis {
        name: "depth",
        sizes: &[1, 2, 4, 8],
        expected: ("1", "less a little: embedding and head are there once"),
        of: |n_layer| (DecoderConfig { n_layer, ..preset() }, 32),
    },
    Axis {
        name: "context",
        sizes: &[16, 64, 256, 1024, 4096],
        expected: (
            "0 to 1",
            "0 for all but attention, 1 for attention: each character looks at all before it",
        ),
        of: |context| (DecoderConfig { context, ..preset() }, (2048 / context).max(1)),
    },
    Axis {
        name: "batch",
        sizes: &[1, 2, 4, 8, 16, 32],
        expected: ("0", "less at first, since a step of the optimizer is shared by all"),
        of: |batch| (preset(), batch),
    },
];

fn preset() -> DecoderConfig {
    DecoderConfig::dialog(VOCAB)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut curves = Vec::new();
    for axis in &AXES {
        let mut points = Vec::new();
        println!("{:>8} {:>12}", axis.name, "us a token");
        for &size in axis.sizes {
            let time = measure(axis, size, args.seconds)?;
            println!("{size:8} {:>12}", three_digits(time));
            points.push((size as f64, time));
        }
        let fit = line(&points);
        println!(
            "exponent {:.2} over all, {:.2} over the last three",
            fit.0,
            line(&points[points.len() - 3..]).0
        );
        let (expected, why) = axis.expected;
        println!("expected {expected}: {why}\n");
        let title = format!("{}: exponent {:.2}, expected {expected}", axis.name, fit.0);
        curves.push(Panel { title, axis: axis.name.to_owned(), points, fit });
    }
    if let Some(path) = &args.svg {
        write_atomically(path, panels("us a token", &curves).as_bytes())?;
    }
    Ok(())
}

/// Microseconds a character.
fn measure(axis: &Axis, size: usize, seconds: f64) -> Result<f64> {
    let (config, batch) = (axis.of)(size);
    let batch = stretches(batch, config.context);
    let mut trainer = dialog(config, FastEngine::new(ThreadPool::new(1)), adamw)?;
    trainer.step(&batch); // to warm up
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 3 || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        trainer.step(&batch);
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times) * 1e6 / batch.len() as f64)
}

/// The straight line through points on logarithmic scales, by least squares: its slope, which is the exponent, and the
/// value at 1.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x0, y0) = (mean(|p| p.0), mean(|p| p.1));
    let over: f64 = logs.iter().map(|(x, y)| (x - x0) * (y - y0)).sum();
    let slope = over / logs.iter().map(|(x, _)| (x - x0).powi(2)).sum::<f64>();
    (slope, (y0 - slope * x0).exp())
}
