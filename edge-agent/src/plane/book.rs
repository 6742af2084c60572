//! The grants that the agent has, and whether it may go by them.
//!
//! They come in the scope's log like data, and are kept beside it. Whoever has lost the hub may have
//! missed a revocation: after so long without contact nothing is allowed any more, and nothing is
//! after a restart before the agent has caught up, unless the operator wants it otherwise. The same
//! holds while a grant or a revocation that has come is not in the book yet. Before a log was
//! replayed once nothing is allowed in any case: what denies may be among what is missing. A grant
//! that cannot be read may be one that denies, so it never makes anything possible.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use grants::Model;
use protocol::plane::grants::read;
use protocol::plane::{Question, Refusal};
use protocol::planted::{Bug, planted};
use protocol::{DataPath, Millis};
use serde::Serialize;

use crate::json::Json;
use crate::store::Mark;

/// The book of grants.
#[derive(Debug)]
pub struct Book {
    /// For how long it goes by them without the hub; none for ever.
    patience: Option<Duration>,
    kept: RwLock<Kept>,
    contact: Mutex<Contact>,
}

#[derive(Debug, Default)]
struct Kept {
    model: Model,
    /// Grants of which nobody knows what they say, by id, with their domain if that is known.
    unreadable: BTreeMap<String, Option<String>>,
    /// How often the log has begun anew: what comes from an earlier one is nothing.
    generation: u64,
}

#[derive(Debug, Default)]
struct Contact {
    /// The whole log has taken effect once, in this run or in one before it.
    is_whole: bool,
    /// Everything that the hub had has taken effect, and the socket is open.
    is_live: bool,
    /// What the hub said of grants is not in the book yet.
    is_owed: bool,
    /// When that was last known.
    last: Option<Instant>,
}

/// How the book is, for `/status`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BookStatus {
    /// Grants that are in it.
    pub(crate) grants: usize,
    /// Grants that cannot be read: what they are about is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<String>,
    /// Seconds since the hub was heard by an agent that had everything; null before that.
    pub(crate) seconds_since_contact: Option<u64>,
    /// Why everything is refused at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusing: Option<String>,
}

impl Book {
    /// A book with what the agent has kept, and the mark that it was kept with. `patience` is for
    /// how long it holds without the hub; none for ever.
    #[must_use]
    pub fn new(patience: Option<Duration>, mark: &Mark, kept: Vec<(DataPath, Json)>) -> Self {
        let mut book = Kept { generation: mark.generation, ..Kept::default() };
        for (place, data) in kept {
            book.take(&place, data.get());
        }
        let is_whole = mark.complete || planted(Bug::BookTooEarly);
        let contact = Contact { is_whole, ..Contact::default() };
        Self { patience, kept: RwLock::new(book), contact: Mutex::new(contact) }
    }

