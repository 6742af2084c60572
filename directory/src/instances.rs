//! Resource instances.

use protocol::directory::{How, Kind, NewInstance, Refusal};

use crate::documents::{Document, Of};
use crate::draft::{Draft, duplicate, missing};
use crate::rows::{self, INSTANCES, Index, Instance};

impl Draft<'_> {
    /// Makes or changes an instance; true if it is a new one.
    pub(crate) fn put_instance(&mut self, how: How, new: NewInstance) -> Result<bool, Refusal> {
        let NewInstance { name, tenant, attributes } = new;
        let known: Option<Instance> = self.get(&rows::name(INSTANCES, &name))?;
        let is_new = known.is_none();
        let mut instance = match (known, how) {
            (Some(_), How::Create) => return Err(duplicate(Kind::Instance, &name)),
            (None, How::Update) => return Err(missing(Kind::Instance, &name)),
            (Some(instance), How::Update) => instance,
            (Some(instance), How::Replace) => {
                Instance { attributes: Default::default(), ..instance }
            }
            (None, How::Create | How::Replace) => {
                let Some(tenant) = &tenant else {
                    return Err(Refusal::of_body(
                        &["tenant"],
                        "missing; a new instance is in a tenant",
                    ));
                };
                self.require_tenant(tenant)?;
                self.make_room(Kind::Instance)?;
                self.note(Index::InstancesOfTenant(tenant), &name)?;
                Instance {
                    name: name.clone(),
                    tenant: tenant.clone(),
                    attributes: Default::default(),
                    created_at: self.now,
                    updated_at: self.now,
                }
            }
        };
        if tenant.is_some_and(|tenant| tenant != instance.tenant) {
            return Err(Refusal::of_body(
                &["tenant"],
                format!(
                    "`{name}` is in another tenant, where roles and relationships name it; delete it \
                     first, and create it there"
                ),
            ));
        }
        instance.attributes = attributes.unwrap_or(instance.attributes);
        instance.updated_at = self.now;
        self.put(rows::name(INSTANCES, &name), &instance)?;
        self.touched.insert(Document::new(Of::Instance, &name));
        Ok(is_new)
    }

    /// The tenant of an instance, which comes to be in `tenant` if it is not there.
    pub(crate) fn require_instance(
        &mut self,
        name: &str,
        tenant: Option<&str>,
    ) -> Result<String, Refusal> {
        if let Some(instance) = self.get::<Instance>(&rows::name(INSTANCES, name))? {
            return Ok(instance.tenant);
        }
        let Some(tenant) = tenant else {
            return Err(Refusal::Missing(format!(
                "there is no resource instance `{name}`; create it, or say in which `tenant` it is to be"
            )));
        };
        let (name, tenant) = (name.to_owned(), tenant.to_owned());
        let new = NewInstance { name, tenant: Some(tenant.clone()), attributes: None };
        self.put_instance(How::Create, new)?;
        Ok(tenant)
    }

    /// Removes an instance with the roles on it and the tuples that it is in.
    pub(crate) fn delete_instance(&mut self, name: &str) -> Result<(), Refusal> {
        let instance: Instance = self.find(Kind::Instance, name)?;
        for user in self.noted(Index::UsersOfInstance(name))? {
            self.unassign_all(&user, |it| it.instance.as_deref() == Some(name))?;
        }
        for object in self.noted(Index::ObjectsOfInstance(name))? {
            self.unrelate_all(&object, |it| it.subject == name)?;
        }
        self.unrelate_all(name, |_| true)?;
        self.unnote(Index::InstancesOfTenant(&instance.tenant), name);
        self.remove(rows::name(INSTANCES, name));
        for of in [Of::Relations, Of::Instance] {
            self.touched.insert(Document::new(of, name));
        }
        Ok(())
    }
}
