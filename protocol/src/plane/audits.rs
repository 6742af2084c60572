//! What is remembered of the planes' requests: who asked for what, and how it was answered, never
//! a body or a value. Bounded: what is oldest goes.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;
use crate::{Millis, json, limits};

/// Audits in an answer, if nobody says.
const DEFAULT_LIMIT: usize = 100;
/// The same at most.
const MAX_LIMIT: usize = 1_000;

/// One of the three planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl Audit {
    /// As it is shown, in the vault's shape.
    #[must_use]
    pub fn shown(&self) -> Value {
        let at = self.created_at.rfc3339();
        json!({
            "created_at": at,
            "updated_at": at,
            "plane": self.plane,
            "domain": self.domain,
            "http_path": self.http_path,
            "http_method": self.http_method,
            "sent_http_status": self.sent_http_status,
        })
    }
}

impl AuditQuery {
    /// Reads the parameters of `GET /api/v1/api_audits`: `parameter` gives the value of each.
    ///
    /// # Errors
    /// 400 that names the parameter, and what is possible.
    pub fn read(parameter: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let parameter = |name: &str| parameter(name).filter(|value| !value.is_empty());
        let number = |name: &str, default: usize, most: usize| match parameter(name) {
            None => Ok(default),
            Some(value) => value.parse().ok().filter(|it| *it <= most).ok_or_else(|| {
                Refusal::validation(format!("{name}: give a number from 0 to {most}"))
            }),
        };
        let status = parameter("sent_http_status").map(|value| {
            let status = value.parse().ok().filter(|it| (100..600).contains(it));
            status
                .ok_or_else(|| Refusal::validation("sent_http_status: give a status, such as 401"))
        });
        let order_desc = match parameter("order_desc").as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err(Refusal::validation("order_desc: give true or false")),
        };
        Ok(Self {
            domain: parameter("domain"),
            plane: one_of("plane", parameter("plane"))?,
            http_path: parameter("http_path"),
            http_method: parameter("http_method"),
            sent_http_status: status.transpose()?,
            limit: number("limit", DEFAULT_LIMIT, MAX_LIMIT)?,
            offset: number("offset", 0, limits::MAX_AUDITS + limits::MAX_STRANGE_AUDITS)?,
            order_by: one_of("order_by", parameter("order_by"))?.unwrap_or_default(),
            order_desc,
        })
    }

    /// What is wanted of these, which come in the order in which they were remembered.
    #[must_use]
    pub fn select(&self, audits: impl Iterator<Item = Audit>) -> Vec<Audit> {
        let mut found: Vec<Audit> = audits.filter(|audit| self.wants(audit)).collect();
        found.sort_by(|one, other| {
            let order = self.order_by.compare(one, other);
            if self.order_desc { order.reverse() } else { order }
        });
        found.into_iter().skip(self.offset).take(self.limit).collect()
    }

    fn wants(&self, audit: &Audit) -> bool {
        let Self { domain, plane, http_path, http_method, sent_http_status, .. } = self;
        domain.as_ref().is_none_or(|it| *it == audit.domain)
            && plane.is_none_or(|it| it == audit.plane)
            && http_path.as_ref().is_none_or(|it| *it == audit.http_path)
            && http_method.as_ref().is_none_or(|it| *it == audit.http_method)
            && sent_http_status.is_none_or(|it| it == audit.sent_http_status)
    }
}

/// One of a few words.
fn one_of<T: for<'de> Deserialize<'de>>(
    name: &str,
    value: Option<String>,
) -> Result<Option<T>, Refusal> {
    let read = value.map(|value| serde_json::from_value(Value::String(value))).transpose();
    read.map_err(|error| Refusal::validation(format!("{name}: {}", json::reason(&error))))
}

impl OrderBy {
    fn compare(self, one: &Audit, other: &Audit) -> Ordering {
        match self {
            Self::CreatedAt | Self::UpdatedAt => one.created_at.cmp(&other.created_at),
            Self::Plane => one.plane.cmp(&other.plane),
            Self::Domain => one.domain.cmp(&other.domain),
            Self::HttpPath => one.http_path.cmp(&other.http_path),
            Self::HttpMethod => one.http_method.cmp(&other.http_method),
            Self::SentHttpStatus => one.sent_http_status.cmp(&other.sent_http_status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audits_are_asked_for_by_what_they_have() {
        let read = |text: &str| {
            let pairs: Vec<_> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
            AuditQuery::read(|name| {
                pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned())
            })
        };
        let query = read("domain=a.example&plane=control&sent_http_status=401&limit=5").unwrap();
        assert_eq!(query.domain.as_deref(), Some("a.example"));
        assert_eq!((query.plane, query.sent_http_status), (Some(Plane::Control), Some(401)));
        assert_eq!((query.limit, query.offset, query.order_desc), (5, 0, false));
        for bad in [
            "limit=1001",
            "limit=x",
            "offset=-1",
            "plane=other",
            "sent_http_status=99",
            "order_by=value",
            "order_desc=down",
        ] {
            let refusal = read(bad).unwrap_err();
            let name = bad.split('=').next().unwrap();
            assert!(refusal.detail.unwrap().starts_with(&format!("{name}: ")), "{bad}");
        }
    }

    fn audit(at: u64, plane: Plane, domain: &str, status: u16) -> Audit {
        Audit {
            created_at: Millis(at),
            plane,
            domain: domain.to_owned(),
            http_path: format!("/api/v1/{at}"),
            http_method: if at.is_multiple_of(2) { "GET" } else { "POST" }.to_owned(),
            sent_http_status: status,
        }
    }

    fn selected(query: &AuditQuery) -> Vec<u64> {
        let all = [
            audit(1, Plane::Data, "b.example", 200),
            audit(2, Plane::Control, "a.example", 401),
            audit(3, Plane::Data, "a.example", 200),
            audit(4, Plane::Proxy, "b.example", 404),
        ];
        let found = query.select(all.into_iter());
        found.into_iter().map(|audit| audit.created_at.0).collect()
    }

    #[test]
    fn audits_are_filtered_ordered_and_then_cut() {
        let all = AuditQuery {
            domain: None,
            plane: None,
            http_path: None,
            http_method: None,
            sent_http_status: None,
            limit: usize::MAX,
            offset: 0,
            order_by: OrderBy::default(),
            order_desc: false,
        };
        let domain = Some("a.example".to_owned());
        let http_path = Some("/api/v1/4".to_owned());
        let http_method = Some("POST".to_owned());
        for (query, expected) in [
            (all.clone(), &[1, 2, 3, 4][..]),
            (AuditQuery { domain, ..all.clone() }, &[2, 3]),
            (AuditQuery { plane: Some(Plane::Data), ..all.clone() }, &[1, 3]),
            (AuditQuery { http_path, ..all.clone() }, &[4]),
            (AuditQuery { http_method, ..all.clone() }, &[1, 3]),
            (AuditQuery { sent_http_status: Some(200), ..all.clone() }, &[1, 3]),
            (AuditQuery { order_desc: true, ..all.clone() }, &[4, 3, 2, 1]),
            (AuditQuery { order_by: OrderBy::Domain, ..all.clone() }, &[2, 3, 1, 4]),
            (AuditQuery { order_by: OrderBy::SentHttpStatus, ..all.clone() }, &[1, 3, 2, 4]),
            (AuditQuery { offset: 1, limit: 2, ..all.clone() }, &[2, 3]),
            (AuditQuery { offset: usize::MAX, ..all }, &[]),
        ] {
            assert_eq!(selected(&query), expected, "{query:?}");
        }
    }
}
