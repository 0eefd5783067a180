//! How many threads work, and how they share it out.

use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// A number of threads that stay ready. Cloning it makes another handle to the same threads.
#[derive(Clone, Debug)]
pub struct ThreadPool {
    /// None for one thread, which is the caller's own.
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl ThreadPool {
    /// So many threads; 0 stands for as many as the machine has.
    pub fn new(count: usize) -> Self {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let build = || ThreadPoolBuilder::new().num_threads(count).build().ok().map(Arc::new);
        ThreadPool { pool: if count > 1 { build() } else { None } }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Does the work on every item, in any order and on any thread.
    pub fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Send + Sync) {
        match &self.pool {
            Some(pool) if items.len() > 1 => {
                pool.install(|| items.par_iter_mut().with_max_len(1).for_each(work));
            }
            _ => items.iter_mut().for_each(work),
        }
    }

    /// Does the work on every chunk of `size` numbers, given its place among them.
    pub fn for_each_chunk<T: Send>(
        &self,
        numbers: &mut [T],
        size: usize,
        work: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        match &self.pool {
            Some(pool) if numbers.len() > size => {
                let each = |(at, chunk): (usize, &mut [T])| work(at, chunk);
                pool.install(|| numbers.par_chunks_mut(size).enumerate().for_each(each));
            }
            _ => numbers.chunks_mut(size).enumerate().for_each(|(at, chunk)| work(at, chunk)),
        }
    }
}
