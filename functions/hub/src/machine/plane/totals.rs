//! How much there is of what has a limit, without anybody counting it.
//!
//! Storage may refuse between a total and what it is a total of. So a total leaves out the things
//! that were changed last, and has their names instead: whether they are there is looked up when
//! it is read next. It is written before the things are, and is right whatever becomes of them.

use protocol::{Problem, limits};
use serde::{Deserialize, Serialize};

use super::super::policy::{get, put};
use crate::log::Log;

/// A total, by what it is of.
const TOTALS: &str = "plane/totals/";

/// What the hub keeps of facts and grants, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneLimits {
    /// Facts of a scope of Girasol's.
    pub facts: u64,
    /// Facts of a domain.
    pub domain_facts: u64,
    /// Scopes of a domain, which group its facts.
    pub domain_scopes: u64,
    /// Grants that descend from one.
    pub made_grants: usize,
    /// Expressions of all grants.
    pub expressions: u64,
    /// Expressions of a domain's grants.
    pub domain_expressions: u64,
}

impl Default for PlaneLimits {
    fn default() -> Self {
        Self {
            facts: limits::MAX_FACTS,
            domain_facts: limits::MAX_DOMAIN_FACTS,
            domain_scopes: limits::MAX_DOMAIN_SCOPES,
            made_grants: limits::MAX_MADE_GRANTS,
            expressions: limits::MAX_EXPRESSIONS,
            domain_expressions: limits::MAX_DOMAIN_EXPRESSIONS,
        }
    }
}

/// So many things, and what they take: bytes of facts, expressions of grants.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Total {
    pub(super) count: u64,
    pub(super) size: u64,
    /// Those that were changed last, which are in neither number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<Thing>,
}

/// A thing that is counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Thing {
    pub(super) id: String,
    pub(super) size: u64,
}

impl Total {
    /// The total of this name, with those that are there of what was changed last.
    pub(super) fn read(
        log: &dyn Log,
        name: &str,
        is_there: impl Fn(&dyn Log, &str) -> Result<bool, Problem>,
    ) -> Result<Self, Problem> {
        let mut total: Self = get(log, &format!("{TOTALS}{name}"))?.unwrap_or_default();
        for thing in std::mem::take(&mut total.changed) {
            if is_there(log, &thing.id)? {
                total.count += 1;
                total.size += thing.size;
            }
        }
        Ok(total)
    }

    /// Something is about to be made.
    pub(super) fn making(self, log: &mut dyn Log, name: &str, new: Thing) -> Result<(), Problem> {
        let total = Self { changed: vec![new], ..self };
        put(log, &format!("{TOTALS}{name}"), &total)
    }

    /// Things that are there are about to go.
    pub(super) fn taking(
        self,
        log: &mut dyn Log,
        name: &str,
        going: Vec<Thing>,
    ) -> Result<(), Problem> {
        let mut total = self;
        for thing in &going {
            total.count = total.count.saturating_sub(1);
            total.size = total.size.saturating_sub(thing.size);
        }
        total.changed = going;
        put(log, &format!("{TOTALS}{name}"), &total)
    }
}
