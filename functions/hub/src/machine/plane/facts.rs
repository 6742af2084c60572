//! How facts are kept, shown and forgotten.
//!
//! What a fact is, is kept with the others of its scope; its value is sealed and by itself, under
//! the name of its key, so that a list reads no values and whoever reseals finds what is left.

use protocol::plane::facts::{Fact, NewFact};
use protocol::plane::{Question, Refusal};
use protocol::{Entry, Problem, Update, hex, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vault::Keys;
use vault::keys::OpenError;

use super::super::policy::{get, put};
use super::super::{unanswered, unstored};
use super::said::{self, Again, Said, State};
use super::totals::{Thing, Total};
use super::{Done, Step};
use crate::log::{Log, LogError};

/// What facts are, by domain and scope.
const FACTS: &str = "plane/facts/";
/// Their values, sealed, by the key that seals them.
pub(super) const VALUES: &str = "plane/values/";
/// Which fact of a scope has a value, without anybody knowing the value.
const PRINTS: &str = "plane/prints/";
/// Facts that are shown at one time.
const MAX_LISTED: usize = 10_000;

/// A fact as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Without its value.
    pub(super) fact: Fact,
    /// The key that its value is sealed with.
    pub(super) kid: String,
    /// By what its value is found in its scope; none where it need not be.
    pub(super) print: Option<String>,
    /// Bytes that it has in the log.
    #[serde(default)]
    pub(super) bytes: u64,
    pub(super) state: State,
}

