//! What is remembered of the planes' requests: who asked for what, and how it was answered, never
//! a body or a value. Bounded: what is oldest goes.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// One of the three planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Makes grants, shows audits.
    Control,
    /// Keeps facts.
    Data,
    /// Stands in front of an application.
    Proxy,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub created_at: Millis,
    /// Where.
    pub plane: Plane,
    /// The token's domain; empty for the master token.
    pub domain: String,
    /// The path, without query.
    pub http_path: String,
    /// The method.
    pub http_method: String,
    /// How it was answered.
    pub sent_http_status: u16,
}

/// Which of them are wanted (`spec/opa-and-grants.md` §4.4), and in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only of this domain.
    pub domain: Option<String>,
    /// Only of this plane.
    pub plane: Option<Plane>,
    /// Only of this path.
    pub http_path: Option<String>,
    /// Only of this method.
    pub http_method: Option<String>,
    /// Only those answered so.
    pub sent_http_status: Option<u16>,
    /// At most so many.
    pub limit: usize,
    /// Without the first so many.
    pub offset: usize,
    /// By which member they are ordered.
    pub order_by: OrderBy,
    /// The largest first.
    pub order_desc: bool,
}

/// The members that audits can be ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// When, the default.
    #[default]
    CreatedAt,
    /// The same: an audit never changes.
    UpdatedAt,
    /// The plane's name.
    Plane,
    /// The domain.
    Domain,
    /// The path.
    HttpPath,
    /// The method.
    HttpMethod,
    /// The status.
    SentHttpStatus,
}
