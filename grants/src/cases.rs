//! Files of cases: grants, a request, and what is to become of it. So grants are tested as policy
//! is, by `edge-agent grants test` (`spec/opa-and-grants.md` §4.6).
//!
//! | question | file |
//! |---|---|
//! | What is in a file? | `cases/file.rs` |
//! | What becomes of a case? | this one |
//!
//! A case has a name where a request has a token: names stand for the hashes that they would have.
//! Grants are read in casbin's syntax unless one says `"path_syntax":"safe"`.

mod file;

use std::fmt;

use protocol::Millis;
use protocol::plane::Question;
use protocol::plane::grants::Token;

use crate::front::{self, Admission};
use crate::model::{Model, Row};

pub use file::{Case, File, Level, Request, Verdict};

/// At the level of HTTP: what stands for "the handler answers".
const LET_THROUGH: u16 = 200;
/// At the level of HTTP: nothing allows it, or something denies it.
const UNAUTHORIZED: u16 = 401;

/// What was to become of a case, and what did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case's id.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What was to become of it.
    pub expected: Answer,
    /// What did.
    pub got: Answer,
    /// Patterns that are none: who has them may do nothing.
    pub broken: Vec<String>,
}

/// Whether a request may pass, and with which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it may.
    pub verdict: Verdict,
    /// At the level of HTTP; an expectation need not have one.
    pub status: Option<u16>,
}

impl Outcome {
    /// True if it is what was expected. A status counts if one was.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        let is_status = self.expected.status.is_none() || self.expected.status == self.got.status;
        self.expected.verdict == self.got.verdict && is_status
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        match self.status {
            Some(status) => write!(f, "{verdict} ({status})"),
            None => f.write_str(verdict),
        }
    }
}

impl Case {
    /// Evaluates it.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let mut model = Model::default();
        let mut broken = Vec::new();
        for (number, grant) in self.grants.iter().enumerate() {
            broken.extend(model.put(&grant.to_grant(number)).err());
        }
        for (subject, domain, path, methods, effect) in &self.policies {
            let row = Row { subject, domain, path, methods, effect: *effect };
            broken.extend(model.row(&row).err());
        }
        for (member, role, domain) in &self.links {
            model.link(member, role, domain);
        }
        Outcome {
            id: self.id.clone(),
            title: self.title.clone(),
            expected: Answer { verdict: self.expect, status: self.status },
            got: match self.level {
                Level::Model => self.request.ask(&model),
                Level::Http => self.request.send(&model),
            },
            broken: broken.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Request {
    /// The model alone, with the path as it is.
    fn ask(&self, model: &Model) -> Answer {
        let question = Question {
            subject: self.token.clone().unwrap_or_default(),
            domain: self.domain.clone(),
            path: self.path.clone(),
            method: self.method.clone(),
        };
        let is_allowed = model.allows(Millis(0), &question);
        let verdict = if is_allowed { Verdict::Allow } else { Verdict::Deny };
        Answer { verdict, status: None }
    }

    /// Through what stands before the model.
    fn send(&self, model: &Model) -> Answer {
        // The secret is of no account: the name stands for the hash.
        let made = self.token.as_ref().map(|_| Token::write(&self.domain, "secret"));
        let header = self.raw_token.as_ref().or(made.as_ref());
        let path = self.path.split('?').next().unwrap_or_default();
        let status = match front::admit(&self.method, path, header.map(String::as_str)) {
            Ok(Admission::Health) => LET_THROUGH,
            Ok(Admission::Ask(question)) => {
                let subject = match (&self.raw_token, &self.token) {
                    (None, Some(name)) => name.clone(),
                    _ => question.subject.clone(),
                };
                match model.allows(Millis(0), &Question { subject, ..question }) {
                    true => LET_THROUGH,
                    false => UNAUTHORIZED,
                }
            }
            Err(refusal) => refusal.status,
        };
        let verdict = if status == LET_THROUGH { Verdict::Allow } else { Verdict::Deny };
        Answer { verdict, status: Some(status) }
    }
}

#[cfg(test)]
mod tests;
