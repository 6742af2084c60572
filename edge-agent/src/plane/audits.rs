//! The newest requests to this agent's data plane, in memory: who, what, and how it was answered.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::limits::MAX_AUDITS;
use protocol::plane::audits::{Audit, AuditQuery};
use serde_json::Value;

/// All that are remembered, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Audits(Mutex<VecDeque<Audit>>);

impl Audits {
    /// Remembers one; the oldest goes if there are too many.
    pub(super) fn add(&self, audit: Audit) {
        let mut audits = self.lock();
        if audits.len() >= MAX_AUDITS {
            audits.pop_front();
        }
        audits.push_back(audit);
    }

    /// Those that are wanted, as they are shown.
    pub(crate) fn show(&self, query: &AuditQuery) -> Vec<Value> {
        let audits: Vec<Audit> = self.lock().iter().cloned().collect();
        query.select(audits.into_iter()).iter().map(Audit::shown).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Audit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
