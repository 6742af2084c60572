//! Things as callers see them (`spec/critical-updates.md` §7.3).

use std::collections::BTreeMap;

use protocol::Problem;
use protocol::directory::Members;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::documents::raw;
use crate::ids::{ScopeIds, derive};
use crate::rows::{self, Assignment, Instance, Relation, Tenant, User};

/// Shows the things of a scope.
pub(crate) struct Shower<'s> {
    scope: &'s str,
    ids: ScopeIds,
}

impl<'s> Shower<'s> {
    pub(crate) fn new(scope: &'s str) -> Self {
        Self { scope, ids: ScopeIds::of(scope) }
    }

    fn id(&self, kind: &str, key: &str) -> String {
        derive(self.scope, kind, key)
    }

    pub(crate) fn user(&self, user: &User) -> Result<Box<RawValue>, Problem> {
        #[derive(Serialize)]
        struct Shown<'a> {
            key: &'a str,
            id: String,
            #[serde(flatten)]
            scope: &'a ScopeIds,
            created_at: String,
            updated_at: String,
            associated_tenants: Vec<InTenant<'a>>,
            roles: Vec<Role<'a>>,
            email: Option<&'a str>,
            first_name: Option<&'a str>,
            last_name: Option<&'a str>,
            attributes: &'a Members,
        }
        #[derive(Serialize)]
        struct InTenant<'a> {
            tenant: &'a str,
            roles: Vec<&'a str>,
            status: &'static str,
        }
        #[derive(Serialize)]
        struct Role<'a> {
            role: &'a str,
            tenant: &'a str,
        }
        let in_tenants = || user.assignments.iter().filter(|it| it.instance.is_none());
        let mut tenants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for it in in_tenants() {
            tenants.entry(&it.tenant).or_default().push(&it.role);
        }
        let tenants = tenants.into_iter();
        raw(&Shown {
            key: &user.key,
            id: self.id("user", &user.key),
            scope: &self.ids,
            created_at: user.created_at.rfc3339(),
            updated_at: user.updated_at.rfc3339(),
            associated_tenants: tenants
                .map(|(tenant, roles)| InTenant { tenant, roles, status: "active" })
                .collect(),
            roles: in_tenants().map(|it| Role { role: &it.role, tenant: &it.tenant }).collect(),
            email: user.email.as_deref(),
            first_name: user.first_name.as_deref(),
            last_name: user.last_name.as_deref(),
            attributes: &user.attributes,
        })
    }

    pub(crate) fn tenant(&self, tenant: &Tenant) -> Result<Box<RawValue>, Problem> {
        #[derive(Serialize)]
        struct Shown<'a> {
            key: &'a str,
            id: String,
            #[serde(flatten)]
            scope: &'a ScopeIds,
            created_at: String,
            updated_at: String,
            last_action_at: String,
            name: &'a str,
            description: Option<&'a str>,
            attributes: &'a Members,
        }
        raw(&Shown {
            key: &tenant.key,
            id: self.id("tenant", &tenant.key),
            scope: &self.ids,
            created_at: tenant.created_at.rfc3339(),
            updated_at: tenant.updated_at.rfc3339(),
            last_action_at: tenant.updated_at.rfc3339(),
            name: &tenant.name,
            description: tenant.description.as_deref(),
            attributes: &tenant.attributes,
        })
    }

    pub(crate) fn assignment(&self, user: &str, it: &Assignment) -> Result<Box<RawValue>, Problem> {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: String,
            user: &'a str,
            role: &'a str,
            tenant: &'a str,
            resource_instance: Option<&'a str>,
            user_id: String,
            role_id: String,
            tenant_id: String,
            resource_instance_id: Option<String>,
            #[serde(flatten)]
            scope: &'a ScopeIds,
            created_at: String,
        }
        let instance = it.instance.as_deref();
        // With the lengths of its parts, as keys may hold anything.
        let key = format!("{:?}", (user, &it.role, &it.tenant, instance));
        // A role of a resource is not the tenant's role of the same name.
        let role = match instance {
            Some(instance) => format!("{}#{}", rows::parts(instance).0, it.role),
            None => it.role.clone(),
        };
        raw(&Shown {
            id: self.id("role_assignment", &key),
            user,
            role: &it.role,
            tenant: &it.tenant,
            resource_instance: instance,
            user_id: self.id("user", user),
            role_id: self.id("role", &role),
            tenant_id: self.id("tenant", &it.tenant),
            resource_instance_id: instance.map(|it| self.id("resource_instance", it)),
            scope: &self.ids,
            created_at: it.created_at.rfc3339(),
        })
    }

    pub(crate) fn instance(&self, instance: &Instance) -> Result<Box<RawValue>, Problem> {
        #[derive(Serialize)]
        struct Shown<'a> {
            key: &'a str,
            tenant: &'a str,
            resource: &'a str,
            id: String,
            resource_id: String,
            tenant_id: String,
            #[serde(flatten)]
            scope: &'a ScopeIds,
            created_at: String,
            updated_at: String,
            attributes: &'a Members,
        }
        let (resource, key) = rows::parts(&instance.name);
        raw(&Shown {
            key,
            tenant: &instance.tenant,
            resource,
            id: self.id("resource_instance", &instance.name),
            resource_id: self.id("resource", resource),
            tenant_id: self.id("tenant", &instance.tenant),
            scope: &self.ids,
            created_at: instance.created_at.rfc3339(),
            updated_at: instance.updated_at.rfc3339(),
            attributes: &instance.attributes,
        })
    }

    pub(crate) fn tuple(&self, object: &str, it: &Relation) -> Result<Box<RawValue>, Problem> {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: String,
            subject: &'a str,
            relation: &'a str,
            object: &'a str,
            tenant: &'a str,
            subject_id: String,
            relation_id: String,
            object_id: String,
            tenant_id: String,
            #[serde(flatten)]
            scope: &'a ScopeIds,
            created_at: String,
            updated_at: String,
        }
        let Relation { subject, relation, tenant, created_at } = it;
        let relation_of = format!("{}#{relation}", rows::parts(object).0);
        raw(&Shown {
            id: self.id("relationship_tuple", &format!("{:?}", (subject, relation, object))),
            subject,
            relation,
            object,
            tenant,
            subject_id: self.id("resource_instance", subject),
            relation_id: self.id("relation", &relation_of),
            object_id: self.id("resource_instance", object),
            tenant_id: self.id("tenant", tenant),
            scope: &self.ids,
            created_at: created_at.rfc3339(),
            updated_at: created_at.rfc3339(),
        })
    }
}
