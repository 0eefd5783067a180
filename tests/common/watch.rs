//! A global allocator that watches how much memory a thread has at a time, so that tests can limit it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a piece of work asked for, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// The largest piece.
    pub largest: usize,
    /// The most at a time, all pieces together.
    pub peak: usize,
    /// What is there now, counted from where the work began. Pieces that were there before may be given back.
    now: isize,
}

struct Watching;

thread_local! {
    /// Its initial value is constant and it needs no destructor, so that accessing it allocates nothing.
    static WATCHED: Cell<Watched> = const { Cell::new(Watched { largest: 0, peak: 0, now: 0 }) };
}

fn record(new: usize, old: usize) {
    let mut watched = WATCHED.get();
    watched.largest = watched.largest.max(new);
    watched.now += new as isize - old as isize;
    watched.peak = watched.peak.max(watched.now.max(0) as usize);
    WATCHED.set(watched);
}

// SAFETY: every method passes its arguments to `System`, which upholds the contract of `GlobalAlloc`, and returns its
// result. `record` does not allocate.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        record(size, layout.size());
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        record(0, layout.size());
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Returns the result of some work, and the memory that it asked for.
pub fn watch<R>(work: impl FnOnce() -> R) -> (R, Watched) {
    WATCHED.set(Watched::default());
    let result = work();
    (result, WATCHED.get())
}
