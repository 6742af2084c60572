//! Who gives the hub its policy: one revision after the other, each until it is the policy. What
//! each is, engines are compared with.

use std::collections::BTreeMap;

use protocol::internal::{HubAnswer, HubRequest};
use protocol::opal::policy::Files;
use protocol::{Problem, Update};

use crate::publisher::Ask;
use crate::world::{Event, World};

/// Files of which a revision has some.
const PATHS: [&str; 5] = ["m/a.rego", "m/b.rego", "c.rego", "a/data.json", "q/data.json"];

/// The giver of policies.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    left: u32,
    attempt: u64,
    is_waiting: bool,
    revisions: BTreeMap<String, Files>,
    /// What the hub made of them, by id.
    updates: BTreeMap<String, Update>,
}

/// What it does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Next,
    /// It has waited for an answer to this attempt.
    Timeout(u64),
}

impl Policies {
    pub(crate) fn new(left: u32) -> Self {
        Self { left, ..Self::default() }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.left == 0 && !self.is_waiting
    }

    /// True if these are all modules of a revision.
    pub(crate) fn is_revision(&self, name: &str, modules: &Files) -> bool {
        let files = self.revisions.get(name);
        files.is_some_and(|files| {
            files.iter().filter(|(path, _)| path.ends_with(".rego")).eq(modules.iter())
        })
    }

    /// An update that the hub made of a revision.
    pub(crate) fn made(&mut self, id: &str, update: &Update) {
        self.updates.insert(id.to_owned(), update.clone());
    }

    /// The same, by its id.
    pub(crate) fn update(&self, id: &str) -> Option<Update> {
        self.updates.get(id).cloned()
    }

    fn last(&self) -> Option<(&String, &Files)> {
        self.revisions.last_key_value()
    }
}

impl World {
    pub(crate) fn policies_turn(&mut self, turn: Turn) {
        match turn {
            Turn::Next if self.policies.left > 0 => {
                let mut files = Files::new();
                for path in PATHS {
                    if self.rng.bool() || path == "c.rego" {
                        let n = self.rng.u8(..3);
                        let is_data = path.ends_with(".json");
                        let text = format!("{{\"n\":{n}}}");
                        files.insert(path.to_owned(), if is_data { text } else { n.to_string() });
                    }
                }
                self.policies.left -= 1;
                self.policies.is_waiting = true;
                let name = format!("r{:03}", self.policies.revisions.len());
                self.policies.revisions.insert(name, files);
                self.set_policy();
            }
            Turn::Timeout(attempt) => {
                if self.policies.is_waiting && self.policies.attempt == attempt {
                    self.set_policy();
                }
            }
            Turn::Next => {}
        }
    }

    /// Asks for the last revision, once more if need be.
    fn set_policy(&mut self) {
        let attempt = self.fresh();
        self.policies.attempt = attempt;
        let Some((name, files)) = self.policies.last() else { return };
        let (revision, files) = (Some(name.clone()), files.clone());
        let request = HubRequest::SetPolicy { claims: None, revision, files, wait: None };
        self.ask(Ask::Policy(attempt), request);
        let patience = 1_000 + self.some(4_000);
        self.schedule.after(patience, Event::Policies(Turn::Timeout(attempt)));
    }

    pub(crate) fn policy_answered(&mut self, attempt: u64, answer: Result<HubAnswer, Problem>) {
        let is_current = self.policies.attempt == attempt && self.policies.is_waiting;
        match answer {
            Ok(HubAnswer::PolicySet { .. }) => {
                if is_current {
                    self.policies.is_waiting = false;
                    let pause = self.some(4 * self.profile.pause);
                    self.schedule.after(pause, Event::Policies(Turn::Next));
                }
            }
            Err(problem) if problem.status == 503 => {
                if is_current {
                    let delay = self.some(1_000);
                    self.schedule.after(delay, Event::Policies(Turn::Timeout(attempt)));
                }
            }
            answer => self.violated(format!("a policy: {answer:?}")),
        }
    }
}
