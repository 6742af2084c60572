//! A commit of policy on its way into the engine: its modules and its data together
//! ([`protocol::commit`]).
//!
//! While a replay is under way its parts are only collected. The log is compacted, so what it
//! says in the middle of a replay need not be what any commit was; at its end it is what the last
//! one is. Only an agent that has no room for more has to go by less.
//!
//! A commit that the engine refuses leaves everything as it was: the store forgets it, the
//! engine decides by what it had, and the parts wait for the next one ([`super::queue`]). The
//! mark stays before them, so that the hub says them again to an agent that is restarted.

use protocol::Millis;
use protocol::planted::{Bug, planted};

use super::io::{Effect, Report, WriteError};
use super::queue::Finished;
use super::{Core, status};
use crate::engine::EngineError;

impl Core {
    /// Starts to write the commit that may be written.
    pub(super) fn take_commit(&mut self) -> Option<Effect> {
        let waits = !self.subscription.is_live() && self.queue.has_room();
        if waits && !planted(Bug::ReplayCommitted) {
            return None;
        }
        let mark = self.mark();
        let commit = self.queue.take_commit()?;
        let set = self.policies.logged.changed(commit.revision.clone(), commit.modules.clone());
        self.policies.committing = Some((set.clone(), true));
        self.keeping.saved(mark.clone());
        Some(Effect::Commit(commit, set, mark))
    }

    /// What became of it.
    pub(super) fn commit_written(
        &mut self,
        now: Millis,
        result: Result<(), WriteError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.engine_backoff.reset();
                self.committed(effects);
            }
            Err(WriteError::Engine(EngineError::Rejected(error))) => {
                self.engine_backoff.reset();
                self.commit_refused(error, effects);
            }
            Err(WriteError::Engine(EngineError::Unavailable(error))) => {
                self.queue.commit_in_doubt();
                self.engine_down(now, error, effects);
            }
            Err(WriteError::NotRecorded(error)) => {
                self.queue.commit_again();
                self.policies.committing = None;
                self.not_recorded(now, error, effects);
            }
        }
    }

    /// The engine has the commit that was given to it.
    pub(super) fn committed(&mut self, effects: &mut Vec<Effect>) {
        let (finished, covered) = self.queue.committed();
        covered.iter().for_each(|covered| self.results.ended(covered, None));
        for finished in &finished {
            self.results.ended(finished, None);
            self.results.mended(finished.tag.seq);
        }
        if let Some(Finished { tag, .. }) = finished.last() {
            self.last_applied = self.last_applied.max(Some(tag.seq));
        }
        let Some((set, is_current)) = self.policies.committing.take() else { return };
        if is_current {
            self.policies.logged = set.clone();
        }
        self.policies.are(set.clone());
        effects.push(Effect::Report(Report::PoliciesSet(set.revision.clone())));
        effects.push(Effect::KeepPolicies(set));
    }

    /// The engine will not have it, and has what it had before.
    pub(super) fn commit_refused(&mut self, error: String, effects: &mut Vec<Effect>) {
        let error = status::shown(error);
        let (tags, updates) = self.queue.commit_refused();
        updates.into_iter().for_each(|seq| self.results.failed(seq, &error));
        effects.push(Effect::Discard(tags));
        self.policies.committing = None;
        effects.push(Effect::Report(Report::PoliciesFailed(error.clone())));
        self.policies.refused(error);
    }
}
