//! Tenants.

use protocol::directory::{How, Kind, NewTenant, Refusal};

use crate::documents::{Document, Of};
use crate::draft::{Draft, duplicate, missing};
use crate::rows::{self, DEFAULT_TENANT, Index, TENANTS, Tenant};

impl Draft<'_> {
    /// Makes or changes a tenant; true if it is a new one.
    pub(crate) fn put_tenant(&mut self, how: How, new: NewTenant) -> Result<bool, Refusal> {
        let NewTenant { key, name, description, attributes } = new;
        let known: Option<Tenant> = self.get(&rows::name(TENANTS, &key))?;
        let is_new = known.is_none();
        let mut tenant = match (known, how) {
            (Some(_), How::Create) => return Err(duplicate(Kind::Tenant, &key)),
            (None, How::Update) => return Err(missing(Kind::Tenant, &key)),
            (Some(tenant), How::Update) => tenant,
            (Some(Tenant { created_at, .. }), How::Replace) => {
                Tenant { created_at, ..self.new_tenant(&key) }
            }
            (None, How::Create | How::Replace) => {
                self.make_room(Kind::Tenant)?;
                self.new_tenant(&key)
            }
        };
        tenant.name = name.unwrap_or(tenant.name);
        tenant.description = description.or(tenant.description);
        tenant.attributes = attributes.unwrap_or(tenant.attributes);
        tenant.updated_at = self.now;
        self.put(rows::name(TENANTS, &key), &tenant)?;
        self.touched.insert(Document::new(Of::Tenant, &key));
        Ok(is_new)
    }

    fn new_tenant(&self, key: &str) -> Tenant {
        Tenant {
            key: key.to_owned(),
            name: key.to_owned(),
            description: None,
            attributes: Default::default(),
            created_at: self.now,
            updated_at: self.now,
        }
    }

    /// Checks that a tenant is there. The default one comes to be.
    pub(crate) fn require_tenant(&mut self, key: &str) -> Result<(), Refusal> {
        if self.get::<Tenant>(&rows::name(TENANTS, key))?.is_some() {
            return Ok(());
        }
        if key != DEFAULT_TENANT {
            return Err(missing(Kind::Tenant, key));
        }
        let (key, name) = (key.to_owned(), Some("Default Tenant".to_owned()));
        self.put_tenant(How::Create, NewTenant { key, name, ..NewTenant::default() }).map(drop)
    }

    /// Removes a tenant with the roles and instances in it.
    pub(crate) fn delete_tenant(&mut self, key: &str) -> Result<(), Refusal> {
        self.find::<Tenant>(Kind::Tenant, key)?;
        for instance in self.noted(Index::InstancesOfTenant(key))? {
            self.delete_instance(&instance)?;
        }
        for user in self.noted(Index::UsersOfTenant(key))? {
            self.unassign_all(&user, |it| it.tenant == key)?;
        }
        self.remove(rows::name(TENANTS, key));
        self.touched.insert(Document::new(Of::Tenant, key));
        Ok(())
    }
}
