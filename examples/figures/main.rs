//! Draws the figures of the book: `cargo run --example figures -- --out docs`.
//!
//! Those that show data show what this program computes: it trains the names GPT as `cargo run --example names`
//! does, and looks inside. The others are schematic, drawn with the same few shapes. The figures of the first
//! chapter are drawn by the example `value`, those of the last by `ladder` and `scaling`, which measure.

mod adapters;
mod calling;
mod conversation;
mod fast;
mod generate;
mod inside;
mod language;
mod model;
mod scalar;
mod sphere;
mod tokens;
mod trained;
mod training;
mod translation;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use gradus::checkpoint::write_atomically;
use support::{Given, Program, say};
use trained::Trained;

/// Trains the names GPT, and draws the figures of the book.
#[derive(Parser)]
struct Args {
    /// The folder for the figures
    #[arg(long, value_name = "DIR", default_value = "target")]
    out: PathBuf,
}

/// A count with a comma before the last three digits.
fn thousands(count: usize) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}

/// The name that the model reads in all figures.
const NAME: &str = "ariana";

impl Program for Args {
    fn run(&self, _: &Given) -> Result<()> {
        let trained = Trained::new()?;
        let look = trained.look_inside(NAME)?;
        let figures = [
            ("pipeline.svg", model::pipeline(&trained)),
            ("chain-rule.svg", scalar::chain_rule()),
            ("arena.svg", scalar::arena(&trained)),
            ("block.svg", model::block(&trained)),
            ("attention.svg", inside::attention(&look)),
            ("residual.svg", inside::residual(&look)),
            ("loss.svg", trained.loss_chart()),
            ("cache.svg", generate::cache()),
            ("tape.svg", fast::tape(&trained, NAME)?),
            ("tile.svg", fast::tile()),
            ("gradient.svg", inside::gradient(&look)),
            ("schedules.svg", training::schedules()),
            ("muon.svg", training::muon()),
            ("sphere.svg", sphere::step()),
            ("masks.svg", translation::masks()),
            ("positions.svg", translation::positions()),
            ("placement.svg", translation::placement()?),
            ("beam.svg", translation::beam()),
            ("merges.svg", tokens::merges()?),
            ("layouts.svg", language::layouts()),
            ("reads.svg", language::reads()?),
            ("adapter.svg", adapters::adapter()?),
            ("packed.svg", conversation::packed()),
            ("memory.svg", conversation::memory()?),
            ("guide.svg", calling::guide()?),
        ];
        for (name, svg) in figures {
            let path = self.out.join(name);
            write_atomically(&path, svg.as_bytes())?;
            say!("drawn: {}", path.display());
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    Args::start()
}
