//! OPA's REST API (`spec/opa-and-grants.md` part 1) without sockets: what a request asks, and what
//! the answer looks like, to the byte where the engine's values are OPA's. The edge agent serves it
//! for its embedded engine, and the functions at the edge.
//!
//! It has no I/O, no clock and no state; who decides, keeps policies and measures time is behind
//! [`Decides`].
//!
//! | question | file |
//! |---|---|
//! | What becomes of a request? | `lib.rs`, `routes.rs` |
//! | Which document does a path name, which switches has a query, what is the input? | [`request`] |
//! | What does an answer look like? | [`reply`], `errors.rs` |
//! | How is a value written as OPA writes it? | `json.rs` |
//! | May a request be made at all? | [`access`] |

pub mod access;
mod errors;
mod json;
pub mod reply;
pub mod request;
mod routes;

use regorus::Value;

pub use json::to_json;
pub use rego::{DecisionError, Location, Mistake, QueryError};
pub use reply::{Reply, Style};
pub use request::Query;
pub use routes::{answer, policy_id};

/// Bytes of a request's body.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// Bytes of an answer: a value that has others many times over can be far larger as text than it is
/// in memory.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Bytes of a query that is no part of a policy.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// A request, once its body has been read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As it came: segments are decoded one by one.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: &'a str,
    /// The `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// The body; empty if there is none.
    pub body: &'a [u8],
    /// True if a policy about access was shown the body. Then its members are those of exactly
    /// these names, as for that policy; else of whatever case, as Go reads them.
    pub is_checked: bool,
}

/// Where documents are.
pub const DATA: &str = "/v1/data";
/// Where the values themselves are.
pub const VALUES: &str = "/v0/data";

/// What is decided where no path is named: `POST /`.
#[must_use]
pub fn default_path() -> Vec<String> {
    ["system", "main"].map(str::to_owned).to_vec()
}

/// Who decides, by policies and data of one moment.
pub trait Decides {
    /// The value of `data.<path>`, with `input` as the document of that name; none if it is
    /// undefined.
    ///
    /// # Errors
    /// There is no decision.
    fn decide(&self, path: &[String], input: Option<Value>)
    -> Result<Option<Value>, DecisionError>;

    /// What the variables of a query stand for: an object for each answer.
    ///
    /// # Errors
    /// There is no answer.
    fn query(&self, text: &str, input: Option<Value>) -> Result<Vec<Value>, QueryError>;

    /// True if a rule gives the value at a path, or at a place above it.
    fn has_rule(&self, path: &[String]) -> bool;

    /// The modules: pairs of id and text, in the order of their ids.
    fn modules(&self) -> Vec<(String, String)>;

    /// The revision of the policy; none if it has none.
    fn revision(&self) -> Option<String>;

    /// A clock that only goes forward, in nanoseconds.
    fn nanoseconds(&self) -> u64;

    /// The document that is decided where no path is named.
    fn default_decision(&self) -> Vec<String> {
        default_path()
    }

    /// Hears of what was decided before it is answered; the decision's id, if the answer is to have
    /// one.
    fn decided(&self, _decision: &Decision<'_>) -> Option<String> {
        None
    }

    /// Carries out what changes policies or data.
    fn write(&self, _request: &Request<'_>) -> Reply {
        Reply::written_through_girasol()
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The document at a path, without `data`, segments joined by slashes.
    Path(&'a str),
    /// A query.
    Query(&'a str),
}

/// A decision that was made, or failed.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What was asked.
    pub asked: Asked<'a>,
    /// The input, if there was one.
    pub input: Option<&'a Value>,
    /// The value; none if it is undefined, or if there is an error.
    pub result: Option<&'a Value>,
    /// What is answered in place of a value.
    pub error: Option<&'a Reply>,
    /// For how long the engine was at it.
    pub evaluation_ns: u64,
}
