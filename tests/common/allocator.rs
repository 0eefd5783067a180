//! A global allocator that counts what each thread asks for, so that a test can say how much that may be.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// How often this thread asked for memory, and the most bytes that it asked for at once. The value is constant
    /// and needs no destructor, so that to reach it allocates nothing.
    static ASKED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn note(bytes: usize) {
    let (count, largest) = ASKED.get();
    ASKED.set((count + 1, largest.max(bytes)));
}

// SAFETY: every method hands its arguments on to `System`, which keeps the promises of `GlobalAlloc`, and returns what
// `System` returned. `note` does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does some work and tells its result, how often it asked for memory, and the most bytes it asked for at once.
pub fn watched<R>(work: impl FnOnce() -> R) -> (R, usize, usize) {
    ASKED.set((0, 0));
    let result = work();
    let (count, largest) = ASKED.get();
    (result, count, largest)
}
