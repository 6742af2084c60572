//! The data in two copies that take turns, so that a write waits for no decision and copies
//! nothing, and no decision waits for a write.
//!
//! Decisions read the current copy. A write changes the spare one, which nobody reads, makes it
//! the current one, and then does the same to the other as soon as the decisions that began on it
//! have ended. The two share all that is not on the way to a place that was written to, so that
//! what they take together is little more than one.
//!
//! If a decision takes its time, the spare copy is given up, and the next write begins with a new
//! one. That costs a copy of the objects from the root to the place, which is milliseconds for one
//! of a hundred thousand members.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use rego::document::{self, Patch, Refused};
use rego::{DecisionError, Interpreter, Policies};
use regorus::Value;

use super::{DECIDERS, drop_elsewhere, has_more_parts, is_large, lock};

/// How long a write waits for the decisions that began before it: most take microseconds.
const PATIENCE: Duration = Duration::from_millis(2);
/// Parts of a value that is written as JSON in some microseconds.
const QUICKLY_WRITTEN: usize = 256;

/// Policies and data, as of each moment.
pub(super) struct Versions {
    current: RwLock<Arc<Snapshot>>,
    turn: Mutex<Turn>,
}

/// What whoever makes the next version holds.
#[derive(Default)]
struct Turn {
    /// The copy that is not current. None: the current one is to be cloned.
    spare: Option<Arc<Snapshot>>,
    /// What the spare copy has still to go through.
    missed: Option<Change>,
}

/// Policies and data of one moment. It does not change while anybody decides on it.
pub(super) struct Snapshot {
    pub(super) policies: Arc<Policies>,
    pub(super) data: Value,
    /// Interpreters on this snapshot that nobody is using. They hold the data, too.
    idle: Mutex<Vec<Interpreter>>,
}

/// What is written.
#[derive(Clone)]
pub(super) enum Change {
    Put(Vec<String>, Value),
    Patch(Vec<String>, Patch),
}

// === impl Snapshot ===

impl Snapshot {
    fn new(policies: Arc<Policies>, data: Value) -> Arc<Self> {
        Arc::new(Self { policies, data, idle: Mutex::default() })
    }

