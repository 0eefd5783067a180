//! Lines that are typed: at a terminal they can be edited, and the earlier ones come back; from a pipe they are read as they are.

use std::io::{self, BufRead, IsTerminal, StdinLock, stdin, stdout};

use anyhow::{Context, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use support::{Interrupt, print};

/// How a program ends that Ctrl-C has ended.
const ENDED_BY_CTRL_C: i32 = 130;

/// Where lines come from.
pub enum Lines {
    /// A terminal. The earlier lines are forgotten with the program: no file keeps them.
    Terminal(Box<DefaultEditor>),
    /// Anything else.
    Plain(io::Lines<StdinLock<'static>>),
}

impl Lines {
    /// Standard input.
    pub fn open() -> Self {
        let is_typed = stdin().is_terminal() && stdout().is_terminal();
        match is_typed.then(DefaultEditor::new) {
            Some(Ok(editor)) => Lines::Terminal(Box::new(editor)),
            // A terminal that can do nothing can do this.
            _ => Lines::Plain(stdin().lock().lines()),
        }
    }

    /// Whether somebody is there to ask.
    pub fn is_terminal(&self) -> bool {
        stdin().is_terminal()
    }

    /// The next line after a sign that is shown at a terminal; `None` at the end.
    ///
    /// # Errors
    /// If standard input cannot be read.
    pub fn next(&mut self, sign: &str, interrupt: &Interrupt) -> Result<Option<String>> {
        let is_terminal = self.is_terminal();
        let read = match self {
            Lines::Terminal(editor) => match interrupt.idle(|| editor.readline(sign)) {
                Ok(line) => {
                    editor.add_history_entry(line.as_str()).ok(); // a line that is not remembered is no harm
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof) => Ok(None),
                // The terminal gives it to the reader of the line, and not as a signal.
                Err(ReadlineError::Interrupted) => std::process::exit(ENDED_BY_CTRL_C),
                Err(ReadlineError::Io(problem)) => Err(problem),
                Err(problem) => Err(io::Error::other(problem)),
            },
            Lines::Plain(lines) => {
                if is_terminal {
                    print::piece(sign);
                }
                interrupt.idle(|| lines.next()).transpose()
            }
        };
        read.context("standard input cannot be read")
    }
}
