//! A global allocator that counts the allocations of each thread, so that tests can limit them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// The number of allocations of this thread, and the bytes of the largest. Its initial value is constant and it needs no
    /// destructor, so that accessing it allocates nothing.
    static ALLOCATIONS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn record(bytes: usize) {
    let (count, largest) = ALLOCATIONS.get();
    ALLOCATIONS.set((count + 1, largest.max(bytes)));
}

// SAFETY: every method passes its arguments to `System`, which upholds the contract of `GlobalAlloc`, and returns its
// result. `record` does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        record(size);
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the result of some work, the number of its allocations, and the bytes of the largest.
pub fn count_allocations<R>(work: impl FnOnce() -> R) -> (R, usize, usize) {
    ALLOCATIONS.set((0, 0));
    let result = work();
    let (count, largest) = ALLOCATIONS.get();
    (result, count, largest)
}
