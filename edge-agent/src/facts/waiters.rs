//! How many answers are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A count that goes down by itself when a waiter ends, also one that is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiters(Arc<AtomicUsize>);

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiter(Waiters);

impl Waiters {
    pub(super) fn enter(&self) -> Waiter {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(self.clone())
    }

    /// How many wait now.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
