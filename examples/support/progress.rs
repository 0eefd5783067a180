//! How far the work is: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a loop of so many steps.
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
    shown: std::cell::Cell<Instant>,
}

impl Progress {
    /// A bar, if there is a terminal to draw it on.
    pub fn new(steps: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:30} step {pos:>4} / {len} | {msg} | {eta} left");
        let bar = stderr().is_terminal().then(|| {
            let style = style.expect("the template is well formed");
            ProgressBar::new(steps as u64).with_style(style)
        });
        Progress { bar, steps, shown: Instant::now().into() }
    }

    /// After step `number`: moves the bar a few times a second, or prints a line ten times in all.
    pub fn step(&self, number: usize, message: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) if self.shown.get().elapsed() > Duration::from_millis(50) || number == self.steps => {
                self.shown.set(Instant::now());
                bar.set_message(message());
                bar.set_position(number as u64);
            }
            None if number.is_multiple_of(self.steps.div_ceil(10)) || number == self.steps => {
                println!("step {number:4} / {} | {}", self.steps, message());
            }
            _ => {}
        }
    }

    /// Leaves the bar as it stands.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}
