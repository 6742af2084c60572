//! `GET /local/role_assignments`: who has which role, as the engine's data says, without asking
//! anybody else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use protocol::{DataPath, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Enforcement, Shared, respond};

/// Assignments on a page, as with Permit's API.
const PER_PAGE: usize = 30;
const MAX_PER_PAGE: usize = 100;
/// For how long the engine is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a tenant is among instances.
const TENANT: &str = "__tenant:";

/// One role that one user has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Assignment {
    user: String,
    role: String,
    /// None for an instance that nobody told of.
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_instance: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    page: usize,
    per_page: usize,
    user: Option<String>,
    role: Option<String>,
    tenant: Option<String>,
    /// A type of resources.
    resource: Option<String>,
    resource_instance: Option<String>,
}

/// The documents that assignments are made of. What has another form is no assignment.
#[derive(Default)]
struct Documents {
    users: BTreeMap<String, Value>,
    roles: BTreeMap<String, Value>,
    instances: BTreeMap<String, Value>,
}

pub(super) async fn list(
    State(shared): Shared,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    respond(async {
        let wanted = Wanted::read(&query)?;
        shared.far_enough(&headers).await?;
        let documents = tokio::time::timeout(PATIENCE, shared.documents(&wanted)).await;
        let documents =
            documents.map_err(|_| Problem::new(504, "the engine did not answer within 10 s"))??;
        let all = documents.assignments();
        let fitting = all.into_iter().filter(|it| wanted.fits(it));
        let page: Vec<_> = fitting.skip(wanted.before()).take(wanted.per_page).collect();
        Ok(Answer(page).into_response())
    })
    .await
}

impl Wanted {
    fn read(query: &HashMap<String, String>) -> Result<Self, Problem> {
        let number = |name: &str, default: usize, most: usize| {
            let Some(text) = query.get(name) else { return Ok(default) };
            let number = text.parse().ok().filter(|number| (1..=most).contains(number));
            number
                .ok_or_else(|| Problem::invalid(format!("{name}: give a number from 1 to {most}")))
        };
        let text = |name: &str| query.get(name).cloned();
        Ok(Self {
            page: number("page", 1, usize::MAX)?,
            per_page: number("per_page", PER_PAGE, MAX_PER_PAGE)?,
            user: text("user"),
            role: text("role"),
            tenant: text("tenant"),
            resource: text("resource"),
            resource_instance: text("resource_instance"),
        })
    }

    /// How many are on the pages before.
    fn before(&self) -> usize {
        (self.page - 1).saturating_mul(self.per_page)
    }

    fn fits(&self, it: &Assignment) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        let instance = it.resource_instance.as_deref();
        let kind = instance.and_then(|it| it.split_once(':')).map(|(kind, _)| kind);
        is(&self.user, Some(&it.user))
            && is(&self.role, Some(&it.role))
            && is(&self.tenant, it.tenant.as_deref())
            && is(&self.resource, kind)
            && is(&self.resource_instance, instance)
    }
}

impl Enforcement {
    /// The documents that matter: of one user, if one is asked for.
    async fn documents(&self, wanted: &Wanted) -> Result<Documents, Problem> {
        let of = |place: &'static str, prefix: &'static str| async move {
            let Some(user) = &wanted.user else { return self.members(&[place]).await };
            let key = format!("{prefix}{user}");
            let found = self.document::<Value>(&[place, &key]).await?;
            Ok(found.into_iter().map(|document| (key.clone(), document)).collect())
        };
        Ok(Documents {
            users: of("users", "").await?,
            roles: of("role_assignments", "user:").await?,
            instances: self.members(&["resource_instances"]).await?,
        })
    }

    async fn members(&self, place: &[&str]) -> Result<BTreeMap<String, Value>, Problem> {
        Ok(self.document(place).await?.unwrap_or_default())
    }

