//! A crew: threads that stay awake between one small job and the next.
//!
//! To write a word, a model of eight layers multiplies by its weights some thirty times, for some tens of microseconds each.
//! A [`ThreadPool`](crate::thread_pool::ThreadPool) is made for longer work: its threads go to sleep after each job, and the
//! system takes as long to wake one as a product lasts. The workers of a [`Crew`] look for the next job for a short
//! while, in a loop, and then they sleep too: a crew without work costs nothing.
//!
//! A job is a number of parts. Whoever is free takes the next one, so a thread that was interrupted leaves its share to the
//! others, and the caller never waits for a worker that has not begun.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a worker looks for a job before it gives way to others: some tens of microseconds. What happens between two
/// products of a model takes less.
const SPINS: usize = 4000;

/// After so many it sleeps. Between the two it lets other threads go first.
const LOOKS: usize = SPINS + 20;

/// How long a caller sleeps at most until it looks again whether the last part is done.
const NAP: Duration = Duration::from_micros(50);

/// Threads that share the parts of small jobs. The caller is one of them.
#[derive(Debug)]
pub struct Crew {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    asleep: Arc<AtomicBool>,
}

/// What all threads see. The two counters change often, and so each has cache lines of its own.
#[derive(Debug, Default)]
struct Shared {
    /// Parts of the job that nobody has taken yet. Whoever takes one lowers it, and may read `job` until that part is
    /// counted as done.
    left: Line<AtomicUsize>,
    /// Parts that are not done yet.
    unfinished: Line<AtomicUsize>,
    /// A [`Job`] on the caller's stack.
    job: AtomicPtr<()>,
    /// Whether somebody's job is running.
    busy: AtomicBool,
    /// Whether the workers are to end.
    over: AtomicBool,
    /// What the first part that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

struct Job<'a> {
    parts: usize,
    work: &'a (dyn Fn(usize) + Sync),
}

impl Crew {
    /// A crew of `threads`, the caller among them; 0 means one for each processor. If the system does not allow that many,
    /// there are fewer: [`count`](Self::count) says how many.
    pub fn new(threads: usize) -> Self {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let mut crew = Crew { shared: Arc::default(), workers: Vec::new() };
        for _ in 1..threads {
            let (shared, asleep) = (Arc::clone(&crew.shared), Arc::<AtomicBool>::default());
            let flag = Arc::clone(&asleep);
            let name = "gradus crew".to_string();
            match thread::Builder::new().name(name).spawn(move || shared.wait_for_jobs(&flag)) {
                Ok(thread) => crew.workers.push(Worker { thread, asleep }),
                Err(_) => break,
            }
        }
        crew
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` with each number below `parts` once, in any order, on any thread, and returns when all are done.
    ///
    /// While one job runs, another one, of this thread or another, is done by its caller alone.
    ///
    /// # Panics
    /// If a part panics, with what the first of them said. Parts that were not yet begun may or may not be done.
    pub fn each(&self, parts: usize, work: impl Fn(usize) + Sync) {
        let shared = &*self.shared;
        if parts < 2 || self.workers.is_empty() || shared.busy.swap(true, Acquire) {
            return (0..parts).for_each(work);
        }
        let job = Job { parts, work: &work };
        shared.job.store((&raw const job).cast_mut().cast(), Relaxed);
        shared.unfinished.0.store(parts, Relaxed);
        shared.left.0.store(parts, SeqCst);
        for worker in &self.workers {
            // Before a worker sleeps, it says so and then looks once more. So either it sees the job, or it is seen here.
            if worker.asleep.load(SeqCst) {
                worker.thread.thread().unpark();
            }
        }
        while shared.take_part() {}
        let mut looks = 0;
        // All that the parts wrote is visible once they are counted. And `job` must not be left before that.
        while shared.unfinished.0.load(Acquire) > 0 {
            pause(&mut looks, || thread::park_timeout(NAP));
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.store(false, Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread.thread().unpark();
            // A worker catches every panic.
            let _ = worker.thread.join();
        }
    }
}

impl Shared {
    fn wait_for_jobs(&self, asleep: &AtomicBool) {
        let (mut looks, mut over) = (0, false);
        while !over {
            if self.take_part() {
                looks = 0;
                continue;
            }
            pause(&mut looks, || {
                asleep.store(true, SeqCst);
                over = self.over.load(SeqCst);
                if self.left.0.load(SeqCst) == 0 && !over {
                    thread::park();
                }
                asleep.store(false, SeqCst);
            });
        }
    }

    /// Does the next part of the job. `false` if none is left.
    fn take_part(&self) -> bool {
        let mut left = self.left.0.load(Relaxed);
        loop {
            if left == 0 {
                return false;
            }
            match self.left.0.compare_exchange_weak(left, left - 1, Acquire, Relaxed) {
                Ok(_) => break,
                Err(now) => left = now,
            }
        }
        // SAFETY: this part is not done, so `each` has not returned and its `job` is where it was. It was written before
        // the number of parts was, and that number was read by the exchange.
        let job = unsafe { &*self.job.load(Relaxed).cast::<Job>() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.work)(job.parts - left))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        self.unfinished.0.fetch_sub(1, Release);
        true
    }
}

/// Waits a moment: at first by looking again, then by letting others go first, at last by `sleep`.
fn pause(looks: &mut usize, sleep: impl FnOnce()) {
    *looks += 1;
    match *looks {
        ..SPINS => std::hint::spin_loop(),
        SPINS..LOOKS => thread::yield_now(),
        _ => {
            sleep();
            *looks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(parts: usize) -> Vec<AtomicUsize> {
        (0..parts).map(|_| AtomicUsize::new(0)).collect()
    }

    #[test]
    fn every_part_is_done_once() {
        for threads in [1, 2, 3, 8] {
            let crew = Crew::new(threads);
            assert_eq!(crew.count(), threads);
            for round in 0..300 {
                let done = counts(round % 40);
                crew.each(done.len(), |part| {
                    done[part].fetch_add(1, Relaxed);
                });
                assert!(
                    done.iter().all(|done| done.load(Relaxed) == 1),
                    "{threads} threads, {} parts",
                    done.len()
                );
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let crew = Crew::new(2);
        for _ in 0..3 {
            while !crew.workers[0].asleep.load(SeqCst) {
                thread::yield_now();
            }
            // Each part waits for the other one: only two threads can do this.
            let met = std::sync::Barrier::new(2);
            crew.each(2, |_| {
                met.wait();
            });
        }
    }

    #[test]
    fn a_panic_comes_out_and_the_crew_goes_on() {
        for threads in [1, 3] {
            let crew = Crew::new(threads);
            for _ in 0..20 {
                let work = |part| assert!(part != 7, "part seven");
                let panic = catch_unwind(AssertUnwindSafe(|| crew.each(20, work))).unwrap_err();
                assert!(panic.downcast_ref::<&str>().is_some_and(|text| *text == "part seven"));
                let done = counts(20);
                crew.each(20, |part| {
                    done[part].fetch_add(1, Relaxed);
                });
                assert!(done.iter().all(|done| done.load(Relaxed) == 1));
            }
        }
    }

    #[test]
    fn jobs_within_jobs_and_from_several_threads() {
        let crew = Crew::new(2);
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        crew.each(4, |_| {
                            crew.each(3, |_| {
                                done.fetch_add(1, Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 3 * 50 * 4 * 3);
    }
}
