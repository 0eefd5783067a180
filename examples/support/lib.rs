//! What the programs in `examples/` share, so that each of them is its arguments and what is special about it.
//!
//! - [`Program`]: parses the command line, runs, and reports how it ended.
//! - [`args`]: values with limits, and groups of options that several programs have.
//! - [`SamplingArgs`], [`TextArgs`]: how a model speaks.
//! - [`say!`]: a line on standard output.
//! - [`Outputs`]: plot and metrics, opened before the first step. A plot is a [`Chart`], drawn with [`svg`].
//! - [`units`]: numbers as people read them.
//! - [`baselines`]: the losses of simpler knowledge, to judge a model of names by.
//! - [`ModelFolder`]: where a model is saved, locked for one program, and protected from being overwritten by mistake.
//! - [`Progress`], [`Interrupt`]: a bar, and Ctrl-C.
//! - [`TrainArgs`], [`Task`], [`Run`]: a training with reports, validation and resume, of any model.
//! - [`Comparison`]: several of them side by side.
//!
//! `names.rs` has a loop of its own, in order to show one. A program that trains as `dialog.rs` does is a [`Task`].

pub mod args;
mod baselines;
mod checkpoints;
mod comparison;
mod folder;
mod history;
mod interrupt;
mod load;
mod losses;
mod memory;
mod metrics;
mod outputs;
pub mod plot;
pub mod print;
mod program;
mod progress;
mod recipe;
mod run;
mod sampling;
pub mod svg;
pub mod units;

pub use args::{Given, OutputArgs, SizeArgs};
pub use baselines::baselines;
pub use checkpoints::place as checkpoint;
pub use comparison::{Comparison, Contest, Entry, begin_comparison, best_of, estimate, is_comparison};
pub use folder::ModelFolder;
pub use history::{History, Log, Report};
pub use interrupt::Interrupt;
pub use load::{cannot_learn, load};
pub use losses::{Losses, check_params};
pub use memory::{check_free, check_memory, check_text, free_memory, peak_memory};
pub use outputs::{Outputs, check_output};
pub use plot::{Chart, Curve, Level};
pub use program::{Program, Usage};
pub use progress::Progress;
pub use recipe::{Method, TrainArgs};
pub use run::{Beginning, Data, End, Run, RunArgs, Standing, Task, begun_with};
pub use sampling::{SamplingArgs, TextArgs};
