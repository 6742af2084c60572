//! Who makes grants and revokes them: one thing after the other, each asked for again until there
//! is an answer. And who asks the hub whether he may do something.

use std::collections::{BTreeMap, BTreeSet};

use hub::log::Record;
use protocol::internal::{HubAnswer, HubRequest, Quorum, Receipts, Wait};
use protocol::plane::audits::Plane;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};
use protocol::plane::{Bearer, PlaneAnswer, PlaneCall, PlaneRequest, Question, Refusal};
use protocol::{Problem, Update};
use serde_json::{Value, json};

use crate::history::grant_id;
use crate::permissions::{DOMAINS, PATTERNS, Permissions, SUBJECTS, Wanted, all_wanted};
use crate::publisher::Ask;
use crate::world::{Event, World};

/// What a granter does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Next,
    /// It has waited for an answer to this attempt.
    Timeout(u64),
}

/// What is wanted of grants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Make(Box<Grant>),
    Revoke(String),
}

/// A question to the hub about grants that is to be answered.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Wish {
        granter: usize,
        number: u32,
        wish: Wish,
        /// When it was sent.
        at: u64,
        wait: Option<Wait>,
    },
    /// Whether somebody may do this; and, once the hub has been asked, if he may by its log.
    Question(Wanted, Option<bool>),
}

/// One granter.
#[derive(Debug, Default)]
struct Granter {
    left: u32,
    number: u32,
    attempt: u64,
    /// How often its wish was sent.
    sent: u32,
    /// What it has no answer for.
    wish: Option<Wish>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Granters {
    each: Vec<Granter>,
    /// Grants that were asked for, by id.
    asked: BTreeMap<String, Grant>,
    /// Grants that the hub said it has made.
    made: Vec<String>,
    /// What the hub made of them, by the update's id.
    updates: BTreeMap<String, Update>,
}

impl Granters {
    pub(crate) fn new(counts: &[u32]) -> Self {
        let each = counts.iter().map(|&left| Granter { left, ..Granter::default() });
        Self { each: each.collect(), ..Self::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.each.len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.each.iter().all(|it| it.left == 0 && it.wish.is_none())
    }

    /// An update that the hub made.
    pub(crate) fn update(&self, id: &str) -> Option<Update> {
        self.updates.get(id).cloned()
    }

    /// The hub has appended an update about a grant: it says what was asked for, and a revocation
    /// takes all with it that was added. `there` is what the log said until then, if that was all.
    pub(crate) fn made(
        &mut self,
        record: &Record,
        there: Option<&Permissions>,
    ) -> Result<(), String> {
        let mut parts = record.id.trim_start_matches(Update::GRANT_ID).split('/');
        let (id, is_gone) = (parts.next().unwrap_or_default(), parts.next() == Some("gone"));
        let ids = match there {
            Some(there) if is_gone => there.with_added(id),
            _ => BTreeSet::from([id.to_owned()]),
        };
        let (mut wanted, mut said) = (BTreeMap::new(), BTreeMap::new());
        let mut update = record.update.clone();
        for id in &ids {
            let asked = self.asked.get(id).ok_or_else(|| format!("nobody asked for {id}"))?;
            let grant = self.resolved(asked);
            let topics = vec!["grants:.".to_owned(), format!("grants:{}", grant.domain)];
            wanted.insert(id.clone(), (topics, if is_gone { json!({}) } else { json!(grant) }));
            if record.places.is_empty() {
                // It was delivered before retention gave it up.
                update.entries.extend(if is_gone { grant.gone() } else { grant.entry() });
            }
        }
        for entry in &update.entries {
            let data = entry.inline().and_then(|data| serde_json::from_str(data.get()).ok());
            let id = grant_id(&entry.dst_path).unwrap_or_default();
            said.insert(id.to_owned(), (entry.topics.clone(), data.unwrap_or(Value::Null)));
        }
        self.updates.insert(record.id.clone(), update);
        if said == wanted || (is_gone && there.is_none()) {
            return Ok(());
        }
        Err(format!("{} says {said:?} and not {wanted:?}", record.id))
    }

    /// The grant that this was added to in the end, or itself.
    fn base<'g>(&'g self, grant: &'g Grant) -> &'g Grant {
        let base = grant.added_to.as_ref().and_then(|to| self.asked.get(to));
        base.map_or(grant, |base| self.base(base))
    }

    /// What a grant is with what it has of the one that it was added to.
    fn resolved(&self, grant: &Grant) -> Grant {
        let base = self.base(grant);
        if base.id == grant.id {
            return grant.clone();
        }
        Grant {
            domain: base.domain.clone(),
            subject: base.subject.clone(),
            expires_at: grant.expires_at.into_iter().chain(base.expires_at).min(),
            added_to: Some(base.id.clone()),
            ..grant.clone()
        }
    }
}

/// The id of the update that a grant is.
fn update_id(id: &str) -> String {
    format!("{}{id}", Update::GRANT_ID)
}

/// The id of the update that takes it back.
fn gone_id(id: &str) -> String {
    format!("{}{id}/gone", Update::GRANT_ID)
}

impl World {
    pub(crate) fn granter_turn(&mut self, at: usize, turn: Turn) {
        match turn {
            Turn::Next if self.granters.each[at].left > 0 => {
                let number = self.granters.each[at].number + 1;
                let known = self.rng.choice(self.granters.made.clone());
                let wish = match known {
                    Some(id) if self.rng.u8(..5) < 2 => Wish::Revoke(id),
                    known => {
                        let grant = self.some_grant(format!("g{at}-{number}"), known);
                        self.granters.asked.insert(grant.id.clone(), grant.clone());
                        Wish::Make(Box::new(grant))
                    }
                };
                let granter = &mut self.granters.each[at];
                granter.left -= 1;
                granter.number = number;
                granter.sent = 0;
                granter.wish = Some(wish);
                self.wish(at);
                if self.rng.bool() {
                    self.ask_whether();
                }
            }
            Turn::Timeout(attempt) => {
                let granter = &self.granters.each[at];
                if granter.wish.is_some() && granter.attempt == attempt {
                    self.wish(at);
                }
            }
            Turn::Next => {}
        }
    }

