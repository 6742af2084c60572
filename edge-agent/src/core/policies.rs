//! The hub's policies: which the engine has, and which are to be put into it.
//!
//! They come in one of two ways. A hub of ours has them in its log, as [commits](super::commit)
//! of which each changes the one before it; an opal-server hands out sets, and each is all of
//! them.

use protocol::Millis;

use super::io::{Effect, PolicyNews, Report};
use super::{Core, status};
use crate::engine::EngineError;
use crate::policy::PolicySet;

/// What is known of the hub's policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// The hub has policies: without them no decision is right.
    expected: bool,
    /// What the engine has, or is prepared with.
    taken: PolicySet,
    /// To be put into the engine.
    wanted: Option<PolicySet>,
    /// Being put into it.
    setting: Option<PolicySet>,
    /// What the next commit changes: what the store has.
    pub(super) logged: PolicySet,
    /// Being put into the engine, with data; and whether it is of the log that is followed now.
    pub(super) committing: Option<(PolicySet, bool)>,
    /// What the engine may be prepared with at the start if it refuses what it took before: the
    /// last ones are tried first.
    fallbacks: Vec<PolicySet>,
    error: Option<String>,
}

impl Policies {
    /// `logged` is what the store has of the hub's log, `last_good` what the engine took last.
    pub(super) fn new(logged: Option<PolicySet>, last_good: Option<PolicySet>) -> Self {
        let has_any = logged.is_some() || last_good.is_some();
        let mut tries: Vec<PolicySet> = [logged.clone(), last_good].into_iter().flatten().collect();
        tries.dedup();
        tries.push(PolicySet::default());
        tries.reverse();
        let taken = tries.pop().unwrap_or_default();
        Self {
            expected: has_any,
            taken,
            logged: logged.unwrap_or_default(),
            fallbacks: tries,
            ..Self::default()
        }
    }

    pub(super) fn hear(&mut self, news: PolicyNews) {
        match news {
            PolicyNews::Expected => self.expected = true,
            PolicyNews::Failed(error) => self.error = Some(error),
            PolicyNews::Loaded(set) => {
                self.expected = true;
                // An empty change of what the engine has is none.
                let is_new = self.taken.revision.is_none() || self.taken.revision != set.revision;
                if is_new || self.setting.is_some() || self.wanted.is_some() {
                    self.wanted = Some(set);
                } else {
                    self.error = None;
                }
            }
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.wanted.is_some()
    }

    /// What is to be put into the engine now.
    pub(super) fn take(&mut self) -> Option<PolicySet> {
        self.setting = self.wanted.take();
        self.setting.clone()
    }

    /// The engine took them.
    pub(super) fn taken(&mut self) -> Option<PolicySet> {
        let set = self.setting.take()?;
        self.are(set.clone());
        Some(set)
    }

    /// The engine has these.
    pub(super) fn are(&mut self, set: PolicySet) {
        self.taken = set;
        self.error = None;
    }

    /// The engine will not have them, and has the ones before.
    pub(super) fn refused(&mut self, error: String) {
        self.setting = None;
        self.error = Some(error);
    }

    /// Nobody knows whether the engine has them: once more, unless there are newer ones.
    pub(super) fn again(&mut self) {
        self.wanted = self.wanted.take().or(self.setting.take());
        self.setting = None;
    }

    /// What the engine is to be prepared with: what the store has, since it is given that, too.
    pub(super) fn current(&self) -> PolicySet {
        self.committing.as_ref().map_or(&self.taken, |(set, _)| set).clone()
    }

    /// At the start the engine refused what it is prepared with: true if there is something
    /// before that.
    pub(super) fn fall_back(&mut self, error: String) -> bool {
        let Some(before) = self.fallbacks.pop() else { return false };
        self.taken = before;
        self.error.get_or_insert(error);
        true
    }

    /// The log begins anew, and its first commit says everything.
    pub(super) fn forget(&mut self) {
        self.logged = PolicySet::default();
        if let Some((_, is_current)) = &mut self.committing {
            *is_current = false;
        }
    }

    pub(super) fn are_loaded(&self) -> bool {
        !self.expected || self.taken.revision.is_some()
    }

    pub(super) fn revision(&self) -> Option<&str> {
        self.taken.revision.as_deref()
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What is wrong, in a sentence.
    pub(super) fn problem(&self) -> Option<String> {
        match (&self.error, self.are_loaded()) {
            (None, true) => None,
            (None, false) => Some("no policies have been loaded yet".to_owned()),
            (Some(error), false) => Some(format!("no policies have been loaded: {error}")),
            (Some(error), true) => Some(format!("the newest policies are not in: {error}")),
        }
    }
}

impl Core {
    pub(super) fn policy(&mut self, news: PolicyNews, effects: &mut Vec<Effect>) {
        if let PolicyNews::Failed(error) = &news {
            effects.push(Effect::Report(Report::PoliciesFailed(status::shown(error.clone()))));
        }
        self.policies.hear(news);
    }

    pub(super) fn policies_set(
        &mut self,
        now: Millis,
        result: Result<(), EngineError>,
        effects: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.engine_backoff.reset();
                self.engine_up(now);
                if let Some(set) = self.policies.taken() {
                    effects.push(Effect::Report(Report::PoliciesSet(set.revision.clone())));
                    effects.push(Effect::KeepPolicies(set));
                }
            }
            Err(EngineError::Rejected(error)) => {
                let error = status::shown(error);
                effects.push(Effect::Report(Report::PoliciesFailed(error.clone())));
                self.policies.refused(error);
                if self.config.probe_engine {
                    // It knows modules and no set of them: some of the new ones may be in.
                    self.prepare(effects);
                } else {
                    self.engine_up(now);
                }
            }
            Err(EngineError::Unavailable(error)) => {
                self.policies.again();
                self.engine_down(now, error, effects);
            }
        }
    }
}
