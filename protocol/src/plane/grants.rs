//! A grant: what the bearer of its token may do, or may not.
//!
//! In a scope's log a grant is a document in a reserved place, as policy is ([`crate::commit`]):
//! `PUT /girasol/grants/<id>` with the grant, or with `{}` once it is revoked, published to
//! `grants:.` and to `grants:<domain>`. So order, replay, compaction and receipts hold for
//! grants and revocations as for data. An agent keeps them beside the data: no write of data
//! touches them, and no engine is given them.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::commit::{RESERVED, put};
use crate::{DataPath, Entry, Millis, Problem, hex, limits};

/// How the topics of grants begin.
pub const PREFIX: &str = "grants:";
/// What the place of grants is called below the reserved one.
const GRANTS: &str = "grants";
/// The version that a token begins with.
const VERSION: &str = "v1";

/// A grant, as hub, log and agents have it. The token itself is nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name: `grant_` and twenty letters or digits.
    pub id: String,
    /// The tenant: a fully qualified domain name in lower case.
    pub domain: String,
    /// Whose it is.
    pub subject: Subject,
    /// `*`, `GET`, `POST`, `PUT`, `DELETE`; at least one.
    pub allowed_http_methods: Vec<String>,
    /// At least one; `*` is every path.
    pub paths: Vec<String>,
    /// How the paths are read.
    #[serde(default)]
    pub path_syntax: PathSyntax,
    /// Whether it allows or denies.
    #[serde(default)]
    pub eft: Effect,
    /// The roles that its subject has in the domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// From then on it is as if it were not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// When it was made.
    pub created_at: Millis,
    /// The grant that this was added to, and with which it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_to: Option<String>,
}

/// Whose a grant is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The bearer of the token with this hash.
    Token(String),
    /// Who has this role.
    Role(String),
}

/// How the patterns of a grant are read (`spec/opa-and-grants.md` §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathSyntax {
    /// Everything is taken as it is written, but for `*` and `:name`.
    #[default]
    Safe,
    /// Casbin's `keyMatch2`: what is neither `/*` nor `:name` is a regular expression.
    Casbin,
}

/// What a grant is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Its subject may.
    #[default]
    Allow,
    /// Its subject may not, whatever else allows it.
    Deny,
}

/// A token, as far as it is of use to who checks it: `v1:<domain>:<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The domain that it names.
    pub domain: String,
    /// SHA-256 of all of it, in hex. A secret of 190 random bits needs no slow hash, and who can
    /// see how long a look-up by this takes learns of the hash, not of the secret.
    pub subject: String,
}

impl Token {
    /// Reads the header's value; none if it has not three parts, or is of another version.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (version, domain, _secret) = (parts.next()?, parts.next()?, parts.next()?);
        if version != VERSION || parts.next().is_some() {
            return None;
        }
        Some(Self { domain: domain.to_owned(), subject: hex(&Sha256::digest(text)) })
    }

    /// The text of a token.
    #[must_use]
    pub fn write(domain: &str, secret: &str) -> String {
        format!("{VERSION}:{domain}:{secret}")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl fmt::Debug for Grant {
    /// Without its subject's hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Grant");
        shown.field("id", &self.id).field("domain", &self.domain).field("eft", &self.eft);
        shown.finish_non_exhaustive()
    }
}

impl Subject {
    /// Its name in the model. No role is called as a hash is.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Token(hash) => hash,
            Self::Role(name) => name,
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Role(name) => f.debug_tuple("Role").field(name).finish(),
        }
    }
}

impl Grant {
    /// True once it is over.
    #[must_use]
    pub fn is_over(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The entry that tells agents of it.
    ///
    /// # Errors
    /// 500 if it has no JSON form.
    pub fn entry(&self) -> Result<Entry, Problem> {
        put(place(&self.id), topics(&self.domain), self)
    }

    /// The entry that tells agents that it is revoked.
    ///
    /// # Errors
    /// 500 if it has no JSON form.
    pub fn gone(&self) -> Result<Entry, Problem> {
        put(place(&self.id), topics(&self.domain), &serde_json::json!({}))
    }
}

/// What an entry at a grant's place says: the id, and the grant unless it is revoked.
///
/// # Errors
/// It is none that this version knows; in a sentence.
pub fn read(place: &DataPath, data: &str) -> Result<(String, Option<Grant>), String> {
    let [_, _, id] = place.segments() else { return Err(format!("{place} is no grant's place")) };
    if data.trim() == "{}" {
        return Ok((id.clone(), None));
    }
    let grant: Grant = serde_json::from_str(data)
        .map_err(|error| format!("{place}: {}", crate::json::reason(&error)))?;
    if grant.id != *id {
        return Err(format!("{place} has another grant's content"));
    }
    Ok((id.clone(), Some(grant)))
}

/// True for a place under which grants are kept, and which therefore is no data of an engine.
#[must_use]
pub fn is_grant_place(segments: &[String]) -> bool {
    matches!(segments, [first, second, ..] if first == RESERVED && second == GRANTS)
}

/// What an agent subscribes to for the grants of these domains, of all if there are none.
#[must_use]
pub fn subscription(domains: &[String]) -> Vec<String> {
    if domains.is_empty() {
        return vec![format!("{PREFIX}.")];
    }
    domains.iter().map(|domain| format!("{PREFIX}{domain}")).collect()
}

/// Checks a domain: a fully qualified domain name, in lower case so that it has one spelling.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_domain(domain: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let is_name = domain.len() <= limits::MAX_DOMAIN_BYTES
        && labels.len() > 1
        && labels.iter().all(|label| is_label(label))
        && labels.last().is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()));
    if !is_name {
        return Err("give a fully qualified domain name, such as sandbox.example.com".to_owned());
    }
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("write it in lower case: {}", domain.to_ascii_lowercase()));
    }
    Ok(())
}

fn topics(domain: &str) -> Vec<String> {
    vec![format!("{PREFIX}."), format!("{PREFIX}{domain}")]
}

fn place(id: &str) -> DataPath {
    DataPath::default().below([RESERVED.to_owned(), GRANTS.to_owned(), id.to_owned()])
}
