//! Ctrl-C and its like, which end the work but not the program.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether nothing is done that could be ended.
static IDLE: AtomicBool = AtomicBool::new(false);

/// Whether the work was asked to end: by Ctrl-C, or by SIGTERM or SIGHUP, which schedulers and closing terminals send.
pub struct Interrupt;

impl Interrupt {
    /// From now on the first such signal only asks the work to end. A second one kills, as usual.
    pub fn watch() -> Self {
        let handler = || {
            if IDLE.load(Ordering::Relaxed) || REQUESTED.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        // Where no handler can be set, these signals do what they always did.
        ctrlc::set_handler(handler).ok();
        Interrupt
    }

    /// Does a piece of work that such a signal ends, and after which the program goes on. A second signal kills.
    pub fn each<T>(&self, work: impl FnOnce() -> T) -> T {
        REQUESTED.store(false, Ordering::Relaxed);
        work()
    }

    /// Waits for something. A signal then kills, since there is no work to end.
    pub fn idle<T>(&self, wait: impl FnOnce() -> T) -> T {
        IDLE.store(true, Ordering::Relaxed);
        let done = wait();
        IDLE.store(false, Ordering::Relaxed);
        done
    }

    /// Whether it is time to end.
    pub fn requested(&self) -> bool {
        REQUESTED.load(Ordering::Relaxed)
    }
}
