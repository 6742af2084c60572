//! The embedded engine: decides in this process, on data that is always whole.
//!
//! Data and policies of one moment are a snapshot, which does not change while anybody decides on
//! it. A write puts the next one in its place; no decision waits for it longer than it takes to
//! swap two pointers.
//!
//! | question | file |
//! |---|---|
//! | How does a write make the next snapshot without a copy of the data? | `versions.rs` |
//! | How does the engine come to hold what the agent kept, or a commit? | `restore.rs` |
//! | What may be put beside what comes through Girasol? | `local.rs`, `places.rs` |
//! | Where do policies read how fresh the data is? | `lag.rs` |
//! | Where in the document is a path, how is text read, what does a JSON Patch do? | crate `rego`, `document/` |
//! | Do the policies compile, and which rules do they have? | crate `rego`, `policies.rs` |
//! | How is a decision made? | crate `rego`, `decide.rs` |
//! | How does package `permit` decide? | `permit.rs` |
//! | On which threads? | `threads.rs` |

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use protocol::DataPath;
use regorus::Value;

use super::{Engine, EngineError, EngineState, OwnedDocument, Undecided, Write};
use crate::json::Json;
use crate::policy::PolicyModule;

mod lag;
mod local;
mod logged;
mod permit;
mod places;
mod restore;
mod threads;
mod versions;

use local::Local;
pub use local::{Change, LocalError};

use rego::document::{self, LEVELS, Patch, Refused};
use rego::{Builtins, DECISION_LIMIT, Policies};
pub use rego::{DecisionError, Language, Location, QueryError};
use threads::DECIDERS;
pub(crate) use threads::Threads;
use versions::{Snapshot, Versions};

/// A value of JSON text.
///
/// # Errors
/// It has too many levels, a number that is too large, or a string that is not Unicode.
pub(crate) fn read_value(text: &str) -> Result<Value, String> {
    document::read(text, LEVELS)
}

/// Documents larger than this are read outside the threads that serve requests.
const READ_ELSEWHERE_BYTES: usize = 256 << 10;

/// The embedded engine.
pub struct RegorusEngine {
    inner: Arc<Inner>,
    /// For those who ask package `permit`.
    threads: Threads,
}

struct Inner {
    versions: Versions,
    /// Held by whoever makes the next version: what it needs to know of the ones before.
    turn: Mutex<Local>,
    language: Language,
    /// How long a decision may take.
    limit: Duration,
    filled: AtomicBool,
}

impl Inner {
    fn current(&self) -> Arc<Snapshot> {
        self.versions.current()
    }

    fn put(&self, path: &[String], text: &str) -> Result<(), Refused> {
        let mut value = document::read_for(path, text)?;
        let mut local = lock(&self.turn);
        if path.is_empty() {
            local.keep_lag(&mut value);
        }
        if Self::is_in_the_way(&local, path) {
            let old = self.versions.replace_all(|policies, mut data| {
                Self::make_way(&mut local, &mut data, path);
                policies.check_put(path, &value)?;
                let old = document::put(&mut data, path, value)?;
                Ok::<_, Refused>((Arc::clone(policies), data, old))
            })?;
            old.into_iter().for_each(drop_elsewhere);
        } else {
            self.versions.change(versions::Change::Put(path.to_vec(), value))?;
        }
        local.owned.add(path);
        Ok(())
    }

    fn patch(&self, path: &[String], operations: &str) -> Result<(), Refused> {
        let patch = Patch::parse(operations)?;
        let mut local = lock(&self.turn);
        if Self::is_in_the_way(&local, path) {
            let old = self.versions.replace_all(|policies, mut data| {
                Self::make_way(&mut local, &mut data, path);
                let old = patch.apply(&mut data, path)?;
                policies.check_data(&data)?;
                Ok::<_, Refused>((Arc::clone(policies), data, old))
            })?;
            old.into_iter().for_each(drop_elsewhere);
        } else {
            self.versions.change(versions::Change::Patch(path.to_vec(), patch))?;
        }
        if path.is_empty() {
            self.mend_lag(&local);
        }
        local.owned.add(path);
        Ok(())
    }

    fn compile(&self, modules: &[PolicyModule]) -> Result<Policies, Refused> {
        let texts = modules.iter().map(|module| (module.id.as_str(), module.rego.as_str()));
        let compiled = Policies::compile(texts, self.language, Builtins::Embedded);
        compiled.map(|it| it.within(self.limit)).map_err(|refused| refused.to_string())
    }

    fn set_policies(&self, modules: &[PolicyModule]) -> Result<(), Refused> {
        let policies = self.compile(modules)?;
        let mut local = lock(&self.turn);
        self.versions.replace_all(|_, mut data| {
            let policies = self.beside(&mut local, modules, policies, &mut data)?;
            Ok((Arc::new(policies), data, ()))
        })
    }
}

impl RegorusEngine {
    /// An engine without policies and data, for policies of today.
    #[must_use]
    pub fn new() -> Self {
        Self::speaking(Language::default())
    }

    /// An engine without policies and data, for policies of this language.
    #[must_use]
    pub fn speaking(language: Language) -> Self {
        Self::within(language, DECISION_LIMIT)
    }

