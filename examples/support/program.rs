//! How a program begins, and how it ends: with 0, with 1 and a paragraph that says what was wrong, or with 2 if it was
//! the command line.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::args::Given;
use crate::print;

/// A mistake in how the program was called.
#[derive(Debug)]
pub struct Usage(pub String);

impl Usage {
    /// The same mistake, as something else reported it.
    pub fn of(error: impl fmt::Display) -> Self {
        Usage(error.to_string())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A program that people run: its arguments, and what it does with them.
pub trait Program: Parser {
    /// What arguments of shared groups are by default in this program: `("steps", "1000")` for `--steps`.
    const DEFAULTS: &[(&str, &str)] = &[];

    /// The work.
    fn run(&self, given: &Given) -> Result<()>;

    /// Parses the command line, runs the program, reports its error, if there is one, and chooses the exit code.
    fn start() -> ExitCode {
        sigpipe::reset(); // `… | head` ends this program quietly, as it does any other
        // `--steps -5` is a number that does not fit, not an option that nobody knows.
        let command = Self::command().allow_negative_numbers(true);
        let command = command.mut_subcommands(|command| command.allow_negative_numbers(true));
        let command = Self::DEFAULTS.iter().fold(command, |command, (argument, value)| {
            command.mut_arg(argument, |argument| argument.required(false).default_value(value))
        });
        let parsed = command.try_get_matches().and_then(|matches| {
            let program = Self::from_arg_matches(&matches)?;
            Ok((program, Given(matches)))
        });
        match parsed {
            Ok((program, given)) => end(program.run(&given)),
            Err(answer) => explain(&answer),
        }
    }
}

/// Prints what the command line is answered with: the help that it asks for, or what is wrong with it.
fn explain(answer: &clap::Error) -> ExitCode {
    match answer.print().and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::from(answer.exit_code() as u8),
        Err(error) => end(Err(error).context(UNPRINTABLE)),
    }
}

const UNPRINTABLE: &str = "the output cannot be printed";

fn end(result: Result<()>) -> ExitCode {
    let printed = print::failure().map_or(Ok(()), |error| Err(error).context(UNPRINTABLE));
    let Err(error) = result.and(printed) else { return ExitCode::SUCCESS };
    let called = error.is::<Usage>();
    let help = if called { "\nFor all options and examples of use, try --help.\n" } else { "" };
    // If not even this can be printed, the exit code has to say it.
    write!(io::stderr(), "error: {}\n{help}", print::printable(&format!("{error:#}"))).ok();
    ExitCode::from(if called { 2 } else { 1 })
}
