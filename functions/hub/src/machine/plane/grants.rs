//! How grants are made, shown and revoked.
//!
//! A grant is kept with all that its subject has in its domain, so that who loads one token's
//! grants looks at no others. What descends from it goes with it, in one update (`family.rs`).

use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject, check_domain};
use protocol::plane::{Question, Refusal};
use protocol::planted::{Bug, planted};
use protocol::{Entry, Millis, Problem, Update, hex};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::policy::{get, put};
use super::super::{unanswered, unstored};
use super::said::{self, Again, Said, State};
use super::{Done, Step, is_within};
use crate::compaction;
use crate::log::Log;

/// What a subject has in a domain.
const GRANTS: &str = "plane/grants/";
/// Grants of a scope.
const MAX_GRANTS: usize = 100_000;
/// Grants that can be added to one: with it they are one update, which compaction looks at.
const MAX_ADDED: usize = compaction::MAX_DOCUMENTS - 1;
/// Grants that are shown at one time.
const MAX_LISTED: usize = 10_000;

/// A grant as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) grant: Grant,
    state: State,
    /// The grant whose token made it, and with which it goes; none for the master token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made_by: Option<String>,
    /// The grants that it is listed under, as what descends from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roots: Vec<String>,
}

/// A grant as it is shown: without its subject's hash.
#[derive(Serialize)]
struct Shown<'g> {
    id: &'g str,
    domain: &'g str,
    allowed_http_methods: &'g [String],
    paths: &'g [String],
    eft: Effect,
    path_syntax: PathSyntax,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'g [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'g str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<&'g str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<&'g str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    created_at: String,
}

