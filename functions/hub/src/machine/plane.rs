//! Grants, facts, and what was asked of them: each request is checked, carried out and remembered
//! in one step (`spec/opa-and-grants.md` part 4).
//!
//! What is kept by name is what the hub looks things up in; whether a grant or a fact is there is
//! what the log says, which agents follow. So storage may refuse at any point, and hub and agents
//! agree: a thing is written down first, marked as being made or going; the update makes it so; then the mark is taken away, or what was written. Of what still has the mark the log is
//! asked.
//!
//! | question | file |
//! |---|---|
//! | Who may do what? | this one |
//! | What may a token do, of all that the hub keeps? | `holders.rs` |
//! | How is a grant made, and revoked? | `grants.rs` |
//! | What goes with it? | `family.rs` |
//! | How many of its paths may need an engine? | `expressions.rs` |
//! | How is a fact kept, and forgotten? | `facts.rs` |
//! | What if it is sealed with an old key? | `reseal.rs` |
//! | Which scopes and types of facts are there? | `scopes.rs` |
//! | Which proxies are deployed? | `proxies.rs` |
//! | Where in the log is a thing, and what if retention gives that up? | `said.rs` |
//! | Who asked for what? | `audits.rs` |
//! | How much is there, and how much may there be? | `totals.rs` |

mod audits;
mod expressions;
mod facts;
mod family;
mod grants;
mod holders;
mod proxies;
mod reseal;
mod said;
mod scopes;
mod totals;

use protocol::internal::{HubAnswer, Wait};
use protocol::plane::audits::Audit;
use protocol::plane::{Bearer, PlaneAnswer, PlaneCall, PlaneRequest, Question, Refusal};
use protocol::{Entry, Millis, Problem, Seq, Update};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use vault::Keys;

use super::publishing::Batch;
use super::{Machine, RequestId, Settings};
use crate::log::Log;

pub use totals::PlaneLimits;

/// What the hub has in memory of the planes. All of it can be had anew from what is kept.
#[derive(Debug, Default)]
pub(super) struct Plane {
    holders: holders::Holders,
    /// How many grants are kept, once somebody has counted.
    grants: Option<usize>,
    recent: audits::Recent,
    /// True if nothing is left to be said again that could not be read before.
    is_late_known: bool,
    /// What facts are sealed with.
    keys: Option<Keys>,
}

/// A request that is being carried out.
struct Step<'s> {
    now: Millis,
    settings: Settings,
    plane: &'s mut Plane,
    batch: &'s mut Batch,
    log: &'s mut dyn Log,
}

/// What came of a request.
struct Done {
    body: Box<RawValue>,
    /// The update that tells agents, with its number.
    said: Option<(Seq, Update)>,
}

impl Machine {
    /// Tells the machine what facts are sealed with; nothing until then.
    pub fn set_facts_keys(&mut self, keys: Option<Keys>) {
        self.plane.keys = keys;
    }

    /// Everything that was kept is gone.
    pub(super) fn forget_plane(&mut self) {
        self.plane = Plane { keys: self.plane.keys.take(), ..Plane::default() };
    }

