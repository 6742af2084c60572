//! What agents have of the directory, as documents of the data
//! (`spec/critical-updates.md` §5). Keys never nest: a segment may hold anything.

use std::collections::{BTreeMap, BTreeSet};

use protocol::directory::{Kind, Members, TOPIC};
use protocol::{DataPath, Entry, Problem, commit};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::draft::{Draft, Store};
use crate::rows::{self, Instance, RELATIONS, Relation, Tenant, User};

/// A document: which, and of whose key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Document {
    of: Of,
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Of {
    User,
    /// The roles of a user.
    Roles,
    Tenant,
    Instance,
    /// What is related to an instance.
    Relations,
}

impl Of {
    const ALL: [Self; 5] = [Self::User, Self::Roles, Self::Tenant, Self::Instance, Self::Relations];

    /// What the document is below.
    fn place(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Roles => "role_assignments",
            Self::Tenant => "tenants",
            Self::Instance => "resource_instances",
            Self::Relations => "relationships",
        }
    }

    /// Whose it is.
    fn kind(self) -> Kind {
        match self {
            Self::User | Self::Roles => Kind::User,
            Self::Tenant => Kind::Tenant,
            Self::Instance | Self::Relations => Kind::Instance,
        }
    }
}

impl Document {
    pub(crate) fn new(of: Of, key: &str) -> Self {
        Self { of, key: key.to_owned() }
    }

    /// A name without a slash but the first, for who keeps a list of documents.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.of.place(), rows::escape(&self.key))
    }

    /// The document of such a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (place, key) = name.split_once('/')?;
        let of = Of::ALL.into_iter().find(|of| of.place() == place)?;
        Some(Self { of, key: rows::unescape(key) })
    }

    /// The entry that says what it is now; none if there is nothing to say.
    ///
    /// # Errors
    /// If storage refuses.
    pub fn entry(&self, store: &dyn Store) -> Result<Option<Entry>, Problem> {
        let draft = Draft::new(store, protocol::Millis(0));
        let text = self.text(&draft)?;
        text.map(|text| commit::put(self.place(), topics(), &text)).transpose()
    }

    /// The entries that say what has become of it.
    pub(crate) fn entries(&self, draft: &Draft<'_>) -> Result<Vec<Entry>, Problem> {
        if let Some(text) = self.text(draft)? {
            return Ok(vec![commit::put(self.place(), topics(), &text)?]);
        }
        let owner = rows::name(rows::prefix(self.of.kind()), &self.key);
        if draft.get::<serde::de::IgnoredAny>(&owner)?.is_some() {
            return Ok(vec![commit::put(self.place(), topics(), &Members::new())?]);
        }
        Ok(commit::gone(self.place(), topics()))
    }

    fn place(&self) -> DataPath {
        let key = match self.of {
            Of::Roles => format!("user:{}", self.key),
            _ => self.key.clone(),
        };
        DataPath::default().below([self.of.place().to_owned(), key])
    }

    /// What it is; none if it has nothing in it.
    fn text(&self, draft: &Draft<'_>) -> Result<Option<Box<RawValue>>, Problem> {
        let key = &self.key;
        let owner = rows::name(rows::prefix(self.of.kind()), key);
        match self.of {
            Of::User => draft.get::<User>(&owner)?.map(|user| of_user(&user)).transpose(),
            Of::Roles => {
                let user = draft.get::<User>(&owner)?;
                user.filter(|it| !it.assignments.is_empty()).map(|it| of_roles(&it)).transpose()
            }
            Of::Tenant => {
                #[derive(Serialize)]
                struct Shown {
                    attributes: Members,
                }
                let tenant = draft.get::<Tenant>(&owner)?;
                tenant.map(|it| raw(&Shown { attributes: it.attributes })).transpose()
            }
            Of::Instance => {
                #[derive(Serialize)]
                struct Shown {
                    tenant: String,
                    attributes: Members,
                }
                let instance = draft.get::<Instance>(&owner)?;
                let shown =
                    instance.map(|it| Shown { tenant: it.tenant, attributes: it.attributes });
                shown.map(|it| raw(&it)).transpose()
            }
            Of::Relations => {
                let relations = draft.get::<Vec<Relation>>(&rows::name(RELATIONS, key))?;
                relations.map(|it| of_relations(&it)).transpose()
            }
        }
    }
}

fn topics() -> Vec<String> {
    vec![TOPIC.to_owned()]
}

fn of_user(user: &User) -> Result<Box<RawValue>, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown<'u> {
        role_assignments: BTreeMap<&'u str, BTreeSet<&'u str>>,
        attributes: Members,
    }
    let mut role_assignments: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for it in user.assignments.iter().filter(|it| it.instance.is_none()) {
        role_assignments.entry(it.tenant.as_str()).or_default().insert(it.role.as_str());
    }
    let mut attributes = user.attributes.clone();
    // What is given as an attribute is meant to be one.
    for (name, value) in
        [("email", &user.email), ("first_name", &user.first_name), ("last_name", &user.last_name)]
    {
        if let Some(value) = value.as_ref().filter(|_| !user.attributes.contains_key(name)) {
            attributes.insert(name.to_owned(), raw(value)?);
        }
    }
    raw(&Shown { role_assignments, attributes })
}

fn of_roles(user: &User) -> Result<Box<RawValue>, Problem> {
    let mut roles: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for it in &user.assignments {
        let of = it.instance.clone().unwrap_or_else(|| format!("__tenant:{}", it.tenant));
        roles.entry(of).or_default().insert(it.role.as_str());
    }
    raw(&roles)
}

fn of_relations(relations: &[Relation]) -> Result<Box<RawValue>, Problem> {
    let mut related: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for it in relations {
        let (kind, key) = rows::parts(&it.subject);
        let subjects = related.entry(it.relation.as_str()).or_default();
        subjects.entry(kind).or_default().insert(key);
    }
    raw(&related)
}

pub(crate) fn raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|error| Problem::internal(error.to_string()))
}