impl Step<'_> {
    pub(super) fn create_fact(
        &mut self,
        (id, scope_id): (String, String),
        new: NewFact,
        question: &Question,
    ) -> Result<Done, Refusal> {
        let NewFact { scope_custom_id, fact_type_slug, value } = new;
        let domain = question.domain.clone();
        self.check_value(&domain, &fact_type_slug, &value)?;
        let keys = self.keys()?;
        let scope_custom_id = Some(scope_custom_id).filter(|scope| !scope.is_empty());
        let fact = Fact { id, scope_custom_id, fact_type_slug, domain, value: None };
        let prints = prints(&keys, &fact, &value);
        for print in &prints {
            let known: Option<String> = get(self.log, &print_name(print))?;
            if let Some(known) = known.map_or(Ok(None), |known| find(self.log, &known))? {
                let refusal = Refusal::new(
                    400,
                    "hashed_value already exists",
                    "this scope has a fact of this type and value: `id` is its id",
                );
                // Who gave the value knows it; the id alone opens nothing.
                return Err(refusal.because_of(known.fact.id));
            }
        }
        if Said::read(self.log, &update_id(&fact.id))?.is_some() {
            return Err(Refusal::new(409, "there is a fact of this id", "choose another id"));
        }
        let told = Fact { value: Some(value.clone()), ..fact.clone() }.entry()?;
        let bytes = told.inline().map_or(0, |told| told.get().len() as u64);
        let totals = self.room_for(&fact.domain, bytes)?;
        if let Some(custom_id) = &fact.scope_custom_id {
            self.scope(&fact.domain, custom_id, scope_id)?;
        }
        for (name, total) in totals {
            total.making(self.log, &name, Thing { id: fact.id.clone(), size: bytes })?;
        }
        let print = prints.into_iter().next();
        let kept = Kept { fact, kid: keys.kid().to_owned(), print, bytes, state: State::Making };
        let said = self
            .prepare_fact(&keys, &kept, &value)
            .and_then(|()| self.say(update_id(&kept.fact.id), "a fact was kept", vec![told]));
        let said = match said {
            Ok(said) => said,
            Err(refusal) => {
                // What stays of it is of a fact that the log does not know, and is shown to nobody.
                let _ = kept.forget(self.log);
                return Err(refusal);
            }
        };
        // As long as it is not, the log is asked.
        let _ = put(self.log, &kept.name(), &Kept { state: State::There, ..kept.clone() });
        Done::said(&kept.fact, said)
    }

    /// Refuses a fact that there is no room for; otherwise the totals that it counts in.
    fn room_for(&self, domain: &str, bytes: u64) -> Result<[(String, Total); 2], Refusal> {
        let totals = totals(self.log, domain)?;
        let retention = self.settings.retention.max_bytes;
        let limits = self.settings.plane;
        let own = (format!("facts of {domain}"), limits.domain_facts, limits::DOMAIN_FACTS_PART);
        let all = ("facts of all domains".to_owned(), limits.facts, limits::FACTS_PART);
        for ((_, total), (what, most, part)) in totals.iter().zip([own, all]) {
            if total.count >= most {
                let why = format!("there are {most} {what}, which is the limit; delete some");
                return Err(Refusal::new(409, "too many facts", why));
            }
            let most = retention / part;
            if total.size.saturating_add(bytes) > most {
                let why = format!(
                    "the {what} have at most {most} bytes, 1/{part} of GIRASOL_LOG_MAX_BYTES, and \
                     this one would be beyond that; delete some"
                );
                return Err(Refusal::new(409, "too many bytes in facts", why));
            }
        }
        Ok(totals)
    }

    /// Writes down a fact that the log does not know yet.
    fn prepare_fact(&mut self, keys: &Keys, kept: &Kept, value: &str) -> Result<(), Refusal> {
        let seq = self.log.head().next();
        kept.seal(keys, value, self.log)?;
        put(self.log, &kept.name(), kept)?;
        let said = Said { at: kept.name(), seq };
        Ok(said.keep(self.log, &update_id(&kept.fact.id))?)
    }

    pub(super) fn list_facts(&self, custom_id: &str, question: &Question) -> Result<Done, Refusal> {
        let prefix = place(&question.domain, Some(custom_id));
        let count = self.log.count(&prefix).map_err(unanswered)?;
        if count > MAX_LISTED {
            return Err(Refusal::new(
                400,
                "too many facts to show",
                format!("the scope has {count}, and at most {MAX_LISTED} are listed"),
            ));
        }
        let mut facts = vec![];
        for (name, text) in self.log.documents(&prefix).map_err(unanswered)? {
            let kept: Kept = serde_json::from_str(&text)
                .map_err(|error| Problem::internal(format!("{name} cannot be read: {error}")))?;
            if kept.is_there(self.log)? {
                facts.push(kept.fact);
            }
        }
        Done::shown(&facts)
    }

    pub(super) fn show_fact(&self, id: &str, question: &Question) -> Result<Done, Refusal> {
        let kept = self.own_fact(id, question)?;
        let value = kept.open(&self.keys()?, self.log)?;
        Done::shown(&Fact { value: Some(value), ..kept.fact })
    }

    pub(super) fn delete_fact(&mut self, id: &str, question: &Question) -> Result<Done, Refusal> {
        let kept = self.own_fact(id, question)?;
        // The update that says so is sealed as the others.
        self.keys()?;
        for (name, total) in totals(self.log, &kept.fact.domain)? {
            let going = Thing { id: id.to_owned(), size: kept.bytes };
            total.taking(self.log, &name, vec![going])?;
        }
        let gone = said::gone(&update_id(id));
        let state = State::Going(gone.clone());
        put(self.log, &kept.name(), &Kept { state, ..kept.clone() })?;
        let said = self.say(gone, "a fact was forgotten", kept.fact.gone())?;
        if kept.forget(self.log).is_err() {
            // It is still listed, perhaps among those that could not be read.
            self.plane.is_late_known = false;
        }
        Done::said(&json!({ "id": id }), said)
    }

    /// A fact of who asks.
    fn own_fact(&self, id: &str, question: &Question) -> Result<Kept, Refusal> {
        let kept = find(self.log, id)?.filter(|kept| kept.fact.domain == question.domain);
        kept.ok_or_else(Refusal::not_found)
    }

    /// What is to be said again of a fact that is kept under this name.
    pub(super) fn fact_again(&mut self, at: &str) -> Result<Again, Refusal> {
        let Some(kept) = get::<Kept>(self.log, at)? else { return Ok(Again::Gone) };
        if !kept.is_there(self.log)? {
            kept.forget(self.log)?;
            return Ok(Again::Gone);
        }
        // The log does not know for ever what it said first, and it may be long until the fact can
        // be read.
        let kept = Kept { state: State::There, ..kept };
        put(self.log, at, &kept)?;
        let Ok(keys) = self.keys() else { return Ok(Again::Later) };
        let Ok(value) = kept.open(&keys, self.log) else { return Ok(Again::Later) };
        let entries: Vec<Entry> = vec![Fact { value: Some(value), ..kept.fact }.entry()?];
        Ok(Again::Say("a fact is said again", entries))
    }

    /// The keys that facts are sealed with.
    pub(super) fn keys(&self) -> Result<Keys, Refusal> {
        self.plane.keys.clone().ok_or_else(|| {
            Refusal::new(
                503,
                "facts have no key",
                "set GIRASOL_FACTS_KEYS to what `edge-agent generate-secret --facts-key` prints; \
                 if it is set, the operator's log says why it cannot be read",
            )
        })
    }
}