    /// Checks a request, carries it out and remembers it; the answer, unless that waits for agents.
    pub(super) fn plane(
        &mut self,
        now: Millis,
        (request, asked, wait): (RequestId, PlaneRequest, Option<Wait>),
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Option<HubAnswer>, Problem> {
        let has_room = wait.as_ref().map_or(Ok(()), |_| self.has_room_to_wait(batch));
        let PlaneRequest { bearer, plane, method, path, call } = asked;
        let settings = self.settings;
        let mut step = Step { now, settings, plane: &mut self.plane, batch, log };
        let done = has_room.map_err(Refusal::from).and_then(|()| step.carry_out(&bearer, call));
        let is_strange = match &bearer {
            Bearer::Master => false,
            Bearer::Grant(question) => !step.plane.holders.knows(question),
        };
        let domain = match bearer {
            Bearer::Master => String::new(),
            Bearer::Grant(question) => question.domain,
        };
        let sent_http_status = done.as_ref().map_or_else(|refusal| refusal.status, |_| 200);
        let audit = Audit {
            created_at: now,
            plane,
            domain,
            http_path: path,
            http_method: method,
            sent_http_status,
        };
        // What storage did not answer is nobody's fault.
        let is_strange = is_strange && sent_http_status == 401;
        self.plane.recent.remember(log, audit, is_strange);
        let plain = |answer| HubAnswer::Plane { answer, receipts: None };
        match done {
            Ok(Done { body, said: Some((seq, update)) }) => {
                let answer = plain(Ok(PlaneAnswer { body, seq: Some(seq) }));
                Ok(batch.answer(request, answer, wait, (seq, update)))
            }
            Ok(Done { body, said: None }) => Ok(Some(plain(Ok(PlaneAnswer { body, seq: None })))),
            // The cause is for the operator's log, as that of every other one.
            Err(Refusal { status: 500, message, .. }) => Err(Problem::internal(message)),
            Err(refusal) => Ok(Some(plain(Err(refusal)))),
        }
    }
}

// === impl Step ===

impl Step<'_> {
    fn carry_out(
        &mut self,
        bearer: &Bearer,
        call: Result<PlaneCall, Refusal>,
    ) -> Result<Done, Refusal> {
        let question = match bearer {
            Bearer::Master => None,
            Bearer::Grant(question) => Some(question),
        };
        if let Some(question) = question
            && !self.plane.holders.allow(self.log, self.now, question)?
        {
            return Err(Refusal::unauthorized());
        }
        match (call?, question) {
            (PlaneCall::CreateGrant(grant), _) => self.create_grant(*grant, question),
            (PlaneCall::Grants { domain }, _) => self.list_grants(domain.as_ref(), question),
            (PlaneCall::Grant { id }, _) => self.show_grant(&id, question),
            (PlaneCall::DeleteGrant { id }, _) => self.delete_grant(&id, question),
            (PlaneCall::Audits(query), _) => self.show_audits(query, question),
            (PlaneCall::Deployments, _) => self.list_proxies(question),
            (PlaneCall::Reseal, None) => self.reseal(),
            (PlaneCall::Reseal, Some(_)) => Err(Refusal::new(
                401,
                "Unauthorized",
                "keys are of all domains; use the master token",
            )),
            (call, Some(question)) => self.carry_out_data(call, question),
            (_, None) => Err(Refusal::new(
                401,
                "Unauthorized",
                "the master token is for grants, audits and keys; make a grant, and send its token",
            )),
        }
    }

    /// What a grant's bearer alone may do, in the grant's domain.
    fn carry_out_data(&mut self, call: PlaneCall, question: &Question) -> Result<Done, Refusal> {
        match call {
            PlaneCall::CreateFact { id, scope_id, fact } => {
                self.create_fact((id, scope_id), fact, question)
            }
            PlaneCall::Facts { scope_custom_id } => self.list_facts(&scope_custom_id, question),
            PlaneCall::Fact { id } => self.show_fact(&id, question),
            PlaneCall::DeleteFact { id } => self.delete_fact(&id, question),
            PlaneCall::CreateScope { id, custom_id } => self.create_scope(id, &custom_id, question),
            PlaneCall::Scope { custom_id } => self.show_scope(&custom_id, question),
            PlaneCall::CreateFactType { id, slug, validation } => {
                self.create_fact_type((id, slug, validation), question)
            }
            PlaneCall::FactTypes { slug, built_in } => {
                self.list_fact_types(slug.as_deref(), built_in, question)
            }
            PlaneCall::Deployment { name } => self.show_proxy(&name, question),
            PlaneCall::Deploy { name, routes } => self.deploy(name, routes, question),
            _ => Err(Refusal::not_found()),
        }
    }

    /// Appends the update that tells agents.
    fn say(
        &mut self,
        id: String,
        reason: &str,
        entries: Vec<Entry>,
    ) -> Result<(Seq, Update), Refusal> {
        let (id, reason) = (Some(id), Some(reason.to_owned()));
        let update = Update { id, reason, entries, callback: None };
        let seq = self.batch.append(self.now, update.clone(), self.log)?;
        Ok((seq, update))
    }
}

impl Done {
    /// An answer that changed nothing for agents.
    fn shown(body: &impl Serialize) -> Result<Self, Refusal> {
        Ok(Self { body: raw(body)?, said: None })
    }

    /// An answer, and the update that tells agents.
    fn said(body: &impl Serialize, said: (Seq, Update)) -> Result<Self, Refusal> {
        Ok(Self { body: raw(body)?, said: Some(said) })
    }
}

fn raw(body: &impl Serialize) -> Result<Box<RawValue>, Refusal> {
    to_raw_value(body).map_err(|error| Refusal::new(500, error.to_string(), ""))
}

/// True if who asks may see and change what is of this domain: a grant its own, the master all.
fn is_within(question: Option<&Question>, domain: &str) -> bool {
    question.is_none_or(|question| question.domain == domain)
}
