//! Ctrl-C, which ends the work but not the program.

use std::sync::atomic::{AtomicBool, Ordering};

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed.
pub struct Interrupt;

impl Interrupt {
    /// From now on the first Ctrl-C only asks the work to end. A second one kills, as usual.
    pub fn watch() -> Self {
        let handler = || {
            if PRESSED.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        // Where no handler can be set, Ctrl-C does what it always did.
        ctrlc::set_handler(handler).ok();
        Interrupt
    }

    /// Whether it is time to end.
    pub fn requested(&self) -> bool {
        PRESSED.load(Ordering::Relaxed)
    }
}
