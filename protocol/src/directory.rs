//! The directory of a scope: who its users are, which roles they have in which tenants, which
//! resource instances there are and how they relate (`spec/critical-updates.md` §3, §7). The words
//! that functions and hub share; what they mean is in the room `directory`.
//!
//! A write is one update in the scope's log, so agents get it, are waited for, and decide on it as
//! on everything else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Claims, Problem, Seq};

/// The topic that everything of the directory is published to.
pub const TOPIC: &str = "policy_data";
/// The header of an answer that says with which number the log has what was written.
pub const SEQ_HEADER: &str = "X-Girasol-Seq";
/// The header of an answer that says which update tells agents of it.
pub const UPDATE_HEADER: &str = "X-Permit-Update-Id";

/// Members of an object, verbatim.
pub type Members = BTreeMap<String, Box<RawValue>>;

/// A request to a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectoryRequest {
    /// Who asks; none for who knows the master token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// The id of the update that tells agents, if one does.
    pub id: String,
    /// True if it is to change something.
    pub is_change: bool,
    /// What is asked; or why it is nothing, which is answered to who may ask.
    pub call: Result<Call, Refusal>,
}

/// What the hub answers to a request that it carried out.
#[derive(Clone, Serialize, Deserialize)]
pub struct DirectoryAnswer {
    /// The HTTP status, 200 to 204.
    pub status: u16,
    /// The body; none with 204.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<RawValue>>,
    /// After a change: who is at this number of the log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The id of the update that tells agents; none if nothing had to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl fmt::Debug for DirectoryAnswer {
    /// Without the body, which may hold anything about a user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, body: _, seq, id } = self;
        let mut shown = f.debug_struct("DirectoryAnswer");
        shown.field("status", status).field("seq", seq).field("id", id).finish_non_exhaustive()
    }
}

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Shows one thing.
    Show(Kind, String),
    /// Lists things.
    List(List),
    /// Changes things, all of them or none.
    Change(Write),
}

/// What has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A user.
    User,
    /// A tenant.
    Tenant,
    /// A resource instance, by `<type>:<key>`.
    Instance,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// Users.
    Users,
    /// Tenants.
    Tenants,
    /// Role assignments.
    Assignments,
    /// Resource instances.
    Instances,
    /// Relationship tuples.
    Tuples,
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// Of what.
    pub of: Listed,
    /// Which part, from 1.
    pub page: usize,
    /// Things in a part.
    pub per_page: usize,
    /// True if the answer says how many there are; a plain array does not.
    pub is_counted: bool,
    /// Only what has these: by the names of the query's parameters.
    pub filter: BTreeMap<String, String>,
}

/// Changes that are made together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Write {
    /// In this order.
    pub changes: Vec<Change>,
    /// True for a bulk call: what is there already, or is not, is no fault, and the answer says no
    /// more than how many changed.
    pub is_bulk: bool,
    /// True if the answer to a deletion is what was deleted.
    pub shows_deleted: bool,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Makes or changes a user.
    PutUser(How, NewUser),
    /// Makes or changes a tenant.
    PutTenant(How, NewTenant),
    /// Makes or changes an instance.
    PutInstance(How, NewInstance),
    /// Removes a thing, with all that it takes part in.
    Delete(Kind, String),
    /// Gives a user a role.
    Assign(NewAssignment),
    /// Takes it away.
    Unassign(NewAssignment),
    /// Relates two instances.
    Relate(NewTuple),
    /// Ends that.
    Unrelate(NewTuple),
}

/// What becomes of a thing that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It may not be there.
    Create,
    /// It is replaced, if it is there.
    Replace,
    /// It has to be there, and what is not named stays.
    Update,
}

/// A user, as far as it is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewUser {
    /// The application's name of it.
    pub key: String,
    /// An email address.
    pub email: Option<String>,
    /// For people.
    pub first_name: Option<String>,
    /// For people.
    pub last_name: Option<String>,
    /// What policy decides on.
    pub attributes: Option<Members>,
    /// Roles to give it: role and tenant.
    pub roles: Vec<(String, String)>,
}

/// A tenant, as far as it is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewTenant {
    /// The application's name of it.
    pub key: String,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What policy decides on.
    pub attributes: Option<Members>,
}

/// A resource instance, as far as it is named.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewInstance {
    /// `<type>:<key>`.
    pub name: String,
    /// The tenant that it is in; none where that stays.
    pub tenant: Option<String>,
    /// What policy decides on.
    pub attributes: Option<Members>,
}

/// A role of a user: in a tenant, or on an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewAssignment {
    /// The user's key.
    pub user: String,
    /// The role's key.
    pub role: String,
    /// The tenant's key.
    pub tenant: Option<String>,
    /// `<type>:<key>` of the instance.
    pub instance: Option<String>,
}

/// A relationship.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewTuple {
    /// `<type>:<key>` of who is related.
    pub subject: String,
    /// How.
    pub relation: String,
    /// `<type>:<key>` of to what.
    pub object: String,
    /// Where those of the two that are not there come to be.
    pub tenant: Option<String>,
}

/// Why a directory refused, in Permit's shapes (`spec/critical-updates.md` §7.3). It never repeats a
/// value of attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 422: this is wrong.
    #[error("422: {msg}")]
    Invalid {
        /// Where: `["body", "email"]`.
        loc: Vec<Value>,
        /// What is wrong, and what would not be.
        msg: String,
    },
    /// 404: what is to be shown or changed, or what that needs, is not there.
    #[error("404: {0}")]
    Missing(String),
    /// 409: it is there already.
    #[error("409: {0}")]
    Duplicate(String),
    /// Anything else.
    #[error("{0}")]
    Other(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl Refusal {
    /// A fault of a body's member, or of the body as a whole.
    #[must_use]
    pub fn of_body(place: &[&str], msg: impl Into<String>) -> Self {
        Self::at("body", place, msg)
    }

    /// A fault of a parameter of the query.
    #[must_use]
    pub fn of_query(name: &str, msg: impl Into<String>) -> Self {
        Self::at("query", &[name], msg)
    }

    /// A fault of a segment of the path.
    #[must_use]
    pub fn of_path(name: &str, msg: impl Into<String>) -> Self {
        Self::at("path", &[name], msg)
    }

    fn at(part: &str, place: &[&str], msg: impl Into<String>) -> Self {
        let place = place.iter().map(|name| {
            // A place in a list is a number.
            name.parse::<u64>().map_or_else(|_| Value::from(*name), Value::from)
        });
        let loc = std::iter::once(Value::from(part)).chain(place).collect();
        Self::Invalid { loc, msg: msg.into() }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 422,
            Self::Missing(_) => 404,
            Self::Duplicate(_) => 409,
            Self::Other(problem) => problem.status,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Value {
        let named = |code: &str, title: &str, message: &str| {
            let id: String = crate::hex(&Sha256::digest(message)).chars().take(32).collect();
            json!({
                "id": id,
                "title": title,
                "error_code": code,
                "message": message,
                "support_link": null,
                "additional_info": null,
            })
        };
        match self {
            Self::Invalid { loc, msg } => {
                let kind = if msg.starts_with("missing") { ".missing" } else { "" };
                let kind = format!("value_error{kind}");
                json!({ "detail": [{ "loc": loc, "msg": msg, "type": kind }] })
            }
            Self::Missing(message) => {
                named("NOT_FOUND", "The requested data could not be found", message)
            }
            Self::Duplicate(message) => {
                named("DUPLICATE_ENTITY", "This data is there already", message)
            }
            Self::Other(problem) => problem.body(),
        }
    }
}
