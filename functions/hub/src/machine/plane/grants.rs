//! How grants are made, shown and revoked.
//!
//! A grant is kept with all that its subject has in its domain, so that who loads one token's
//! grants looks at no others. What was added to it goes with it, in one update.

use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject, check_domain};
use protocol::plane::{Question, Refusal};
use protocol::planted::{Bug, planted};
use protocol::{Entry, Millis, Problem, Update, hex};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::policy::{get, put};
use super::super::{unanswered, unstored};
use super::said::{self, Again, Said};
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
#[derive(Serialize, Deserialize)]
struct Kept {
    grant: Grant,
    /// False while it is being made or revoked: then the log says whether it is there.
    is_settled: bool,
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
    expires_at: Option<String>,
    created_at: String,
}

impl Step<'_> {
    pub(super) fn create_grant(
        &mut self,
        mut grant: Grant,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        if let Some(to) = &grant.added_to {
            let base = find(self.log, to)?.filter(|base| is_within(question, &base.domain));
            let base = base.ok_or_else(|| {
                Refusal::new(
                    404,
                    "Not Found",
                    "grant_id: there is no such grant; GET /api/v1/grants lists them",
                )
            })?;
            self.add_to(base, &mut grant)?;
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
        let entry = grant.entry()?;
        let kept = Kept { grant, is_settled: false };
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
                return Err(refusal);
            }
        };
        let kept = Kept { is_settled: true, ..kept };
        // As long as it is not, the log is asked.
        let _ = put(self.log, &at, &kept);
        self.plane.grants = Some(count + 1);
        self.plane.holders.take(&kept.grant);
        Done::said(&Shown::of(&kept.grant), said)
    }

    /// Gives a grant what it has of the one that it is added to.
    fn add_to(&self, mut base: Grant, grant: &mut Grant) -> Result<(), Refusal> {
        if let Some(to) = &base.added_to {
            // All of them are of one token, and go with the first.
            base = find(self.log, to)?.ok_or_else(Refusal::not_found)?;
        }
        let of_it = of(self.log, &base.domain, &base.subject)?;
        let added = of_it.iter().filter(|it| it.added_to.as_ref() == Some(&base.id)).count();
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
        Ok(())
    }

    /// Writes down a grant that the log does not know yet, which is to have this number there.
    fn prepare_grant(
        &mut self,
        id: &str,
        at: &str,
        kept: &Kept,
        seq: protocol::Seq,
    ) -> Result<(), Refusal> {
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
        grants.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Done::shown(&grants.iter().map(Shown::of).collect::<Vec<_>>())
    }

    pub(super) fn show_grant(
        &self,
        id: &str,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let grant = find(self.log, id)?.filter(|grant| is_within(question, &grant.domain));
        Done::shown(&Shown::of(&grant.ok_or_else(Refusal::not_found)?))
    }

    pub(super) fn delete_grant(
        &mut self,
        id: &str,
        question: Option<&Question>,
    ) -> Result<Done, Refusal> {
        let grant = find(self.log, id)?.filter(|grant| is_within(question, &grant.domain));
        let grant = grant.ok_or_else(Refusal::not_found)?;
        let mut going = of(self.log, &grant.domain, &grant.subject)?;
        going.retain(|it| it.id == grant.id || it.added_to.as_ref() == Some(&grant.id));
        let entries = going.iter().map(Grant::gone).collect::<Result<Vec<Entry>, Problem>>()?;
        for grant in &going {
            if planted(Bug::RevokedHalfway) {
                self.log.keep(&name(grant), None).map_err(unstored)?;
                continue;
            }
            put(self.log, &name(grant), &Kept { grant: grant.clone(), is_settled: false })?;
        }
        let said = self.say(said::gone(&update_id(id)), "a grant was revoked", entries)?;
        for grant in &going {
            self.plane.holders.remove(&grant.id);
            // What stays of it is of a grant that the log knows to be gone.
            let _ = self.log.keep(&name(grant), None);
            Said::forget(self.log, &update_id(&grant.id));
        }
        self.plane.grants = self.plane.grants.map(|count| count.saturating_sub(going.len()));
        Done::said(&json!({ "id": id, "seq": said.0 }), said)
    }

    /// What is to be said again of a grant that is kept under this name.
    pub(super) fn grant_again(&mut self, at: &str) -> Result<Again, Refusal> {
        let kept: Option<Kept> = get(self.log, at)?;
        let kept = match kept.filter(|kept| !kept.grant.is_over(self.now)) {
            Some(kept) if kept.is_there(self.log)? => Kept { is_settled: true, ..kept },
            _ => {
                self.log.keep(at, None).map_err(unstored)?;
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
        if self.is_settled || planted(Bug::UnsettledCounts) {
            return Ok(true);
        }
        let base = self.grant.added_to.as_ref();
        Ok(said::is_there(log, &update_id(&self.grant.id))?
            && base.map_or(Ok(true), |base| said::is_there(log, &update_id(base)))?)
    }
}

impl<'g> Shown<'g> {
    fn of(grant: &'g Grant) -> Self {
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
            expires_at: grant.expires_at.map(Millis::rfc3339),
            created_at: grant.created_at.rfc3339(),
        }
    }
}

/// The grants of a subject in a domain.
pub(super) fn of(log: &dyn Log, domain: &str, subject: &Subject) -> Result<Vec<Grant>, Problem> {
    all(log, &place(domain, subject))
}

fn all(log: &dyn Log, prefix: &str) -> Result<Vec<Grant>, Problem> {
    let mut grants = vec![];
    for (name, text) in log.documents(prefix).map_err(unanswered)? {
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|error| Problem::internal(format!("{name} cannot be read: {error}")))?;
        if kept.is_there(log)? {
            grants.push(kept.grant);
        }
    }
    Ok(grants)
}

fn find(log: &dyn Log, id: &str) -> Result<Option<Grant>, Problem> {
    let Some(said) = Said::read(log, &update_id(id))? else { return Ok(None) };
    match get::<Kept>(log, &said.at)? {
        Some(kept) if kept.is_there(log)? => Ok(Some(kept.grant)),
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
