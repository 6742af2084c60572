//! The embedded engine: decides in this process, on data that is always whole.
//!
//! Data and policies of one moment are a `Snapshot`, which does not change while
//! anybody decides on it. A write makes the next one and puts it in its place; it waits
//! for no decision, and no decision waits for it longer than it takes to swap two
//! pointers. Only when nobody is deciding is data changed where it is, because copying an
//! object of a hundred thousand members to change one takes milliseconds.
//!
//! | question | file |
//! |---|---|
//! | Where in the document is a path, and what stands in a write's way? | `document.rs` |
//! | What does a JSON Patch do? | `patch.rs` |
//! | Do the policies compile, and which rules do they have? | `policies.rs` |
//! | How is a decision made? | `decide.rs` |

use std::{
    mem,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use regorus::{Value, utils::limits::ExecutionTimerConfig};

use super::{Engine, EngineError, EngineState, Write};
use crate::policy::PolicyModule;

mod decide;
mod document;
mod patch;
mod policies;

pub(crate) use decide::DECIDERS;
use decide::query;
pub use decide::{DecisionError, Location};
use document::Refused;
use patch::Patch;
use policies::Policies;

/// A decision that takes longer is given up, so that a policy that never ends costs its
/// thread for this long and not for ever. [`RegorusEngine::decide`] blocks; whoever calls
/// it sees to it that the thread is one that may be blocked.
const TIME_LIMIT: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_secs(10),
    check_interval: NonZeroU32::MIN.saturating_add(999),
};

/// Documents larger than this are read outside the threads that serve requests.
const READ_ELSEWHERE_BYTES: usize = 256 << 10;

/// The embedded engine.
pub struct RegorusEngine {
    inner: Arc<Inner>,
}

struct Inner {
    /// Held by whoever makes the next snapshot.
    turn: Mutex<()>,
    current: RwLock<Arc<Snapshot>>,
    filled: AtomicBool,
}

/// Policies and data of one moment.
struct Snapshot {
    policies: Arc<Policies>,
    data: Value,
    /// Engines prepared for this snapshot that nobody is using.
    idle: Mutex<Vec<regorus::Engine>>,
}

impl Snapshot {
    fn new(policies: Arc<Policies>, data: Value) -> Arc<Self> {
        Arc::new(Self { policies, data, idle: Mutex::default() })
    }
}

impl Inner {
    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was current is dropped here, after the lock: that may be megabytes.
    fn replace(&self, snapshot: Arc<Snapshot>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *current, snapshot);
        drop(current);
        drop(old);
    }

    fn put(&self, path: &[String], text: &str) -> Result<(), Refused> {
        let mut value = Value::from_json_str(text)
            .map_err(|_| "the data is nested too deeply, or not JSON".to_owned())?;
        if path.is_empty() && matches!(value, Value::Array(_)) {
            // As OPAL's client does.
            let items = mem::replace(&mut value, Value::new_object());
            document::put(&mut value, &["items".to_owned()], items)?;
        }
        let _turn = lock(&self.turn);
        let old = match self.put_in_place(path, &value) {
            Some(done) => done?,
            None => {
                let current = self.current();
                current.policies.check_put(path, &value)?;
                let mut data = current.data.clone();
                let old = document::put(&mut data, path, value)?;
                self.replace(Snapshot::new(Arc::clone(&current.policies), data));
                old
            }
        };
        drop(old);
        Ok(())
    }

    /// Changes the current snapshot itself if nobody else holds it, and returns what was
    /// at `path`. A put refuses before it changes anything.
    fn put_in_place(
        &self,
        path: &[String],
        value: &Value,
    ) -> Option<Result<Option<Value>, Refused>> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Arc::get_mut(&mut current)?;
        // These hold the data too.
        mem::take(&mut snapshot.idle);
        let allowed = snapshot.policies.check_put(path, value);
        Some(allowed.and_then(|()| document::put(&mut snapshot.data, path, value.clone())))
    }

    fn patch(&self, path: &[String], operations: &str) -> Result<(), Refused> {
        let patch = Patch::parse(operations)?;
        let _turn = lock(&self.turn);
        let current = self.current();
        let mut data = current.data.clone();
        patch.apply(&mut data, path)?;
        current.policies.check_data(&data)?;
        self.replace(Snapshot::new(Arc::clone(&current.policies), data));
        Ok(())
    }

    fn set_policies(&self, modules: &[PolicyModule]) -> Result<(), Refused> {
        let policies = Policies::compile(modules)?;
        let _turn = lock(&self.turn);
        let data = self.current().data.clone();
        policies.check_data(&data)?;
        self.replace(Snapshot::new(Arc::new(policies), data));
        Ok(())
    }
}

impl RegorusEngine {
    /// An engine without policies and data.
    #[must_use]
    pub fn new() -> Self {
        let snapshot = Snapshot::new(Arc::new(Policies::none()), Value::new_object());
        let inner = Inner {
            turn: Mutex::default(),
            current: RwLock::new(snapshot),
            filled: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Decides: the value of `data.<path>`, rules and data together, with `input` as the
    /// document of that name. A segment that is a number also names an array's element.
    /// None if it is undefined.
    ///
    /// # Errors
    /// The path cannot be asked for, or a rule has no one value.
    pub fn decide(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        self.inner.current().decide(path, input)
    }

    /// Runs `work` on this thread, or on one that may block.
    async fn run(
        &self,
        here: bool,
        work: impl FnOnce(&Inner) -> Result<(), Refused> + Send + 'static,
    ) -> Result<(), EngineError> {
        let inner = Arc::clone(&self.inner);
        let done = if here {
            work(&inner)
        } else {
            tokio::task::spawn_blocking(move || work(&inner))
                .await
                .unwrap_or_else(|error| Err(format!("regorus: {error}")))
        };
        done.map_err(EngineError::Rejected)
    }
}

impl Default for RegorusEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for RegorusEngine {
    fn name(&self) -> &'static str {
        "regorus"
    }

    fn write<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<(), EngineError>> {
        let (is_put, path, text) = match write {
            Write::Put { path, data } => (true, path, data.get()),
            Write::Patch { path, operations } => (false, path, operations.get()),
        };
        let here = text.len() <= READ_ELSEWHERE_BYTES;
        let (path, text) = (path.segments().to_vec(), text.to_owned());
        Box::pin(self.run(here, move |inner| {
            if is_put { inner.put(&path, &text) } else { inner.patch(&path, &text) }
        }))
    }

    fn set_policies<'a>(
        &'a self,
        modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let modules = modules.to_vec();
        Box::pin(self.run(false, move |inner| inner.set_policies(&modules)))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>> {
        let filled = self.inner.filled.load(Ordering::Relaxed);
        let state = if filled { EngineState::Filled } else { EngineState::Empty };
        Box::pin(async move { Ok(state) })
    }

    fn mark(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.filled.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
