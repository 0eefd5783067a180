//! A pool of threads, and loops whose iterations they share.

use std::sync::Arc;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// A fixed number of threads that wait for work. A clone is another handle to the same threads.
#[derive(Clone, Debug)]
pub struct ThreadPool {
    /// `None` for one thread: the caller's.
    pool: Option<Arc<rayon::ThreadPool>>,
}

/// Threads that could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} threads cannot be started: {reason}")]
pub struct ThreadPoolError {
    /// How many were asked for.
    pub count: usize,
    /// What the system said.
    pub reason: String,
}

impl ThreadPool {
    /// A pool of `count` threads; 0 means one for each processor.
    ///
    /// # Panics
    /// If the system does not allow that many: [`try_new`](Self::try_new) returns an error instead.
    pub fn new(count: usize) -> Self {
        Self::try_new(count).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A pool of `count` threads; 0 means one for each processor.
    ///
    /// # Errors
    /// If the system does not allow that many.
    pub fn try_new(count: usize) -> Result<Self, ThreadPoolError> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let build = || ThreadPoolBuilder::new().num_threads(count).build().map(Arc::new);
        let pool = if count > 1 { Some(build()) } else { None };
        let pool = pool.transpose().map_err(|error| ThreadPoolError { count, reason: error.to_string() })?;
        Ok(ThreadPool { pool })
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Calls `work` with every item, in any order, on any thread.
    pub fn for_each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Send + Sync) {
        match &self.pool {
            Some(pool) if items.len() > 1 => {
                pool.install(|| items.par_iter_mut().with_max_len(1).for_each(work));
            }
            _ => items.iter_mut().for_each(work),
        }
    }

    /// Calls `work` with everything that an iterator gives, in any order, on any thread.
    pub fn for_each_of<T: Send>(&self, items: impl Iterator<Item = T>, work: impl Fn(T) + Send + Sync) {
        match &self.pool {
            Some(pool) => {
                let items: Vec<T> = items.collect();
                pool.install(|| items.into_par_iter().for_each(work));
            }
            None => items.for_each(work),
        }
    }

    /// Calls `work` with the index of each chunk of `size` numbers and the chunk itself, in any order, on any thread.
    pub fn for_each_chunk<T: Send>(
        &self,
        numbers: &mut [T],
        size: usize,
        work: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        match &self.pool {
            Some(pool) if numbers.len() > size => {
                let each = |(index, chunk): (usize, &mut [T])| work(index, chunk);
                pool.install(|| numbers.par_chunks_mut(size).enumerate().for_each(each));
            }
            _ => numbers.chunks_mut(size).enumerate().for_each(|(index, chunk)| work(index, chunk)),
        }
    }
}
