//! Publishers: each has one update after the other to be accepted, and publishes it again
//! until it has an answer.

use std::collections::BTreeMap;

use protocol::internal::{HubAnswer, HubRequest, Quorum, Receipts, Revocation, Wait};
use protocol::{Problem, Seq, Update};
use serde_json::Value;

use crate::granter::About;
use crate::profile::Fault;
use crate::workload;
use crate::world::{Event, World};

/// What a publisher does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Next,
    /// It has waited for an answer to this attempt.
    Timeout(u64),
}

/// A question to the hub that is to be answered.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Append {
        publisher: usize,
        number: u32,
        /// When it was sent.
        at: u64,
        wait: Option<Wait>,
        /// The publisher's token was revoked before.
        forbidden: bool,
    },
    /// An id that was accepted, with another body.
    Conflict,
    Revoke(String),
    /// The attempt.
    Policy(u64),
    Grants(About),
}

/// One publisher.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    left: u32,
    number: u32,
    attempt: u64,
    /// It has no answer for its last update.
    is_waiting: bool,
    published: BTreeMap<String, Update>,
    last: Option<Seq>,
    /// It says the last word on each topic.
    is_last: bool,
    revocation_asked: bool,
    revoked: bool,
}

impl Publisher {
    pub(crate) fn new(left: u32) -> Self {
        Self { left, ..Self::default() }
    }

    pub(crate) fn last() -> Self {
        let left = u32::try_from(workload::TOPICS.len()).unwrap_or_default();
        Self { left, is_last: true, ..Self::default() }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.left == 0 && !self.is_waiting
    }

    /// What it published under an id.
    pub(crate) fn published(&self, id: &str) -> Option<Update> {
        self.published.get(id).cloned()
    }
}

fn id(publisher: usize, number: u32) -> String {
    format!("p{publisher}-{number}")
}

/// The token's name of a publisher.
fn jti(publisher: usize) -> String {
    format!("publisher-{publisher}")
}

impl World {
    pub(crate) fn publisher_turn(&mut self, at: usize, turn: Turn) {
        match turn {
            Turn::Next if self.publishers[at].left > 0 => {
                let body = match self.publishers[at].left as usize {
                    left if self.publishers[at].is_last => {
                        workload::last_word(workload::TOPICS[left - 1])
                    }
                    _ => workload::update(&mut self.rng),
                };
                let publisher = &mut self.publishers[at];
                publisher.left -= 1;
                publisher.number += 1;
                publisher.is_waiting = true;
                let id = id(at, publisher.number);
                if let Some(update) = self.parse(body, &id) {
                    self.sources.change(&update, &id);
                    self.publishers[at].published.insert(id, update);
                    self.publish(at);
                }
            }
            Turn::Timeout(attempt) => {
                let publisher = &self.publishers[at];
                if publisher.is_waiting && publisher.attempt == attempt {
                    self.publish(at);
                }
            }
            Turn::Next => {}
        }
    }

    fn parse(&mut self, mut body: Value, id: &str) -> Option<Update> {
        body["id"] = id.into();
        self.note(|_| format!("publishes {body}"));
        match Update::parse(body.to_string().as_bytes()) {
            Ok(update) => Some(update),
            Err(problem) => {
                self.violated(format!("{body}: {problem}"));
                None
            }
        }
    }

    /// Publishes the last update, once more if need be.
    fn publish(&mut self, at: usize) {
        let attempt = self.fresh();
        self.publishers[at].attempt = attempt;
        let wait = self.percent(self.profile.waits).then(|| Wait {
            agents: if self.rng.bool() {
                Quorum::All
            } else {
                Quorum::AtLeast(self.rng.u32(1..=3))
            },
            timeout_ms: self.rng.u64(..3_000),
        });
        let copies = if self.percent(self.profile.repeats) { 2 } else { 1 };
        for _ in 0..copies {
            self.send_append(at, wait);
        }
        let patience = 1_000 + self.some(4_000) + wait.map_or(0, |it| it.timeout_ms);
        self.schedule.after(patience, Event::Publisher(at, Turn::Timeout(attempt)));
    }

    fn send_append(&mut self, at: usize, wait: Option<Wait>) {
        let publisher = &self.publishers[at];
        let Some(update) = publisher.published(&id(at, publisher.number)) else { return };
        let (number, forbidden) = (publisher.number, publisher.revoked);
        let ask = Ask::Append { publisher: at, number, at: self.schedule.now(), wait, forbidden };
        let claims = self.claims(format!("p{at}"), jti(at), 10_000_000);
        self.ask(ask, HubRequest::Append { update, claims, wait });
    }

    pub(crate) fn ask(&mut self, ask: Ask, asked: HubRequest) {
        if !self.settling && self.percent(2) {
            return self.note(|_| format!("lost on the way: {ask:?}"));
        }
        let delay = self.some(self.profile.latency);
        self.schedule.after(delay, Event::Request(ask, Box::new(asked)));
    }

