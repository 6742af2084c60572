//! A fact: one value of a type, in a tenant's domain, perhaps in a scope that groups it with
//! others (`spec/opa-and-grants.md` §4.1, §4.4).
//!
//! In a scope's log a fact is an ordinary document, `PUT /girasol/facts/<domain>/<id>`, published
//! to `facts:.` and to `facts:<domain>/<type>`, so that policy can decide on it. One that was
//! deleted is made nothing and then removed: so the log drops what it was.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::commit::{RESERVED, gone, put};
use crate::{DataPath, Entry, Problem};

/// How the topics of facts begin.
pub const PREFIX: &str = "facts:";
/// What the place of facts is called below the reserved one.
const FACTS: &str = "facts";

/// What is asked to be kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewFact {
    /// The application's name of the scope; empty for none.
    #[serde(default)]
    pub scope_custom_id: String,
    /// Of which type it is.
    pub fact_type_slug: String,
    /// The value.
    pub value: String,
}

/// A fact.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Its name: `fact_` and twenty letters or digits.
    pub id: String,
    /// The application's name of its scope, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_custom_id: Option<String>,
    /// Of which type it is.
    pub fact_type_slug: String,
    /// Whose it is.
    pub domain: String,
    /// The value; absent where it is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl fmt::Debug for NewFact {
    /// Without its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("NewFact");
        shown.field("fact_type_slug", &self.fact_type_slug).finish_non_exhaustive()
    }
}

impl fmt::Debug for Fact {
    /// Without its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Fact");
        shown.field("id", &self.id).field("fact_type_slug", &self.fact_type_slug);
        shown.finish_non_exhaustive()
    }
}

impl Fact {
    /// The entry that tells agents of it.
    ///
    /// # Errors
    /// 500 if it has no JSON form.
    pub fn entry(&self) -> Result<Entry, Problem> {
        put(place(&self.domain, &self.id), self.topics(), self)
    }

    /// The entries that tell agents that it is deleted.
    #[must_use]
    pub fn gone(&self) -> Vec<Entry> {
        gone(place(&self.domain, &self.id), self.topics())
    }

    fn topics(&self) -> Vec<String> {
        vec![format!("{PREFIX}."), format!("{PREFIX}{}/{}", self.domain, self.fact_type_slug)]
    }
}

/// Where a fact is in the data.
#[must_use]
pub fn place(domain: &str, id: &str) -> DataPath {
    let segments = [RESERVED, FACTS, domain, id];
    DataPath::default().below(segments.map(str::to_owned))
}

/// True for a topic of facts.
#[must_use]
pub fn is_fact_topic(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}