    /// The decision, if it is one of microseconds and so is writing it down.
    pub(super) fn decide_quickly(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Option<Result<Option<Value>, DecisionError>> {
        let input = input.unwrap_or(Value::Undefined);
        let decided = self.policies.run_quickly(path, &self.data, &input)?;
        let is_small = |value: &Value| !has_more_parts(value, QUICKLY_WRITTEN);
        Some(decided).filter(|decided| !matches!(decided, Ok(Some(it)) if !is_small(it)))
    }

    pub(super) fn decide(
        &self,
        path: &[String],
        input: Option<Value>,
    ) -> Result<Option<Value>, DecisionError> {
        let input = input.unwrap_or(Value::Undefined);
        if let Some(decided) = self.policies.run(path, &self.data, &input) {
            return decided;
        }
        let idle = lock(&self.idle).pop();
        let mut interpreter = match idle {
            Some(interpreter) => interpreter,
            None => self.policies.interpreter(self.data.clone())?,
        };
        // After an error an interpreter is not used again: it may have stopped anywhere.
        let decided = interpreter.decide(path, input)?;
        let mut idle = lock(&self.idle);
        if idle.len() < *DECIDERS {
            idle.push(interpreter);
        }
        Ok(decided)
    }
}

// === impl Change ===

impl Change {
    /// Changes `data`, and returns what was there. After a refusal of a patch the data is half
    /// patched.
    fn apply(self, data: &mut Value) -> Result<Vec<Value>, Refused> {
        match self {
            Self::Put(path, value) => {
                document::put(data, &path, value).map(|old| old.into_iter().collect())
            }
            Self::Patch(path, patch) => patch.apply(data, &path),
        }
    }
}

// === impl Versions ===

impl Versions {
    pub(super) fn new(policies: Policies, data: Value) -> Self {
        let current = RwLock::new(Snapshot::new(Arc::new(policies), data));
        Self { current, turn: Mutex::default() }
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes one change.
    ///
    /// # Errors
    /// It cannot be made, or it would hide a rule; nothing has changed.
    pub(super) fn change(&self, change: Change) -> Result<(), Refused> {
        let mut turn = lock(&self.turn);
        let mut next = turn.spare(|| self.current());
        let snapshot = match Arc::get_mut(&mut next) {
            Some(snapshot) => snapshot,
            // Nobody else knows it; were it otherwise, it would be cloned.
            None => {
                next = Snapshot::new(Arc::clone(&next.policies), next.data.clone());
                Arc::get_mut(&mut next).ok_or("the data is in use")?
            }
        };
        if let Change::Put(path, value) = &change
            && let Err(refused) = snapshot.policies.check_put(path, value)
        {
            turn.spare = Some(next);
            return Err(refused);
        }
        let is_patch = matches!(change, Change::Patch(..));
        let done = change.clone().apply(&mut snapshot.data).and_then(|old| {
            if is_patch {
                snapshot.policies.check_data(&snapshot.data)?;
            }
            Ok(old)
        });
        let old = match done {
            Ok(old) => old,
            Err(refused) => {
                // A put that is refused has changed nothing.
                turn.spare = (!is_patch).then_some(next);
                return Err(refused);
            }
        };
        let spare = self.replace(next);
        turn.missed = Some(change);
        turn.spare = Some(spare);
        let is_caught_up = turn.catch_up();
        // What is large is not to be there twice for longer than need be.
        if !is_caught_up && old.iter().any(is_large) {
            *turn = Turn::default();
        }
        drop(turn);
        old.into_iter().for_each(drop_elsewhere);
        Ok(())
    }

    /// Replaces policies and data by what `make` makes of them.
    ///
    /// # Errors
    /// What `make` says; nothing has changed.
    pub(super) fn replace_all<T, E>(
        &self,
        make: impl FnOnce(&Arc<Policies>, Value) -> Result<(Arc<Policies>, Value, T), E>,
    ) -> Result<T, E> {
        let mut turn = lock(&self.turn);
        let current = self.current();
        let (policies, data, made) = make(&current.policies, current.data.clone())?;
        drop(current);
        *turn = Turn::default();
        let old = self.replace(Snapshot::new(policies, data));
        drop(turn);
        drop(old);
        Ok(made)
    }

    fn replace(&self, next: Arc<Snapshot>) -> Arc<Snapshot> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut *current, next)
    }
}

// === impl Turn ===

impl Turn {
    /// The copy that nobody reads, as far as the current one.
    fn spare(&mut self, current: impl FnOnce() -> Arc<Snapshot>) -> Arc<Snapshot> {
        let caught_up = self.catch_up();
        match self.spare.take().filter(|_| caught_up) {
            Some(spare) => spare,
            None => {
                self.missed = None;
                let current = current();
                Snapshot::new(Arc::clone(&current.policies), current.data.clone())
            }
        }
    }

    /// Brings the spare copy up to date if the decisions on it end in time.
    fn catch_up(&mut self) -> bool {
        let Some(spare) = &mut self.spare else { return false };
        let Some(snapshot) = alone(spare) else { return false };
        // These are of the data as it was.
        mem::take(&mut snapshot.idle);
        let Some(missed) = self.missed.take() else { return true };
        let done = missed.apply(&mut snapshot.data);
        if done.is_err() {
            // The other copy took it, and both are the same; were they not, this one has to go.
            self.spare = None;
            return false;
        }
        true
    }
}

/// Waits until nobody else has the snapshot, for a while.
fn alone(snapshot: &mut Arc<Snapshot>) -> Option<&mut Snapshot> {
    let begin = Instant::now();
    while Arc::get_mut(snapshot).is_none() {
        if begin.elapsed() > PATIENCE {
            return None;
        }
        // What is waited for is the end of decisions that count nothing, for they are to be fast.
        thread::yield_now();
    }
    Arc::get_mut(snapshot)
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "measure_tests.rs"]
mod measure;
