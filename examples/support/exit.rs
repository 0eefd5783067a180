//! How an example ends: with 0, with 1 and a paragraph that says what was wrong, or with 2 if it was the command line.

use std::process::ExitCode;

/// A mistake in how the program was called.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reports an error, if there is one, and chooses the exit code.
pub fn with(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    if error.is::<Usage>() {
        eprintln!("\nFor all options and examples of use, try --help.");
        return ExitCode::from(2);
    }
    ExitCode::from(1)
}