    pub(crate) fn answered(&mut self, ask: Ask, answer: Result<HubAnswer, Problem>) {
        match (ask, answer) {
            (Ask::Append { publisher, number, at, wait, forbidden }, answer) => {
                self.appended(publisher, number, answer, forbidden, |world, receipts| {
                    world.check_wait(at, wait, receipts);
                });
            }
            (Ask::Policy(attempt), answer) => self.policy_answered(attempt, answer),
            (Ask::Grants(about), answer) => self.grants_answered(about, answer),
            (Ask::Conflict, Err(problem)) if matches!(problem.status, 401 | 409 | 503) => {}
            (Ask::Conflict, answer) => self.violated(format!("another body: {answer:?}")),
            (Ask::Revoke(jti), Ok(_)) => {
                self.check_revoked(&jti);
                for (at, publisher) in self.publishers.iter_mut().enumerate() {
                    publisher.revoked |= self::jti(at) == jti;
                }
            }
            (Ask::Revoke(_), Err(problem)) => {
                self.require(problem.status == 503, || format!("revoke: {problem}"));
            }
        }
    }

    fn appended(
        &mut self,
        at: usize,
        number: u32,
        answer: Result<HubAnswer, Problem>,
        forbidden: bool,
        check_wait: impl FnOnce(&mut Self, Option<Receipts>),
    ) {
        let is_current = self.publishers[at].number == number && self.publishers[at].is_waiting;
        match answer {
            Ok(HubAnswer::Appended { seq, receipts }) => {
                self.require(!forbidden, || {
                    format!("{} is taken from a revoked token", id(at, number))
                });
                check_wait(self, receipts);
                let known = self.history.find(&id(at, number));
                self.require(known == Some(seq), || {
                    format!("{} is answered {seq}, and the log has it as {known:?}", id(at, number))
                });
                if is_current {
                    self.accepted(at, seq);
                }
            }
            Err(problem) if problem.status == 503 => {
                if is_current {
                    let (delay, attempt) = (self.some(1_000), self.publishers[at].attempt);
                    self.schedule.after(delay, Event::Publisher(at, Turn::Timeout(attempt)));
                }
            }
            Err(problem) if problem.status == 401 && self.publishers[at].revocation_asked => {
                self.publishers[at].left = 0;
                self.publishers[at].is_waiting = false;
            }
            answer => self.violated(format!("{}: {answer:?}", id(at, number))),
        }
    }

    fn accepted(&mut self, at: usize, seq: Seq) {
        let publisher = &mut self.publishers[at];
        let last = publisher.last.replace(seq);
        publisher.is_waiting = false;
        self.require(last < Some(seq), || format!("{seq} after {last:?}, of one publisher"));
        if self.percent(self.profile.repeats) {
            let number = self.publishers[at].number;
            let body = workload::last_word("other");
            if let Some(update) = self.parse(body, &id(at, number)) {
                let claims = self.claims(format!("p{at}"), jti(at), 10_000_000);
                self.ask(Ask::Conflict, HubRequest::Append { update, claims, wait: None });
            }
        }
        if self.percent(30) {
            let agent = self.rng.usize(..self.agents.len());
            self.want(agent, seq);
        }
        let pause = if self.settling { 1 } else { self.some(self.profile.pause) };
        self.schedule.after(pause, Event::Publisher(at, Turn::Next));
    }

    /// A token is revoked: a publisher's, or the one that an agent is connected with.
    pub(crate) fn revoke(&mut self) {
        let agent = self.rng.bool();
        let jti = if agent {
            let sockets = self.connections.values().map(|it| it.jti.clone());
            let jtis: Vec<String> = sockets.collect();
            self.rng.choice(jtis)
        } else {
            let at = self.rng.usize(..self.publishers.len());
            self.publishers[at].revocation_asked = true;
            Some(jti(at))
        };
        if let Some(jti) = jti {
            self.ask(Ask::Revoke(jti.clone()), HubRequest::Revoke(Revocation::Jti(jti)));
        }
    }

    /// Who waits is answered when all have spoken, or when the time is up.
    pub(crate) fn check_wait(&mut self, sent: u64, wait: Option<Wait>, receipts: Option<Receipts>) {
        let (Some(wait), Some(receipts)) = (wait, receipts) else { return };
        let count = receipts.receipts.len();
        if receipts.complete {
            let expected = match wait.agents {
                Quorum::All => receipts.expected,
                Quorum::AtLeast(agents) => agents,
            };
            self.require(count >= expected as usize, || format!("complete with {receipts:?}"));
        } else if !self.profile.faults.contains(&Fault::ClockJump) {
            let over = self.schedule.now() >= sent + wait.timeout_ms;
            self.require(over, || format!("{wait:?} ended early with {receipts:?}"));
        }
    }
}