// === impl Kept ===

impl Kept {
    /// Keeps the value, and by what it is found.
    pub(super) fn seal(&self, keys: &Keys, value: &str, log: &mut dyn Log) -> Result<(), Problem> {
        let sealed = keys.seal(&self.context(), value);
        log.keep(&self.value_name(), Some(&sealed)).map_err(unstored)?;
        match &self.print {
            Some(print) => put(log, &print_name(print), &self.fact.id),
            None => Ok(()),
        }
    }

    /// The value.
    pub(super) fn open(&self, keys: &Keys, log: &dyn Log) -> Result<String, Refusal> {
        let id = &self.fact.id;
        let sealed = log.document(&self.value_name()).map_err(unanswered)?;
        let sealed =
            sealed.ok_or_else(|| Problem::internal(format!("the value of {id} is gone")))?;
        keys.open(&self.context(), &sealed).map_err(|error| match error {
            OpenError::NoKey(_) => {
                Refusal::new(503, "the fact's key is missing", error.to_string())
            }
            OpenError::Altered => Problem::internal(format!("the value of {id}: {error}")).into(),
        })
    }

    fn is_there(&self, log: &dyn Log) -> Result<bool, Problem> {
        self.state.is_there(log, &update_id(&self.fact.id))
    }

    /// Forgets what is kept of it, what it is found by last.
    fn forget(&self, log: &mut dyn Log) -> Result<(), Problem> {
        self.forget_value(log);
        if log.document(&self.value_name()).map_err(unanswered)?.is_some() {
            return Err(unstored(LogError("its value is still there".to_owned())));
        }
        log.keep(&self.name(), None).map_err(unstored)?;
        Said::forget(log, &update_id(&self.fact.id));
        Ok(())
    }

    /// Forgets the value, and by what it is found.
    pub(super) fn forget_value(&self, log: &mut dyn Log) {
        let _ = log.keep(&self.value_name(), None);
        if let Some(print) = &self.print {
            // Another fact of the same value may have come since.
            let own = get::<String>(log, &print_name(print));
            if matches!(own, Ok(Some(id)) if id == self.fact.id) {
                let _ = log.keep(&print_name(print), None);
            }
        }
    }

    pub(super) fn name(&self) -> String {
        format!(
            "{}{}",
            place(&self.fact.domain, self.fact.scope_custom_id.as_deref()),
            self.fact.id
        )
    }

    fn value_name(&self) -> String {
        format!("{VALUES}{}/{}", self.kid, self.fact.id)
    }

    /// Where the value is kept: it opens nowhere else.
    fn context(&self) -> String {
        format!("fact/{}/{}", self.fact.domain, self.fact.id)
    }
}

/// By what a value is found in its scope; nothing outside of scopes, where it may be twice.
pub(super) fn prints(keys: &Keys, fact: &Fact, value: &str) -> Vec<String> {
    let Some(scope) = &fact.scope_custom_id else { return vec![] };
    let context = format!("print/{}/{}/{scope}", fact.domain, fact.fact_type_slug);
    keys.prints(&context, value)
}

/// The fact of this id, if it is there.
pub(super) fn find(log: &dyn Log, id: &str) -> Result<Option<Kept>, Problem> {
    let Some(said) = Said::read(log, &update_id(id))? else { return Ok(None) };
    match get::<Kept>(log, &said.at)? {
        Some(kept) if kept.is_there(log)? => Ok(Some(kept)),
        _ => Ok(None),
    }
}

/// How many facts there are, of a domain and of all.
fn totals(log: &dyn Log, domain: &str) -> Result<[(String, Total); 2], Problem> {
    let read = |name: String| {
        let total = Total::read(log, &name, |log, id| Ok(find(log, id)?.is_some()))?;
        Ok::<_, Problem>((name, total))
    };
    Ok([read(format!("facts/of/{domain}"))?, read("facts".to_owned())?])
}

fn update_id(id: &str) -> String {
    format!("{}{id}", Update::FACT_ID)
}

fn print_name(print: &str) -> String {
    format!("{PRINTS}{print}")
}

/// How the names begin under which a scope's facts are kept.
fn place(domain: &str, scope: Option<&str>) -> String {
    match scope {
        Some(scope) => format!("{FACTS}{domain}/scope/{}/", scope_key(scope)),
        None => format!("{FACTS}{domain}/none/"),
    }
}

/// A scope's custom id as a part of a name: it can be anything.
pub(super) fn scope_key(custom_id: &str) -> String {
    hex(&Sha256::digest(custom_id))
}
