//! What may the bearer of a token do? The model has the grants of those who asked since the hub
//! woke up, each with the roles that lead on from there, so a question costs what its own token
//! has, however many grants there are.

use std::collections::{HashMap, HashSet};

use ::grants::Model;
use protocol::Millis;
use protocol::plane::grants::{Grant, Subject, check_domain};
use protocol::plane::{Question, Refusal};

use super::grants::{self, Kept};
use crate::log::Log;

/// Links from a token to the last role that counts, as the model has them.
const MAX_STEPS: usize = 10;
/// Tokens and roles that are held in memory. One more, and it begins anew.
const MAX_HELD: usize = 10_000;

/// The part of the grants that is in memory.
#[derive(Debug, Default)]
pub(super) struct Holders {
    model: Model,
    /// When grants end of who is held, by domain.
    ends: HashMap<String, HashMap<Subject, Vec<Millis>>>,
    held: usize,
}

impl Holders {
    /// True if some grant allows it at this moment and none denies it.
    pub(super) fn allow(
        &mut self,
        log: &dyn Log,
        now: Millis,
        question: &Question,
    ) -> Result<bool, Refusal> {
        self.hold(log, question)?;
        Ok(self.model.allows(now, question))
    }

    /// True if who asked has a grant, whether or not it allows what was just asked.
    pub(super) fn knows(&self, question: &Question) -> bool {
        let here = self.ends.get(&question.domain);
        here.is_some_and(|here| here.contains_key(&token(question)))
    }

    /// Until when that stays so, of who was just allowed; none for ever.
    pub(super) fn end(&self, now: Millis, question: &Question) -> Option<Millis> {
        let here = self.ends.get(&question.domain)?;
        let names = self.names(question);
        let mut ends: Vec<Millis> =
            names.iter().filter_map(|subject| here.get(subject)).flatten().copied().collect();
        ends.sort_unstable();
        ends.into_iter().filter(|end| *end > now).find(|end| !self.model.allows(*end, question))
    }

    /// A grant was made.
    pub(super) fn take(&mut self, grant: &Grant) {
        let held = self.ends.get_mut(&grant.domain).and_then(|here| here.get_mut(&grant.subject));
        if let Some(ends) = held {
            ends.extend(grant.expires_at);
            // A pattern that is none denies, as it does when it is read again.
            let _ = self.model.put(grant);
        }
    }

    /// A grant was revoked.
    pub(super) fn remove(&mut self, id: &str) {
        self.model.remove(id);
    }

    /// Sees to it that the grants are there that a question is about.
    fn hold(&mut self, log: &dyn Log, question: &Question) -> Result<(), Refusal> {
        if check_domain(&question.domain).is_err() {
            return Ok(());
        }
        if self.held >= MAX_HELD {
            *self = Self::default();
        }
        let (mut names, mut seen) = (vec![token(question)], HashSet::new());
        for _ in 0..=MAX_STEPS {
            let mut roles = vec![];
            for subject in names {
                if !self.hold_one(log, &question.domain, &subject)? {
                    // Nobody's token: nothing is remembered of who makes them up.
                    return Ok(());
                }
                roles.extend(self.roles(&subject, &question.domain, &mut seen));
            }
            if roles.is_empty() {
                break;
            }
            names = roles;
        }
        Ok(())
    }

    /// False for a token that has no grants.
    fn hold_one(
        &mut self,
        log: &dyn Log,
        domain: &str,
        subject: &Subject,
    ) -> Result<bool, Refusal> {
        if self.ends.get(domain).is_some_and(|here| here.contains_key(subject)) {
            return Ok(true);
        }
        let grants = grants::of(log, domain, subject)?;
        if grants.is_empty() && matches!(subject, Subject::Token(_)) {
            return Ok(false);
        }
        for Kept { grant, .. } in &grants {
            // A pattern that is none denies.
            let _ = self.model.put(grant);
        }
        let ends = grants.iter().filter_map(|kept| kept.grant.expires_at).collect();
        self.ends.entry(domain.to_owned()).or_default().insert(subject.clone(), ends);
        self.held += 1;
        Ok(true)
    }

    /// The token of a question, and the roles that lead on from there.
    fn names(&self, question: &Question) -> Vec<Subject> {
        let (mut all, mut seen) = (vec![], HashSet::new());
        let mut names = vec![token(question)];
        for _ in 0..=MAX_STEPS {
            let roles: Vec<Subject> = names
                .iter()
                .flat_map(|subject| self.roles(subject, &question.domain, &mut seen))
                .collect();
            all.append(&mut names);
            names = roles;
        }
        all
    }

    fn roles(&self, subject: &Subject, domain: &str, seen: &mut HashSet<String>) -> Vec<Subject> {
        let roles = self.model.roles_of(subject, domain).into_iter();
        roles.filter(|role| seen.insert(role.clone())).map(Subject::Role).collect()
    }
}

fn token(question: &Question) -> Subject {
    Subject::Token(question.subject.clone())
}