    /// Takes what an entry at a grant's place says, of the log of this generation.
    pub fn take(&self, generation: u64, place: &DataPath, data: &Json) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if generation >= kept.generation {
            kept.take(place, data.get());
        }
    }

    /// The log begins anew: what was in the last one is not known to be in this one.
    pub fn begin_again(&self, generation: u64) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if planted(Bug::GrantsOutliveLog) {
            kept.generation = generation;
        } else {
            *kept = Kept { generation, ..Kept::default() };
        }
        drop(kept);
        *self.contact() = Contact::default();
    }

    /// All that the hub had has taken effect.
    pub fn live(&self) {
        let last = Some(Instant::now());
        *self.contact() = Contact { is_whole: true, is_live: true, is_owed: false, last };
    }

    /// The hub said something. That is no contact before everything that was missed is there, nor
    /// while a grant that has come waits: it may be a revocation, and the store may be full.
    pub(crate) fn heard(&self) {
        let mut contact = self.contact();
        if contact.is_live && !contact.is_owed {
            contact.last = Some(Instant::now());
        }
    }

    /// Whether a grant or a revocation has come that is not in the book yet.
    pub fn owes(&self, is_owed: bool) {
        self.contact().is_owed = is_owed;
    }

    /// How often the hub is to be heard, so that a connection on which nothing happens is one: three
    /// times within its patience.
    pub(crate) fn needs_contact_every(&self) -> Option<Duration> {
        self.patience.map(|patience| patience / 3)
    }

    /// The socket is gone.
    pub fn lost(&self) {
        self.contact().is_live = false;
    }

    /// Checks that a request may pass.
    ///
    /// # Errors
    /// 401.
    pub fn check(&self, now: Millis, question: &Question) -> Result<(), Refusal> {
        if let Some(reason) = self.refusing() {
            return Err(Refusal::new(401, "Unauthorized", reason));
        }
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let is_unknown = |domain: &Option<String>| {
            domain.as_ref().is_none_or(|domain| *domain == question.domain)
        };
        if kept.unreadable.values().any(is_unknown) {
            let detail = "a grant of this domain cannot be read by this agent: upgrade it";
            return Err(Refusal::new(401, "Unauthorized", detail));
        }
        if kept.model.allows(now, question) { Ok(()) } else { Err(Refusal::unauthorized()) }
    }

    /// Whether everybody is refused, whatever his grants are.
    pub(crate) fn is_behind(&self) -> bool {
        self.refusing().is_some()
    }

    /// How it is.
    pub(crate) fn status(&self) -> BookStatus {
        // Each lock is let go before the next.
        let last = self.contact().last;
        let refusing = self.refusing();
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        BookStatus {
            grants: kept.model.count(),
            unreadable: kept.unreadable.keys().cloned().collect(),
            seconds_since_contact: last.map(|last| last.elapsed().as_secs()),
            refusing,
        }
    }

    /// Why nothing is allowed.
    fn refusing(&self) -> Option<String> {
        let contact = self.contact();
        let (is_whole, last) = (contact.is_whole, contact.last);
        drop(contact);
        let early = || Some("this agent has not caught up with the hub yet".to_owned());
        let Some(patience) = self.patience else { return early().filter(|_| !is_whole) };
        match last.map(|last| last.elapsed()) {
            None => early(),
            Some(since) if since > patience => Some(format!(
                "this agent has not heard of the hub for {} s, and may have missed a revocation",
                since.as_secs()
            )),
            Some(_) => None,
        }
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, place: &DataPath, data: &str) {
        match read(place, data) {
            Ok((id, None)) => self.forget(&id),
            Ok((id, Some(grant))) => {
                self.unreadable.remove(&id);
                if let Err(error) = self.model.put(&grant) {
                    // The model refuses its subject everything in the domain.
                    tracing::error!(grant = %id, %error, "a grant has a pattern that is none");
                }
            }
            Err(error) => {
                #[derive(serde::Deserialize)]
                struct Domain {
                    domain: String,
                }
                let id = place.segments().last().cloned().unwrap_or_default();
                self.forget(&id);
                let domain = serde_json::from_str::<Domain>(data).ok().map(|it| it.domain);
                tracing::error!(grant = %id, %error, "a grant cannot be read: its domain is refused");
                self.unreadable.insert(id, domain);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.model.remove(id);
        self.unreadable.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};
    use serde_json::json;

    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn place(id: &str) -> DataPath {
        DataPath::parse(&format!("/girasol/grants/{id}")).unwrap()
    }

    fn json_text(value: &serde_json::Value) -> Json {
        Json::known(value.to_string())
    }

    fn grant(id: &str) -> Json {
        let grant = Grant {
            id: id.to_owned(),
            domain: "a.example.com".to_owned(),
            subject: Subject::Token("h".to_owned()),
            allowed_http_methods: vec!["GET".to_owned()],
            paths: vec!["*".to_owned()],
            path_syntax: PathSyntax::Safe,
            eft: Effect::Allow,
            roles: vec![],
            expires_at: None,
            created_at: NOW,
            added_to: None,
        };
        json_text(&serde_json::to_value(grant).unwrap())
    }

    fn question(domain: &str) -> Question {
        let [subject, domain, path, method] = ["h", domain, "/x", "GET"].map(str::to_owned);
        Question { subject, domain, path, method }
    }

    /// That of an agent which had everything.
    fn mark(generation: u64) -> Mark {
        Mark { generation, complete: true, ..Mark::default() }
    }

    fn may(book: &Book) -> bool {
        book.check(NOW, &question("a.example.com")).is_ok()
    }

    #[test]
    fn a_grant_holds_from_the_log_until_it_is_revoked() {
        let book = Book::new(Some(Duration::from_secs(60)), &mark(0), vec![]);
        book.live();
        assert!(!may(&book));
        book.take(0, &place("g"), &grant("g"));
        assert!(may(&book) && book.check(NOW, &question("b.example.com")).is_err());
        assert_eq!(book.status().grants, 1);
        book.take(0, &place("g"), &json_text(&json!({})));
        assert!(!may(&book) && book.status().grants == 0);
    }

    #[test]
    fn what_was_kept_allows_nothing_before_the_agent_has_caught_up() {
        let kept = vec![(place("g"), grant("g"))];
        let book = Book::new(Some(Duration::from_secs(60)), &mark(0), kept.clone());
        book.heard();
        assert!(!may(&book) && book.is_behind() && book.status().refusing.is_some());
        book.live();
        assert!(may(&book) && !book.is_behind());
        // Unless the operator wants it.
        assert!(may(&Book::new(None, &mark(0), kept)));
    }

    #[test]
    fn without_contact_it_refuses_after_its_patience() {
        let book = Book::new(Some(Duration::ZERO), &mark(0), vec![(place("g"), grant("g"))]);
        book.live();
        book.lost();
        // More than nothing has passed.
        while book.contact().last.unwrap().elapsed().is_zero() {}
        assert!(!may(&book));
        assert!(book.status().refusing.unwrap().contains("revocation"));
        // Something that is heard before a replay is over is no contact.
        let before = book.contact().last;
        book.heard();
        assert_eq!(book.contact().last, before);
    }

    #[test]
    fn a_log_that_begins_anew_takes_its_grants_with_it() {
        let book = Book::new(None, &mark(1), vec![(place("g"), grant("g"))]);
        book.begin_again(2);
        assert!(!may(&book));
        // What was under way then is of the earlier one.
        book.take(1, &place("g"), &grant("g"));
        assert!(!may(&book));
        book.take(2, &place("g"), &grant("g"));
        assert!(!may(&book), "what denies may still be missing");
        book.live();
        assert!(may(&book));
    }

    #[test]
    fn before_a_log_was_replayed_once_nothing_is_allowed_however_patient_the_agent_is() {
        let book = Book::new(None, &Mark::default(), vec![(place("g"), grant("g"))]);
        assert!(!may(&book));
        assert!(book.status().refusing.unwrap().contains("caught up"));
        book.live();
        book.lost();
        assert!(may(&book));
    }

    #[test]
    fn who_is_heard_while_a_grant_waits_is_no_contact() {
        let book = Book::new(Some(Duration::from_secs(60)), &mark(0), vec![]);
        book.live();
        let last = |book: &Book| book.contact().last.unwrap();
        let before = last(&book);
        book.owes(true);
        // The clock has moved on.
        while before.elapsed().is_zero() {}
        book.heard();
        assert_eq!(last(&book), before);
        book.owes(false);
        book.heard();
        assert!(last(&book) > before);
    }

    #[test]
    fn a_grant_that_cannot_be_read_makes_nothing_possible() {
        let book = Book::new(None, &mark(0), vec![(place("g"), grant("g"))]);
        let odd = json!({"domain": "a.example.com", "eft": "later"});
        book.take(0, &place("odd"), &json_text(&odd));
        assert!(!may(&book));
        assert_eq!(book.status().unreadable, ["odd"]);
        book.take(0, &place("odd"), &json_text(&json!({"domain": "b.example.com"})));
        assert!(may(&book));
        book.take(0, &place("odd"), &json_text(&json!([1])));
        assert!(!may(&book));
        book.take(0, &place("odd"), &json_text(&json!({})));
        assert!(may(&book));
    }
}