    /// A new grant; some are added to one that is known.
    fn some_grant(&mut self, id: String, known: Option<String>) -> Grant {
        let (subject, is_role) = SUBJECTS[self.rng.usize(..SUBJECTS.len())];
        let subject = subject.to_owned();
        let methods = [&["*"][..], &["GET"], &["GET", "POST"]][self.rng.usize(..3)];
        let expires_at = (self.rng.u8(..5) == 0).then(|| self.wall().plus(self.rng.u64(..20_000)));
        let role = ["r0", "r1"][self.rng.usize(..2)].to_owned();
        Grant {
            id,
            domain: DOMAINS[self.rng.usize(..DOMAINS.len())].to_owned(),
            subject: if is_role { Subject::Role(subject) } else { Subject::Token(subject) },
            allowed_http_methods: methods.iter().map(|&method| method.to_owned()).collect(),
            paths: vec![PATTERNS[self.rng.usize(..PATTERNS.len())].0.to_owned()],
            path_syntax: PathSyntax::Safe,
            eft: if self.rng.u8(..5) == 0 { Effect::Deny } else { Effect::Allow },
            roles: if self.rng.u8(..3) == 0 { vec![role] } else { vec![] },
            expires_at,
            created_at: self.wall(),
            added_to: known.filter(|_| self.rng.u8(..4) == 0),
        }
    }

    /// Asks for what a granter wants, once more if need be.
    fn wish(&mut self, at: usize) {
        let attempt = self.fresh();
        self.granters.each[at].attempt = attempt;
        let wait = self
            .percent(self.profile.waits)
            .then(|| Wait { agents: Quorum::All, timeout_ms: self.rng.u64(..3_000) });
        let copies = if self.percent(self.profile.repeats) { 2 } else { 1 };
        for _ in 0..copies {
            self.granters.each[at].sent += 1;
            let granter = &self.granters.each[at];
            let Some(wish) = granter.wish.clone() else { return };
            let call = match &wish {
                Wish::Make(grant) => PlaneCall::CreateGrant(grant.clone()),
                Wish::Revoke(id) => PlaneCall::DeleteGrant { id: id.clone() },
            };
            let number = granter.number;
            let about = About::Wish { granter: at, number, wish, at: self.schedule.now(), wait };
            self.ask(Ask::Grants(about), plane(Bearer::Master, call, wait));
        }
        let patience = 1_000 + self.some(4_000) + wait.map_or(0, |it| it.timeout_ms);
        self.schedule.after(patience, Event::Granter(at, Turn::Timeout(attempt)));
    }

    /// Somebody asks the hub for something that he may do, or not.
    fn ask_whether(&mut self) {
        let Some(wanted) = self.rng.choice(all_wanted().collect::<Vec<_>>()) else { return };
        let call = PlaneCall::Grants { domain: None };
        let bearer = Bearer::Grant(question(wanted));
        self.ask(Ask::Grants(About::Question(wanted, None)), plane(bearer, call, None));
    }