    /// A document, unless it has another form.
    async fn document<T: for<'d> Deserialize<'d>>(
        &self,
        place: &[&str],
    ) -> Result<Option<T>, Problem> {
        let place = DataPath::default().below(place.iter().map(|name| (*name).to_owned()));
        let found = self.engine.read(&place).await;
        let found = found.map_err(|error| Problem::new(502, error.to_string()))?;
        Ok(found.and_then(|document| serde_json::from_str(document.get()).ok()))
    }
}

impl Documents {
    /// All assignments, each once, in the order of users and roles.
    fn assignments(&self) -> BTreeSet<Assignment> {
        let mut found = BTreeSet::new();
        for (user, document) in &self.users {
            for (tenant, role) in roles(document.get("roleAssignments")) {
                found.insert(self.assignment(user, &format!("{TENANT}{tenant}"), role));
            }
        }
        for (subject, document) in &self.roles {
            let Some(user) = subject.strip_prefix("user:") else { continue };
            for (instance, role) in roles(Some(document)) {
                found.insert(self.assignment(user, instance, role));
            }
        }
        found
    }

    fn assignment(&self, user: &str, instance: &str, role: &str) -> Assignment {
        let (tenant, resource_instance) = match instance.strip_prefix(TENANT) {
            Some(tenant) => (Some(tenant), None),
            None => {
                let document = self.instances.get(instance);
                (document.and_then(|it| it.get("tenant")?.as_str()), Some(instance.to_owned()))
            }
        };
        Assignment {
            user: user.to_owned(),
            role: role.to_owned(),
            tenant: tenant.map(str::to_owned),
            resource_instance,
        }
    }
}

/// The roles in `{"<where>": ["<role>"]}`, with where they are.
fn roles(document: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let places = document.and_then(Value::as_object).into_iter().flatten();
    places.flat_map(|(place, roles)| {
        let roles = roles.as_array().into_iter().flatten().filter_map(Value::as_str);
        roles.map(move |role| (place.as_str(), role))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn members(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn assignments_are_told_once_and_what_is_malformed_is_none() {
        let documents = Documents {
            users: members(json!({
                "alice": {"roleAssignments": {"acme": ["viewer"]}},
                "bob": {"roleAssignments": ["admin"]},
                "carol": "admin",
                "dora": {"roleAssignments": {"acme": "admin"}},
            })),
            roles: members(json!({
                "user:alice": {"__tenant:acme": ["viewer"], "document:1": ["owner", 7], "document:2": ["owner"]},
                "group:staff": {"__tenant:acme": ["admin"]},
                "user:eve": null,
            })),
            instances: members(json!({"document:1": {"tenant": "acme"}, "document:2": []})),
        };
        let told = serde_json::to_value(documents.assignments()).unwrap();
        assert_eq!(
            told,
            json!([
                {"user": "alice", "role": "owner", "tenant": null, "resource_instance": "document:2"},
                {"user": "alice", "role": "owner", "tenant": "acme", "resource_instance": "document:1"},
                {"user": "alice", "role": "viewer", "tenant": "acme"},
            ])
        );
        for (filter, number) in [
            (&[][..], 3),
            (&[("user", "alice"), ("role", "owner")], 2),
            (&[("tenant", "acme")], 2),
            (&[("resource", "document")], 2),
            (&[("resource_instance", "document:1")], 1),
            (&[("role", "admin")], 0),
        ] {
            let wanted = Wanted::read(&query(filter)).unwrap();
            let all = documents.assignments();
            assert_eq!(all.iter().filter(|it| wanted.fits(it)).count(), number, "{filter:?}");
        }
    }

    #[test]
    fn pages_begin_at_one_and_have_a_limit() {
        let wanted = Wanted::read(&query(&[("page", "3"), ("per_page", "100")])).unwrap();
        assert_eq!(wanted.before(), 200);
        for (name, bad) in [
            ("page", "0"),
            ("page", "-1"),
            ("page", "x"),
            ("per_page", "0"),
            ("per_page", "101"),
            ("per_page", ""),
        ] {
            let problem = Wanted::read(&query(&[(name, bad)])).unwrap_err();
            assert!(problem.status == 422 && problem.detail.starts_with(name), "{problem}");
        }
    }
}
