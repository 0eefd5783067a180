//! Lines on standard output. One that cannot be printed, on a full disk for example, does not stop the work: the
//! program says so at its end.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::Mutex;

/// The first error.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line: `println!` without its panic.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::print::line(format_args!($($text)*)) };
}

/// What [`say!`](crate::say) does.
pub fn line(text: Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        FAILED.lock().expect("no other thread panics while it prints").get_or_insert(error);
    }
}

/// Why a line could not be printed, if that happened.
pub fn failure() -> Option<io::Error> {
    FAILED.lock().expect("no other thread panics while it prints").take()
}
