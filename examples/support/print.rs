//! Lines on standard output. One that cannot be printed, on a full disk for example, does not stop the work: the
//! program says so at its end.
//!
//! What is printed may come from anywhere: a text to learn from, the name of a file. So no control character of it
//! reaches the terminal, where it could move the cursor, change colors or worse. A picture of it is shown in its place.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
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
    piece(&format!("{text}\n"));
}

/// Prints a part of a line, which appears at once.
pub fn piece(text: &str) {
    let mut stdout = io::stdout();
    if let Err(error) = write!(stdout, "{}", printable(text)).and_then(|()| stdout.flush()) {
        FAILED.lock().expect("no other thread panics while it prints").get_or_insert(error);
    }
}

/// Prints a part of a line that stands out: in green on a terminal, elsewhere «between marks».
pub fn marked(text: &str) {
    let mut stdout = io::stdout();
    let [before, after] = if stdout.is_terminal() { ["\x1b[32m", "\x1b[0m"] } else { ["«", "»"] };
    if let Err(error) = write!(stdout, "{before}{}{after}", printable(text)).and_then(|()| stdout.flush()) {
        FAILED.lock().expect("no other thread panics while it prints").get_or_insert(error);
    }
}

/// Why a line could not be printed, if that happened.
pub fn failure() -> Option<io::Error> {
    FAILED.lock().expect("no other thread panics while it prints").take()
}

/// A text in which line breaks and tabs are the only control characters: U+2400 and the characters after it show the others.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(harmless) {
        return text.into();
    }
    let picture = |c: char| match u32::from(c) {
        _ if harmless(c) => c,
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    };
    text.chars().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_as_pictures() {
        assert_eq!(printable("ada\n\tzoë 김"), "ada\n\tzoë 김");
        assert_eq!(printable("\u{1b}[31mred\r\0\u{7f}\u{9b}"), "␛[31mred␍␀␡\u{fffd}");
    }
}