    /// The same, but that a decision may take so long.
    #[must_use]
    pub fn within(language: Language, limit: Duration) -> Self {
        let inner = Inner {
            versions: Versions::new(Policies::none(), Value::new_object()),
            turn: Mutex::default(),
            language,
            limit,
            filled: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), threads: Threads::new() }
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

    /// As [`Self::decide`], where nobody may be held up: None if it might take more than a
    /// millisecond.
    ///
    /// # Errors
    /// As there.
    #[must_use]
    pub fn decide_quickly(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Option<Result<Option<Value>, DecisionError>> {
        self.inner.current().decide_quickly(path, input)
    }

    /// What the variables of a query stand for: an object for each answer.
    ///
    /// # Errors
    /// It cannot be read, or a rule that it asks for has no one value.
    pub fn query(&self, text: &str, input: Option<Value>) -> Result<Vec<Value>, QueryError> {
        let current = self.inner.current();
        current.policies.query(text, current.data.clone(), input)
    }

    /// True if a rule gives the value at a path, or at a place above it.
    #[must_use]
    pub fn has_rule(&self, path: &[String]) -> bool {
        self.inner.current().policies.has_rule(path)
    }

    /// Runs `work` on this thread, or on one that may block.
    async fn run<T: Send + 'static>(
        &self,
        here: bool,
        work: impl FnOnce(&Inner) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, EngineError> {
        let inner = Arc::clone(&self.inner);
        let done = if here {
            work(&inner)
        } else {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            // It panicked: that says nothing about what it was given.
            done.map_err(|error| EngineError::Unavailable(format!("regorus: {error}")))?
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
            Write::Put { path, data } => (true, path, data),
            Write::Patch { path, operations } => (false, path, operations),
        };
        let here = text.get().len() <= READ_ELSEWHERE_BYTES;
        let (path, text) = (path.segments().to_vec(), text.clone());
        Box::pin(self.run(here, move |inner| {
            if is_put { inner.put(&path, text.get()) } else { inner.patch(&path, text.get()) }
        }))
    }

    fn read<'a>(&'a self, path: &'a DataPath) -> BoxFuture<'a, Result<Option<Json>, EngineError>> {
        let path = path.segments().to_vec();
        Box::pin(self.run(true, move |inner| {
            let current = inner.current();
            let found = document::get(&current.data, &path).map(Value::to_json_str);
            found.transpose().map(|text| text.map(Json::known)).map_err(|it| it.to_string())
        }))
    }

    fn permit<'a>(
        &'a self,
        rule: &'a [&'a str],
        input: &'a Json,
    ) -> BoxFuture<'a, Result<Option<Json>, Undecided>> {
        Box::pin(self.ask_permit(rule, input))
    }

    fn set_policies<'a>(
        &'a self,
        modules: &'a [PolicyModule],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let modules = modules.to_vec();
        Box::pin(self.run(false, move |inner| inner.set_policies(&modules)))
    }

    fn commit<'a>(
        &'a self,
        modules: &'a [PolicyModule],
        documents: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let (modules, documents) = (modules.to_vec(), documents.to_vec());
        Box::pin(self.run(false, move |inner| inner.commit(&modules, &documents)))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineState, EngineError>> {
        let filled = self.inner.filled.load(Ordering::Relaxed);
        let state = if filled { EngineState::Filled } else { EngineState::Empty };
        Box::pin(async move { Ok(state) })
    }

    fn tell_lag(&self, seconds: u64) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.run(true, move |inner| {
            inner.set_lag(seconds);
            Ok(())
        }))
    }

    fn restore<'a>(
        &'a self,
        owned: &'a [OwnedDocument],
    ) -> BoxFuture<'a, Result<Vec<(DataPath, String)>, EngineError>> {
        let owned = owned.to_vec();
        Box::pin(self.run(false, move |inner| {
            let refused = inner.restore(&owned);
            inner.filled.store(true, Ordering::Relaxed);
            Ok(refused)
        }))
    }
}

/// Drops a value; one that takes long on a thread of its own, so that nobody waits for it.
fn drop_elsewhere(value: Value) {
    if is_large(&value) {
        // Without a thread it is dropped here: the closure is given back with the error.
        let _ = std::thread::Builder::new().name("drop".to_owned()).spawn(move || drop(value));
    }
}

/// True if a value takes long to be dropped.
fn is_large(value: &Value) -> bool {
    const PARTS: usize = 4_096;
    has_more_parts(value, PARTS)
}

/// True if a value has more parts than so many, of which a text has one for some of its bytes.
fn has_more_parts(value: &Value, most: usize) -> bool {
    const BYTES: usize = 64;
    let (mut seen, mut left) = (0, vec![value]);
    while let Some(value) = left.pop() {
        seen += match value {
            Value::Object(object) => object.len(),
            Value::Array(array) => array.len(),
            Value::Set(set) => set.len(),
            Value::String(text) => text.len() / BYTES,
            _ => 0,
        };
        if seen > most {
            return true;
        }
        match value {
            Value::Object(object) => left.extend(object.values()),
            Value::Array(array) => left.extend(array.iter()),
            Value::Set(set) => left.extend(set.iter()),
            _ => {}
        }
    }
    false
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod tests;
