//! The data plane, where applications keep facts with a grant token, and the control plane that
//! makes grants (`spec/opa-and-grants.md` part 4): the words that functions, hub and agent share.
//!
//! | question | file |
//! |---|---|
//! | What is a grant, and how is it in the log? | [`grants`] |
//! | What is a fact, and how is it in the log? | [`facts`] |
//! | What is asked, and how is it answered? | this one |
//! | What is remembered of that? | [`audits`] |

pub mod audits;
pub mod facts;
pub mod grants;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{Entry, Problem};
use audits::{AuditQuery, Plane};
use facts::NewFact;
use grants::Grant;

/// The header that carries a grant's token.
pub const HEADER: &str = "X-OPV-GRANT-TOKEN";

/// Why the plane refused, in the vault's shape: `{"message": …}`, and what to do about it in
/// `detail`. Neither ever holds a token or a value; an `id` names what is there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The vault's words.
    pub message: String,
    /// A sentence that names the fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What is there already, in whose place nothing new was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Refusal {
    /// A refusal in somebody's words.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into()).filter(|detail| !detail.is_empty());
        Self { status, message: message.into(), detail, id: None }
    }

    /// With the id of what is there already.
    #[must_use]
    pub fn because_of(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// 400: no token came with the request.
    #[must_use]
    pub fn missing_key() -> Self {
        Self::new(
            400,
            "missing key in request header",
            format!("send the grant's token as {HEADER}"),
        )
    }

    /// 401: what came is no token.
    #[must_use]
    pub fn invalid_key() -> Self {
        Self::new(401, "invalid key", "a token looks like v1:DOMAIN:SECRET")
    }

    /// 401: the token is unknown, revoked or over, or the grant does not allow this. Never 403.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "no grant of this token allows it, or the grant is over")
    }

    /// 400: a member of the body breaks its rule; which, and what is possible.
    #[must_use]
    pub fn validation(detail: impl Into<String>) -> Self {
        Self::new(400, "Validation Error", detail)
    }

    /// 404: there is nothing here, or it is of another domain.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404, "Not Found", "")
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({ "message": self.message });
        for (member, text) in [("detail", &self.detail), ("id", &self.id)] {
            if let (Some(text), Some(members)) = (text, body.as_object_mut()) {
                members.insert(member.to_owned(), Value::from(text.as_str()));
            }
        }
        body
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::new(problem.status, problem.detail, "")
    }
}

/// True for an entry that carries a fact or a grant: it is for who names its topics, and in nothing
/// that is about every topic.
#[must_use]
pub fn is_for_named_topics(entry: &Entry) -> bool {
    let is_ours = |topic: &String| facts::is_fact_topic(topic) || topic.starts_with(grants::PREFIX);
    !entry.topics.is_empty() && entry.topics.iter().all(is_ours)
}

/// What the model is asked: may this token do that?
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The hash of the token, see [`grants::Token`].
    pub subject: String,
    /// The domain that the token names.
    pub domain: String,
    /// The path, decoded, without query and without a slash at its end.
    pub path: String,
    /// The method, as it came, but `GET` for `HEAD`.
    pub method: String,
}

impl fmt::Debug for Question {
    /// Without the hash: it is nothing that anybody needs to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject: _, domain, path, method } = self;
        let mut shown = f.debug_struct("Question");
        shown.field("domain", domain).field("path", path).field("method", method);
        shown.finish_non_exhaustive()
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bearer {
    /// Who knows the master token: the control plane alone.
    Master,
    /// The bearer of a grant's token: the model decides.
    Grant(Question),
}

/// A request to a plane, which the hub checks, carries out and remembers, in one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaneRequest {
    /// Who asks.
    pub bearer: Bearer,
    /// Which plane, for the audits.
    pub plane: Plane,
    /// The method, for the audits.
    pub method: String,
    /// The path as it came, without query, for the audits.
    pub path: String,
    /// What is asked; or why it is nothing, which is answered to who may ask.
    pub call: Result<PlaneCall, Refusal>,
}

/// What can be asked of the planes. Ids are made by who asks the hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaneCall {
    /// Makes a grant.
    CreateGrant(Box<Grant>),
    /// Lists grants, of one domain or of all that may be seen.
    Grants {
        /// Which domain.
        domain: Option<String>,
    },
    /// Shows one.
    Grant {
        /// Its id.
        id: String,
    },
    /// Revokes one, and what descends from it.
    DeleteGrant {
        /// Its id.
        id: String,
    },
    /// Keeps a fact.
    CreateFact {
        /// Its new id.
        id: String,
        /// An id for its scope, if that is new.
        scope_id: String,
        /// What is kept.
        fact: NewFact,
    },
    /// Lists the facts of a scope, without values.
    Facts {
        /// The scope's custom id.
        scope_custom_id: String,
    },
    /// Shows a fact.
    Fact {
        /// Its id.
        id: String,
    },
    /// Forgets a fact.
    DeleteFact {
        /// Its id.
        id: String,
    },
    /// Makes a scope, or finds it.
    CreateScope {
        /// Its new id.
        id: String,
        /// The application's name of it.
        custom_id: String,
    },
    /// Shows a scope.
    Scope {
        /// The application's name of it.
        custom_id: String,
    },
    /// Makes a type of facts.
    CreateFactType {
        /// Its new id.
        id: String,
        /// Its name.
        slug: String,
        /// A regular expression that the whole value must match; anything goes without.
        validation: Option<String>,
    },
    /// Lists types of facts.
    FactTypes {
        /// Only the one of this name.
        slug: Option<String>,
        /// Only those that are built in, or only those that are not.
        built_in: Option<bool>,
    },
    /// Says that a proxy of this name is deployed, or asks whether it may be.
    Deploy {
        /// Its name.
        name: String,
        /// What it does, for people: methods, paths and pointers, no values.
        routes: Box<RawValue>,
    },
    /// Shows a proxy.
    Deployment {
        /// Its name.
        name: String,
    },
    /// Lists the proxies.
    Deployments,
    /// Lists what was asked before.
    Audits(AuditQuery),
    /// Seals what is kept with another key than the first, a bounded number at a time.
    Reseal,
}

/// What the hub answers to a request that it carried out.
#[derive(Clone, Serialize, Deserialize)]
pub struct PlaneAnswer {
    /// The body, as the caller gets it.
    pub body: Box<RawValue>,
    /// The number of the update that tells agents of it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<crate::Seq>,
}

impl fmt::Debug for PlaneAnswer {
    /// Without the body, which may hold a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlaneAnswer").field("seq", &self.seq).finish_non_exhaustive()
    }
}