impl Step<'_> {
    pub(super) fn create_grant(
        &mut self,
        mut grant: Grant,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let mut roots = vec![];
        if let Some(to) = &grant.added_to {
            let base = find(self.log, to)?.filter(|base| is_within(question, &base.grant.domain));
            let base = base.ok_or_else(|| {
                Refusal::new(
                    404,
                    "Not Found",
                    "grant_id: there is no such grant; GET /api/v1/grants lists them",
                )
            })?;
            roots = self.add_to(base, &mut grant)?;
        }
        check_domain(&grant.domain).map_err(|why| Refusal::validation(format!("domain: {why}")))?;
        for path in &grant.paths {
            let checked = ::grants::pattern::check(path, grant.path_syntax);
            checked.map_err(|error| Refusal::validation(format!("paths: {error}")))?;
        }
        if !is_within(question, &grant.domain) {
            return Err(Refusal::new(
                401,
                "Unauthorized",
                "a grant makes grants of its own domain; use the master token for others",
            ));
        }
        if let Some(question) = question {
            end_by(&mut grant, self.plane.holders.end(self.now, question));
        }
        let maker = self.maker(question)?;
        roots.extend(maker.iter().flat_map(Kept::roots_below));
        roots.dedup();
        let count = self.count_grants()?;
        if count >= MAX_GRANTS {
            return Err(Refusal::new(
                409,
                "too many grants",
                format!("there are {count}, which is the limit; delete those that are over"),
            ));
        }
        let (id, at) = (update_id(&grant.id), name(&grant));
        if Said::read(self.log, &id)?.is_some() {
            return Err(Refusal::new(409, "there is a grant of this id", "choose another id"));
        }
        self.make_expressions(&grant)?;
        let entry = grant.entry()?;
        let made_by = maker.map(|maker| maker.grant.id);
        let kept = Kept { grant, state: State::Making, made_by, roots };
        let seq = self.log.head().next();
        let said = self
            .prepare_grant(&id, &at, &kept, seq)
            .and_then(|()| self.say(id.clone(), "a grant was made", vec![entry]));
        let said = match said {
            Ok(said) => said,
            Err(refusal) => {
                // What stays of it is of no grant that the log knows.
                let _ = self.log.keep(&at, None);
                Said::forget(self.log, &id);
                kept.unlist(self.log);
                return Err(refusal);
            }
        };
        let kept = Kept { state: State::There, ..kept };
        // As long as it is not, the log is asked.
        let _ = put(self.log, &at, &kept);
        self.plane.grants = Some(count + 1);
        self.plane.holders.take(&kept.grant);
        Done::said(&Shown::of(&kept), said)
    }

    /// Gives a grant what it has of the one that it is added to; where it is listed.
    fn add_to(&self, mut base: Kept, grant: &mut Grant) -> Result<Vec<String>, Refusal> {
        if let Some(to) = &base.grant.added_to {
            // All of them are of one token, and go with the first.
            base = find(self.log, to)?.ok_or_else(Refusal::not_found)?;
        }
        // Those of one that the master token made are found by their subject.
        let roots = base.roots.clone();
        let base = base.grant;
        let of_it = of(self.log, &base.domain, &base.subject)?;
        let added = of_it.iter().filter(|it| it.grant.added_to.as_ref() == Some(&base.id)).count();
        if added >= MAX_ADDED {
            return Err(Refusal::new(
                409,
                "too many grants",
                format!(
                    "{added} grants were added to this one, which is the limit; delete some, or name more paths in one"
                ),
            ));
        }
        grant.subject = base.subject;
        grant.domain = base.domain;
        end_by(grant, base.expires_at);
        grant.added_to = Some(base.id);
        Ok(roots)
    }

    /// Writes down a grant that the log does not know yet, which is to have this number there.
    fn prepare_grant(
        &mut self,
        id: &str,
        at: &str,
        kept: &Kept,
        seq: protocol::Seq,
    ) -> Result<(), Refusal> {
        // First, so that nothing is there that would be left when what it descends from goes.
        self.list_below(kept)?;
        put(self.log, at, kept)?;
        Ok(Said { at: at.to_owned(), seq }.keep(self.log, id)?)
    }

    pub(super) fn list_grants(
        &self,
        domain: Option<&String>,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let asked = question.map(|question| &question.domain);
        if asked.zip(domain).is_some_and(|(own, asked)| own != asked) {
            return Done::shown(&[(); 0]);
        }
        let domain = domain.or(asked);
        let prefix = match domain {
            // No grant is of a domain that is none.
            Some(domain) if check_domain(domain).is_err() => return Done::shown(&[(); 0]),
            Some(domain) => format!("{GRANTS}{domain}/"),
            None => GRANTS.to_owned(),
        };
        let count = self.log.count(&prefix).map_err(unanswered)?;
        if count > MAX_LISTED {
            return Err(Refusal::new(
                400,
                "too many grants to show",
                format!("there are {count}; ask for those of one ?domain=, or for one by its id"),
            ));
        }
        let mut grants = all(self.log, &prefix)?;
        grants.sort_by(|one, other| {
            let (one, other) = (&one.grant, &other.grant);
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        Done::shown(&grants.iter().map(Shown::of).collect::<Vec<_>>())
    }

    pub(super) fn show_grant(
        &self,
        id: &str,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let grant = find(self.log, id)?.filter(|it| is_within(question, &it.grant.domain));
        Done::shown(&Shown::of(&grant.ok_or_else(Refusal::not_found)?))
    }

    pub(super) fn delete_grant(
        &mut self,
        id: &str,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let kept = find(self.log, id)?.filter(|it| is_within(question, &it.grant.domain));
        let going = self.going_with(kept.ok_or_else(Refusal::not_found)?)?;
        let entries = going.iter().map(|it| it.grant.gone());
        let entries = entries.collect::<Result<Vec<Entry>, Problem>>()?;
        let gone = said::gone(&update_id(id));
        self.take_expressions(going.iter().map(|kept| &kept.grant))?;
        for kept in &going {
            if planted(Bug::RevokedHalfway) {
                self.log.keep(&name(&kept.grant), None).map_err(unstored)?;
                continue;
            }
            let state = State::Going(gone.clone());
            put(self.log, &name(&kept.grant), &Kept { state, ..kept.clone() })?;
        }
        let said = self.say(gone, "a grant was revoked", entries)?;
        for kept in &going {
            self.plane.holders.remove(&kept.grant.id);
            // What stays of it is of a grant that the log knows to be gone, and is still listed.
            if self.log.keep(&name(&kept.grant), None).is_ok() {
                Said::forget(self.log, &update_id(&kept.grant.id));
                kept.unlist(self.log);
            }
        }
        self.plane.grants = self.plane.grants.map(|count| count.saturating_sub(going.len()));
        Done::said(&json!({ "id": id, "seq": said.0 }), said)
    }

    /// What is to be said again of a grant that is kept under this name.
    pub(super) fn grant_again(&mut self, at: &str) -> Result<Again, Refusal> {
        let kept: Option<Kept> = get(self.log, at)?;
        let is_there = kept.as_ref().map_or(Ok(false), |kept| kept.is_there(self.log))?;
        let kept = match kept.filter(|_| is_there) {
            Some(kept) if !kept.grant.is_over(self.now) => Kept { state: State::There, ..kept },
            over => {
                self.take_expressions(over.iter().map(|kept| &kept.grant))?;
                self.log.keep(at, None).map_err(unstored)?;
                if let Some(over) = over {
                    over.unlist(self.log);
                }
                self.plane.grants = None;
                return Ok(Again::Gone);
            }
        };
        // Before it is said again: the log does not know for ever what it said first.
        put(self.log, at, &kept)?;
        Ok(Again::Say("a grant is said again", vec![kept.grant.entry()?]))
    }

    fn count_grants(&mut self) -> Result<usize, Refusal> {
        let count = match self.plane.grants {
            Some(count) => count,
            None => said::count(self.log, Update::GRANT_ID)?,
        };
        self.plane.grants = Some(count);
        Ok(count)
    }
}

impl Kept {
    fn is_there(&self, log: &dyn Log) -> Result<bool, Problem> {
        if planted(Bug::UnsettledCounts) {
            return Ok(true);
        }
        self.state.is_there(log, &update_id(&self.grant.id))
    }
}

impl<'g> Shown<'g> {
    fn of(kept: &'g Kept) -> Self {
        let Kept { grant, made_by, .. } = kept;
        let role = match &grant.subject {
            Subject::Role(role) => Some(role.as_str()),
            Subject::Token(_) => None,
        };
        Self {
            id: &grant.id,
            domain: &grant.domain,
            allowed_http_methods: &grant.allowed_http_methods,
            paths: &grant.paths,
            eft: grant.eft,
            path_syntax: grant.path_syntax,
            roles: &grant.roles,
            role,
            grant_id: grant.added_to.as_deref(),
            made_by: made_by.as_deref(),
            expires_at: grant.expires_at.map(Millis::rfc3339),
            created_at: grant.created_at.rfc3339(),
        }
    }
}

/// The grants of a subject in a domain.
pub(super) fn of(log: &dyn Log, domain: &str, subject: &Subject) -> Result<Vec<Kept>, Problem> {
    all(log, &place(domain, subject))
}

fn all(log: &dyn Log, prefix: &str) -> Result<Vec<Kept>, Problem> {
    let mut grants = vec![];
    for (name, text) in log.documents(prefix).map_err(unanswered)? {
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|error| Problem::internal(format!("{name} cannot be read: {error}")))?;
        if kept.is_there(log)? {
            grants.push(kept);
        }
    }
    Ok(grants)
}

pub(super) fn find(log: &dyn Log, id: &str) -> Result<Option<Kept>, Problem> {
    let Some(said) = Said::read(log, &update_id(id))? else { return Ok(None) };
    match get::<Kept>(log, &said.at)? {
        Some(kept) if kept.is_there(log)? => Ok(Some(kept)),
        _ => Ok(None),
    }
}

/// A grant ends no later than this.
fn end_by(grant: &mut Grant, end: Option<Millis>) {
    grant.expires_at = grant.expires_at.into_iter().chain(end).min();
}

fn update_id(id: &str) -> String {
    format!("{}{id}", Update::GRANT_ID)
}

/// How the names begin under which a subject's grants are kept. A role's name can be anything.
fn place(domain: &str, subject: &Subject) -> String {
    match subject {
        Subject::Token(hash) => format!("{GRANTS}{domain}/token/{hash}/"),
        Subject::Role(role) => format!("{GRANTS}{domain}/role/{}/", hex(role.as_bytes())),
    }
}

fn name(grant: &Grant) -> String {
    format!("{}{}", place(&grant.domain, &grant.subject), grant.id)
}