    /// A question has come to the hub: what does its log say?
    pub(crate) fn grants_asked(&self, about: &mut About) {
        if let About::Question(wanted, expected) = about
            && !self.hub.has_forgotten()
        {
            let there = self.hub.permissions();
            *expected = Some(there.allow(self.wall().0, *wanted));
        }
    }

    pub(crate) fn grants_answered(&mut self, about: About, answer: Result<HubAnswer, Problem>) {
        let (answer, receipts) = match answer {
            Ok(HubAnswer::Plane { answer, receipts }) => (answer, receipts),
            Err(problem) => (Err(problem.into()), None),
            Ok(other) => return self.violated(format!("{about:?}: {other:?}")),
        };
        match about {
            About::Question(wanted, expected) => {
                let found = match &answer {
                    Ok(_) => Some(true),
                    Err(refusal) if refusal.status == 401 => Some(false),
                    Err(_) => None,
                };
                let unknown = matches!(&answer, Err(refusal) if refusal.status == 503);
                let is_true = found.is_some() && (expected.is_none() || found == expected);
                self.require(is_true || unknown, || {
                    format!("the hub answers {wanted:?} with {answer:?}, its log with {expected:?}")
                });
            }
            About::Wish { granter, number, wish, at, wait } => {
                let done = self.wish_answered(&wish, (answer, receipts), (at, wait));
                let it = &self.granters.each[granter];
                if it.number != number || it.wish.is_none() {
                    return;
                }
                if done {
                    self.granters.each[granter].wish = None;
                    let pause = if self.settling { 1 } else { self.some(self.profile.pause) };
                    self.schedule.after(pause, Event::Granter(granter, Turn::Next));
                } else {
                    let (delay, attempt) = (self.some(1_000), self.granters.each[granter].attempt);
                    self.schedule.after(delay, Event::Granter(granter, Turn::Timeout(attempt)));
                }
            }
        }
    }

    /// Checks an answer against the durable log; false if it is to be asked again.
    fn wish_answered(
        &mut self,
        wish: &Wish,
        (answer, receipts): (Result<PlaneAnswer, Refusal>, Option<Receipts>),
        (sent, wait): (u64, Option<Wait>),
    ) -> bool {
        match (wish, answer) {
            (_, Err(refusal)) if refusal.status == 503 => return false,
            (wish, Ok(answer)) => {
                let update = match wish {
                    Wish::Make(grant) => update_id(&grant.id),
                    Wish::Revoke(id) => gone_id(id),
                };
                let known = self.history.find(&update);
                self.require(known.is_some() && known == answer.seq, || {
                    format!(
                        "{update} is answered {:?}, and the log has it as {known:?}",
                        answer.seq
                    )
                });
                if let Wish::Make(grant) = wish {
                    self.granters.made.push(grant.id.clone());
                }
                self.check_wait(sent, wait, receipts);
            }
            // It was made at an earlier attempt, or what is left of that is in the way.
            (Wish::Make(_), Err(refusal)) if refusal.status == 409 => {}
            (Wish::Make(grant), Err(refusal))
                if refusal.status == 404 && grant.added_to.is_some() =>
            {
                let base = grant.added_to.clone().unwrap_or_default();
                self.check_gone(&base);
            }
            (Wish::Revoke(id), Err(refusal)) if refusal.status == 404 => self.check_gone(id),
            (wish, answer) => self.violated(format!("{wish:?}: {answer:?}")),
        }
        true
    }

    /// A grant of which the hub says that it is not there is gone, by the log.
    fn check_gone(&mut self, id: &str) {
        let base = self.granters.asked.get(id).map(|grant| self.granters.base(grant).id.clone());
        let is_made = self.history.find(&update_id(id)).is_some();
        let is_gone = self.history.find(&gone_id(id)).is_some()
            || base.is_some_and(|base| self.history.find(&gone_id(&base)).is_some());
        // What is over is not said again when retention gives it up.
        let is_good = !is_made || is_gone || self.hub.has_forgotten();
        self.require(is_good, || {
            format!("{id} is there by the log, and the hub knows nothing of it")
        });
    }
}

fn plane(bearer: Bearer, call: PlaneCall, wait: Option<Wait>) -> HubRequest {
    let (plane, method, path) = (Plane::Control, "POST".to_owned(), "/api/v1/grants".to_owned());
    let asked = PlaneRequest { bearer, plane, method, path, call: Ok(call) };
    HubRequest::Plane { asked: Box::new(asked), wait }
}

/// The same as the product is asked.
pub(crate) fn question((token, domain, path, method): Wanted) -> Question {
    let [subject, domain, path, method] = [token, domain, path, method].map(str::to_owned);
    Question { subject, domain, path, method }
}
