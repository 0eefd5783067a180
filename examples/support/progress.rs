//! How far the work has come: a bar on a terminal, a plain line now and then elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::say;

/// The progress of a loop of so many steps.
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
    shown: Cell<Instant>,
}

impl Progress {
    /// A bar, if there is a terminal to draw it on, with some steps done already.
    pub fn new(steps: usize, done: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} step {pos:>4} / {len} | {msg} | {eta} left");
        let bar = stderr().is_terminal().then(|| {
            let style = style.expect("the template is well formed");
            let bar = ProgressBar::new(steps as u64).with_style(style).with_position(done as u64);
            bar.reset_eta();
            bar
        });
        Progress { bar, steps, shown: Cell::new(Instant::now()) }
    }

    /// Moves the bar a few times a second.
    pub fn step(&self, number: usize, message: impl FnOnce() -> String) {
        let Some(bar) = &self.bar else { return };
        if self.shown.get().elapsed() > Duration::from_millis(50) || number == self.steps {
            self.shown.set(Instant::now());
            bar.set_message(message());
            bar.set_position(number as u64);
        }
    }

    /// Prints a line. One that says no more than the bar is not printed where both would be seen together: a file of output
    /// gets it, whatever the terminal shows meanwhile.
    pub fn line(&self, more_than_bar: bool, text: &str) {
        match &self.bar {
            Some(bar) if more_than_bar || !stdout().is_terminal() => bar.suspend(|| say!("{text}")),
            Some(_) => {}
            None => say!("{text}"),
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}
