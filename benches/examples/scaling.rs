//! How the training time of a character grows with the width, depth, context and batch size of a dialog model.
//!
//! ```text
//! cargo run --release --example scaling
//! cargo run --release --example scaling -- --svg docs/scaling.svg
//! ```
//!
//! In theory, where matrix products are nearly all the work, time is proportional to the square of the width and to the
//! depth. Attention adds a part proportional to the context. A larger batch makes a character cheaper only because all of
//! them share one optimizer step. On logarithmic scales, the slope of a line through the points is the exponent.

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
use gradus_benches::training::{VOCAB, adamw, dialog_trainer, random_batch};

/// Measures training steps of models around the dialog preset (128 wide, 3 layers, context 64, batch 32), with AdamW on one
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

/// One size that grows while the others stay the same.
struct Axis {
    name: &'static str,
    sizes: &'static [usize],
    /// The exponent in theory, and why.
    expected: (&'static str, &'static str),
    /// The model of a size, and how many sequences are in a batch.
    setup: fn(usize) -> (DecoderConfig, usize),
}

const AXES: [Axis; 4] = [
    Axis {
        name: "width",
        sizes: &[32, 64, 128, 256, 512],
        expected: (
            "1 to 2",
            "2 for matrix products, 1 for the rest; the wider the model, the more it is products",
        ),
        setup: |n_embd| (DecoderConfig { n_embd, n_ffn: 4 * n_embd, ..preset() }, 32),
    },
    Axis {
        name: "depth",
        sizes: &[1, 2, 4, 8],
        expected: ("1", "a little less, since there is one embedding and one head"),
        setup: |n_layer| (DecoderConfig { n_layer, ..preset() }, 32),
    },
    Axis {
        name: "context",
        sizes: &[16, 64, 256, 1024, 4096],
        expected: ("0 to 1", "1 for attention, where each character looks at all before it; 0 for the rest"),
        setup: |context| (DecoderConfig { context, ..preset() }, (2048 / context).max(1)),
    },
    Axis {
        name: "batch",
        sizes: &[1, 2, 4, 8, 16, 32],
        expected: ("0", "less at first, since all sequences share one optimizer step"),
        setup: |batch| (preset(), batch),
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
        println!("{:>8} {:>12}", axis.name, "µs a token");
        for &size in axis.sizes {
            let time = measure(axis, size, args.seconds)?;
            println!("{size:8} {:>12}", three_digits(time));
            points.push((size as f64, time));
        }
        let fit = fit_power_law(&points);
        println!(
            "exponent {:.2} over all, {:.2} over the last three",
            fit.0,
            fit_power_law(&points[points.len() - 3..]).0
        );
        let (expected, why) = axis.expected;
        println!("expected {expected}: {why}\n");
        let title = format!("{}: exponent {:.2}, expected {expected}", axis.name, fit.0);
        curves.push(Panel { title, axis: axis.name.to_owned(), points, fit });
    }
    if let Some(path) = &args.svg {
        write_atomically(path, panels("µs a token", &curves).as_bytes())?;
    }
    Ok(())
}

/// Microseconds a character.
fn measure(axis: &Axis, size: usize, seconds: f64) -> Result<f64> {
    let (config, sequences) = (axis.setup)(size);
    let batch = random_batch(sequences, config.context);
    let mut trainer = dialog_trainer(config, FastEngine::new(ThreadPool::new(1)), adamw)?;
    trainer.step(&batch); // warm-up
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        trainer.step(&batch);
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times) * 1e6 / batch.len() as f64)
}

/// Fits a power law by least squares on logarithmic scales. Returns its exponent, and its value at 1.
fn fit_power_law(points: &[(f64, f64)]) -> (f64, f64) {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |field: fn(&(f64, f64)) -> f64| logs.iter().map(field).sum::<f64>() / logs.len() as f64;
    let (x0, y0) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = logs.iter().map(|(x, y)| (x - x0) * (y - y0)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - x0).powi(2)).sum();
    let slope = covariance / variance;
    (slope, (y0 - slope * x0).exp())
}
