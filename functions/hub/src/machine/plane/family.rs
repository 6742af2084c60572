//! What goes with a grant: what was added to it, what was made with its token, and what was made
//! with the tokens of that, and so on.
//!
//! Whatever descends from a grant that the master token made is listed under that grant. So who is
//! revoked anywhere below reads one list, and a list has a limit: all that goes fits in one update,
//! and goes at one moment.

use std::collections::BTreeMap;

use protocol::plane::grants::Subject;
use protocol::plane::{Question, Refusal};

use super::super::policy::put;
use super::super::{unanswered, unstored};
use super::Step;
use super::grants::{Kept, find, of};
use crate::log::Log;

/// What descends from a grant, by its id.
const MADE: &str = "plane/made/";

impl Step<'_> {
    /// The grant that the token of who asks was made with, if a grant makes this one.
    pub(super) fn maker(&self, question: Option<&Question>) -> Result<Option<Kept>, Refusal> {
        let Some(question) = question else { return Ok(None) };
        let subject = Subject::Token(question.subject.clone());
        let own = of(self.log, &question.domain, &subject)?.into_iter();
        // The others were added to it.
        let first = own.min_by_key(|kept| {
            let grant = &kept.grant;
            (grant.added_to.is_some(), grant.created_at, grant.id.clone())
        });
        first.map_or_else(|| Err(Refusal::unauthorized()), |first| Ok(Some(first)))
    }

    /// Lists a grant that is about to be made under those that it descends from.
    pub(super) fn list_below(&mut self, kept: &Kept) -> Result<(), Refusal> {
        for root in &kept.roots {
            let count = self.log.count(&below(root)).map_err(unanswered)?;
            // Where storage refused, one that is none may be listed.
            if count >= self.settings.plane.made_grants && self.listed_below(root)?.len() >= count {
                return Err(Refusal::new(
                    409,
                    "too many grants",
                    format!(
                        "{count} grants were made or added by way of {root}, which is the limit; \
                         delete those that are over, or use the master token"
                    ),
                ));
            }
            put(self.log, &format!("{}{}", below(root), kept.grant.id), &())?;
        }
        Ok(())
    }

    /// What goes if this grant does, itself first.
    pub(super) fn going_with(&mut self, kept: Kept) -> Result<Vec<Kept>, Refusal> {
        let mut rest: BTreeMap<String, Kept> = BTreeMap::new();
        let root = kept.roots.first().unwrap_or(&kept.grant.id).clone();
        let own = of(self.log, &kept.grant.domain, &kept.grant.subject)?;
        for other in own.into_iter().chain(self.listed_below(&root)?) {
            rest.insert(other.grant.id.clone(), other);
        }
        rest.remove(&kept.grant.id);
        let mut going = vec![kept];
        let mut at = 0;
        while let Some(parent) = going.get(at).map(|kept| kept.grant.id.clone()) {
            let (children, others) = rest.into_iter().partition(|(_, it)| it.is_child_of(&parent));
            rest = others;
            let children: BTreeMap<String, Kept> = children;
            going.extend(children.into_values());
            at += 1;
        }
        Ok(going)
    }

    /// What is listed under a grant. What is no grant any more is taken off the list.
    fn listed_below(&mut self, root: &str) -> Result<Vec<Kept>, Refusal> {
        let mut listed = vec![];
        for name in self.log.names(&below(root)).map_err(unanswered)? {
            let id = name.strip_prefix(&below(root)).unwrap_or_default();
            match find(self.log, id)? {
                Some(kept) => listed.push(kept),
                None => self.log.keep(&name, None).map_err(unstored)?,
            }
        }
        Ok(listed)
    }
}

impl Kept {
    /// Where what is made with this one's token, or added to it, is listed.
    pub(super) fn roots_below(&self) -> Vec<String> {
        if self.roots.is_empty() { vec![self.grant.id.clone()] } else { self.roots.clone() }
    }

    fn is_child_of(&self, id: &str) -> bool {
        [&self.grant.added_to, &self.made_by].into_iter().any(|it| it.as_deref() == Some(id))
    }

    /// Takes it off the lists. What stays is of no grant.
    pub(super) fn unlist(&self, log: &mut dyn Log) {
        for root in &self.roots {
            let _ = log.keep(&format!("{}{}", below(root), self.grant.id), None);
        }
    }
}

fn below(root: &str) -> String {
    format!("{MADE}{root}/")
}
