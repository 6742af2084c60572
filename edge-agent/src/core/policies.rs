//! The hub's policies: which the engine has, and which are to be put into it.

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
    /// The revision that the engine has.
    revision: Option<String>,
    /// To be put into the engine.
    wanted: Option<PolicySet>,
    /// Being put into it.
    setting: Option<PolicySet>,
    error: Option<String>,
}

impl Policies {
    /// The engine is prepared with this revision at first, if with any of the hub's.
    pub(super) fn new(revision: Option<String>) -> Self {
        Self { revision, ..Self::default() }
    }

    pub(super) fn hear(&mut self, news: PolicyNews) {
        match news {
            PolicyNews::Expected => self.expected = true,
            PolicyNews::Failed(error) => self.error = Some(error),
            PolicyNews::Loaded(set) => {
                self.expected = true;
                // An empty change of what the engine has is none.
                let is_new = self.revision.is_none() || self.revision != set.revision;
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
        self.revision.clone_from(&set.revision);
        self.error = None;
        Some(set)
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

    pub(super) fn are_loaded(&self) -> bool {
        !self.expected || self.revision.is_some()
    }

    pub(super) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
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
