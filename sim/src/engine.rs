//! A policy engine's data: inside the agent's process, or a process of its own that outlives
//! the agent and does late what it was asked earlier.

use edge_agent::store::{Record, Tag};
use protocol::DataPath;
use serde_json::{Value, json};

use crate::store;

/// What a write became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    /// It is another engine's, by its fence.
    Fenced,
    /// It breaks a promise.
    Wrong(String),
}

/// One engine.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(crate) doc: Value,
    /// Whose restore it had last; none if it is empty.
    pub(crate) run: Option<u64>,
    /// Somebody else wrote to it since.
    pub(crate) altered: bool,
    /// It does not answer until this moment.
    pub(crate) down_until: u64,
    /// It is slow until this moment.
    pub(crate) slow_until: u64,
    /// What took effect, in order.
    applied: Vec<(Tag, DataPath)>,
}

impl Engine {
    /// Nothing is in it.
    pub(crate) fn empty(&mut self) {
        self.doc = json!({});
        self.run = None;
        self.altered = false;
        self.applied.clear();
    }

    pub(crate) fn restore<'r>(
        &mut self,
        run: u64,
        doc: Value,
        records: impl Iterator<Item = &'r Record>,
    ) {
        self.doc = doc;
        self.run = Some(run);
        self.altered = false;
        self.applied = records.map(|it| (it.tag, it.path.clone())).collect();
    }

    /// Nothing that was applied counts as an update of the log any more.
    pub(crate) fn forget_tags(&mut self) {
        self.applied.clear();
    }

    /// All of it, or nothing.
    pub(crate) fn write(&mut self, run: Option<u64>, records: &[Record], fence: bool) -> Outcome {
        let before = (self.doc.clone(), self.applied.clone());
        for record in records {
            let outcome = self.write_one(run, record, fence);
            if outcome != Outcome::Done {
                (self.doc, self.applied) = before;
                return outcome;
            }
        }
        Outcome::Done
    }

    fn write_one(&mut self, run: Option<u64>, record: &Record, fence: bool) -> Outcome {
        if fence && self.run != run {
            return Outcome::Fenced;
        }
        let Record { tag, path, .. } = record;
        if self.applied.iter().any(|(applied, _)| applied == tag) {
            return Outcome::Wrong(format!("{tag:?} takes effect twice"));
        }
        let newer = self.applied.iter().find(|(it, at)| it > tag && at.overlaps(path));
        if let Some((newer, _)) = newer {
            return Outcome::Wrong(format!("{tag:?} takes effect after {newer:?} at {path}"));
        }
        if store::apply(&mut self.doc, record) {
            self.applied.push((*tag, path.clone()));
            Outcome::Done
        } else {
            Outcome::Refused
        }
    }
}
