//! What is kept, one row a thing, under its name.
//!
//! A user's row has its roles, an instance's relations are those that it is the object of: so what
//! agents get of a thing is read from one row. Who is to be looked at when a tenant or an instance
//! goes says an index, `directory/of/…`: one entry too many leads to a row that says no, so entries
//! are written with the rows and never relied on.

use protocol::Millis;
use protocol::directory::{Kind, Members};
use serde::{Deserialize, Serialize};

/// How the names of users begin.
pub(crate) const USERS: &str = "directory/users/";
/// How the names of tenants begin.
pub(crate) const TENANTS: &str = "directory/tenants/";
/// How the names of resource instances begin.
pub(crate) const INSTANCES: &str = "directory/instances/";
/// How the names begin of what is related to an instance.
pub(crate) const RELATIONS: &str = "directory/relations/";
/// How the names of the index begin.
const OF: &str = "directory/of/";

/// The tenant that comes to be when it is first named.
pub(crate) const DEFAULT_TENANT: &str = "default";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) key: String,
    pub(crate) email: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    pub(crate) attributes: Members,
    pub(crate) created_at: Millis,
    pub(crate) updated_at: Millis,
    pub(crate) assignments: Vec<Assignment>,
}

/// A role of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) role: String,
    /// The tenant; that of the instance, if it is on one.
    pub(crate) tenant: String,
    pub(crate) instance: Option<String>,
    pub(crate) created_at: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tenant {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) attributes: Members,
    pub(crate) created_at: Millis,
    pub(crate) updated_at: Millis,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// `<type>:<key>`.
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) attributes: Members,
    pub(crate) created_at: Millis,
    pub(crate) updated_at: Millis,
}

/// Who is related to an instance, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relation {
    pub(crate) subject: String,
    pub(crate) relation: String,
    pub(crate) tenant: String,
    pub(crate) created_at: Millis,
}

impl Assignment {
    /// True if it is the role that is meant.
    pub(crate) fn is(&self, role: &str, tenant: Option<&str>, instance: Option<&str>) -> bool {
        self.role == role
            && self.instance.as_deref() == instance
            && (instance.is_some() || Some(self.tenant.as_str()) == tenant)
    }
}

/// The name of a thing's row.
pub(crate) fn name(prefix: &str, key: &str) -> String {
    format!("{prefix}{}", escape(key))
}

/// How the names of a kind begin.
pub(crate) fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::User => USERS,
        Kind::Tenant => TENANTS,
        Kind::Instance => INSTANCES,
    }
}

/// What Permit and people call it.
pub(crate) fn called(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "user",
        Kind::Tenant => "tenant",
        Kind::Instance => "resource instance",
    }
}

/// Those that are to be looked at when something goes.
#[derive(Clone, Copy)]
pub(crate) enum Index<'k> {
    /// Users with a role in a tenant.
    UsersOfTenant(&'k str),
    /// Instances in a tenant.
    InstancesOfTenant(&'k str),
    /// Users with a role on an instance.
    UsersOfInstance(&'k str),
    /// Instances that an instance is related to.
    ObjectsOfInstance(&'k str),
}

impl Index<'_> {
    pub(crate) fn prefix(self) -> String {
        let (kind, key, of) = match self {
            Self::UsersOfTenant(key) => ("tenant", key, "user"),
            Self::InstancesOfTenant(key) => ("tenant", key, "instance"),
            Self::UsersOfInstance(key) => ("instance", key, "user"),
            Self::ObjectsOfInstance(key) => ("instance", key, "object"),
        };
        format!("{OF}{kind}/{}/{of}/", escape(key))
    }

    pub(crate) fn name(self, of: &str) -> String {
        name(&self.prefix(), of)
    }
}

/// A key as a part of a name that ends at the next slash.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

pub(crate) fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// An instance's name in its two parts.
pub(crate) fn parts(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or((name, ""))
}
