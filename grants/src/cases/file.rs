//! The format of a file of cases.

use protocol::Millis;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

/// The only version that there is.
const FORMAT: u64 = 1;

/// A file of cases. A member that is not of the format is an error, or a slip of the pen would
/// leave a test that tests something else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    format: u64,
    /// For people.
    #[serde(rename = "about", default)]
    _about: Value,
    /// For people.
    #[serde(rename = "fields", default)]
    _fields: Value,
    /// At least one.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name: no two in a file have the same.
    pub id: String,
    /// What it is about.
    #[serde(default)]
    pub title: String,
    /// What of it is tested.
    pub level: Level,
    /// Bodies of `POST /api/v1/grants`, each with the name of its token.
    #[serde(default)]
    pub(super) grants: Vec<NamedGrant>,
    /// Raw rows: subject, domain, path, methods and effect.
    #[serde(default)]
    pub(super) policies: Vec<(String, String, String, String, Effect)>,
    /// Links: member, role, domain.
    #[serde(default)]
    pub(super) links: Vec<(String, String, String)>,
    /// What is asked.
    pub request: Request,
    /// What is to become of it.
    pub expect: Verdict,
    /// At the level of HTTP, the status; 200 is for what is let through.
    #[serde(default)]
    pub status: Option<u16>,
    /// For people.
    #[serde(rename = "note", default)]
    _note: Value,
}

/// What of a case is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The model alone, with the path as it is.
    Model,
    /// With what stands before it: the query is dropped, the path decoded.
    Http,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whose token comes with it; none comes if it is null.
    #[serde(default)]
    pub token: Option<String>,
    /// What comes in its place, to the letter.
    #[serde(default)]
    pub raw_token: Option<String>,
    /// The domain in the token.
    pub domain: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// The body of a request for a grant, with the name of its token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedGrant {
    /// Several may have the same: then all are this token's.
    #[serde(default)]
    name: Option<String>,
    domain: String,
    allowed_http_methods: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    path_syntax: Option<PathSyntax>,
    #[serde(default)]
    eft: Effect,
    #[serde(default)]
    roles: Vec<String>,
    /// In place of a name: the role whose grant it is.
    #[serde(default)]
    role: Option<String>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not JSON, a member is wrong or not of the format, or there is no case; where, and why.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let file: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = error.path().to_string();
            let inner = error.into_inner();
            match inner.classify() {
                Category::Data if place != "." => format!("{place}: {inner}"),
                Category::Data => inner.to_string(),
                _ => format!("not JSON: {inner}"),
            }
        })?;
        json.end().map_err(|error| format!("not JSON: {error}"))?;
        file.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.format != FORMAT {
            return Err(format!("format: {} is not known; it is {FORMAT}", self.format));
        }
        if self.cases.is_empty() {
            return Err("cases: there is none; give at least one".to_owned());
        }
        let mut ids = std::collections::HashSet::new();
        for (number, case) in self.cases.iter().enumerate() {
            let wrong = |why: &str| Err(format!("cases[{number}] ({}): {why}", case.id));
            if !ids.insert(&case.id) {
                return wrong("another case has this id: give each its own");
            }
            if let Err(why) = case.check() {
                return wrong(&why);
            }
        }
        Ok(self)
    }
}

impl Case {
    fn check(&self) -> Result<(), String> {
        if self.level == Level::Model {
            let only = |member: &str| Err(format!("{member} is for cases of level http"));
            if self.status.is_some() {
                return only("status");
            }
            if self.request.raw_token.is_some() {
                return only("request.raw_token");
            }
            if self.request.token.is_none() {
                return Err("request.token: a case of level model names one".to_owned());
            }
        }
        for (number, grant) in self.grants.iter().enumerate() {
            if grant.name.is_some() == grant.role.is_some() {
                return Err(format!(
                    "grants[{number}]: give it a name, or the role that it is for"
                ));
            }
            if grant.allowed_http_methods.is_empty() {
                return Err(format!(
                    "grants[{number}].allowed_http_methods: give at least one, or `*` for all"
                ));
            }
        }
        Ok(())
    }
}

impl NamedGrant {
    /// The grant that the functions would make of it; without paths it is for all.
    pub(super) fn to_grant(&self, number: usize) -> Grant {
        let subject = match (&self.role, &self.name) {
            (Some(role), _) => Subject::Role(role.clone()),
            (None, name) => Subject::Token(name.clone().unwrap_or_default()),
        };
        let everything = || vec!["*".to_owned()];
        Grant {
            id: format!("grants[{number}]"),
            domain: self.domain.clone(),
            subject,
            allowed_http_methods: self.allowed_http_methods.clone(),
            paths: if self.paths.is_empty() { everything() } else { self.paths.clone() },
            path_syntax: self.path_syntax.unwrap_or(PathSyntax::Casbin),
            eft: self.eft,
            roles: self.roles.clone(),
            expires_at: None,
            created_at: Millis(0),
            added_to: None,
        }
    }
}
