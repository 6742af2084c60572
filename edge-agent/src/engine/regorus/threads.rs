//! Where policies are evaluated: on threads that may be blocked, so many at one time.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

/// Decisions at one time, and interpreters kept ready for them: more than cores only make each
/// other slower.
pub(super) static DECIDERS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)));

/// Places for evaluations. Clones share them.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Semaphore>);

impl Threads {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(*DECIDERS)))
    }

    /// Does `work` when there is a place for it. None if it panicked, which the panic hook has
    /// reported, or if the agent ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        // Fails only for a semaphore that was closed, which nobody does.
        let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let work = move || {
            // Kept by the work itself, which goes on when nobody waits any more.
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// How many places are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }
}
