//! Users and their roles.

use protocol::directory::{How, Kind, NewAssignment, NewUser, Refusal};
use protocol::{Problem, limits};

use crate::documents::{Document, Of};
use crate::draft::{Draft, duplicate, missing};
use crate::rows::{self, Assignment, Index, USERS, User};

impl Draft<'_> {
    /// Makes or changes a user; true if it is a new one.
    pub(crate) fn put_user(&mut self, how: How, new: NewUser) -> Result<bool, Refusal> {
        let NewUser { key, email, first_name, last_name, attributes, roles } = new;
        let known: Option<User> = self.get(&rows::name(USERS, &key))?;
        let is_new = known.is_none();
        let mut user = match (known, how) {
            (Some(_), How::Create) => return Err(duplicate(Kind::User, &key)),
            (None, How::Update) => return Err(missing(Kind::User, &key)),
            (Some(user), How::Update) => user,
            (Some(user), How::Replace) => User {
                email: None,
                first_name: None,
                last_name: None,
                attributes: Default::default(),
                ..user
            },
            (None, How::Create | How::Replace) => {
                self.make_room(Kind::User)?;
                User {
                    key: key.clone(),
                    email: None,
                    first_name: None,
                    last_name: None,
                    attributes: Default::default(),
                    created_at: self.now,
                    updated_at: self.now,
                    assignments: vec![],
                }
            }
        };
        user.email = email.or(user.email);
        user.first_name = first_name.or(user.first_name);
        user.last_name = last_name.or(user.last_name);
        user.attributes = attributes.unwrap_or(user.attributes);
        self.save_user(user)?;
        self.touched.insert(Document::new(Of::User, &key));
        for (role, tenant) in roles {
            self.assign(NewAssignment {
                user: key.clone(),
                role,
                tenant: Some(tenant),
                instance: None,
            })?;
        }
        Ok(is_new)
    }

    pub(crate) fn delete_user(&mut self, key: &str) -> Result<(), Refusal> {
        let user: User = self.find(Kind::User, key)?;
        for it in &user.assignments {
            self.unnote(index_of(it), key);
        }
        self.remove(rows::name(USERS, key));
        for of in [Of::Roles, Of::User] {
            self.touched.insert(Document::new(of, key));
        }
        Ok(())
    }

    /// Gives a user a role; none if it has it.
    pub(crate) fn assign(&mut self, new: NewAssignment) -> Result<Option<Assignment>, Refusal> {
        let NewAssignment { user: key, role, tenant, instance } = new;
        let mut user: User = self.find(Kind::User, &key)?;
        let tenant = match (&instance, tenant) {
            (Some(name), tenant) => self.require_instance(name, tenant.as_deref())?,
            (None, Some(tenant)) => {
                self.require_tenant(&tenant)?;
                tenant
            }
            (None, None) => {
                return Err(Refusal::of_body(
                    &["tenant"],
                    "missing; give `tenant`, or `resource_instance`",
                ));
            }
        };
        if user.assignments.iter().any(|it| it.is(&role, Some(&tenant), instance.as_deref())) {
            return Ok(None);
        }
        let limit = limits::MAX_DIRECTORY_LINKS;
        if user.assignments.len() >= limit {
            return Err(Refusal::Other(Problem::conflict(format!(
                "user `{key}` has {limit} roles, which is the limit; take some away"
            ))));
        }
        let made = Assignment { role, tenant, instance, created_at: self.now };
        self.note(index_of(&made), &key)?;
        user.assignments.push(made.clone());
        self.save_user(user)?;
        self.touch_roles(&key, &made);
        Ok(Some(made))
    }

    /// Takes a role away; none if the user has not got it.
    pub(crate) fn unassign(&mut self, old: &NewAssignment) -> Result<Option<Assignment>, Refusal> {
        let NewAssignment { user: key, role, tenant, instance } = old;
        let Some(user) = self.get::<User>(&rows::name(USERS, key))? else { return Ok(None) };
        let (tenant, instance) = (tenant.as_deref(), instance.as_deref());
        let found = user.assignments.iter().find(|it| it.is(role, tenant, instance)).cloned();
        if let Some(found) = &found {
            self.unassign_all(key, |it| it == found)?;
        }
        Ok(found)
    }

    /// Takes those roles away from a user.
    pub(crate) fn unassign_all(
        &mut self,
        key: &str,
        is_over: impl Fn(&Assignment) -> bool,
    ) -> Result<(), Refusal> {
        let Some(mut user) = self.get::<User>(&rows::name(USERS, key))? else { return Ok(()) };
        let (gone, left): (Vec<_>, Vec<_>) = user.assignments.into_iter().partition(is_over);
        user.assignments = left;
        for it in &gone {
            let stays = |other: &Assignment| match &it.instance {
                Some(instance) => other.instance.as_ref() == Some(instance),
                None => other.instance.is_none() && other.tenant == it.tenant,
            };
            if !user.assignments.iter().any(stays) {
                self.unnote(index_of(it), key);
            }
            self.touch_roles(key, it);
        }
        if !gone.is_empty() {
            self.save_user(user)?;
        }
        Ok(())
    }

    fn save_user(&mut self, user: User) -> Result<(), Refusal> {
        let user = User { updated_at: self.now, ..user };
        self.put(rows::name(USERS, &user.key), &user)
    }

    fn touch_roles(&mut self, key: &str, it: &Assignment) {
        self.touched.insert(Document::new(Of::Roles, key));
        if it.instance.is_none() {
            self.touched.insert(Document::new(Of::User, key));
        }
    }
}

fn index_of(it: &Assignment) -> Index<'_> {
    match &it.instance {
        Some(instance) => Index::UsersOfInstance(instance),
        None => Index::UsersOfTenant(&it.tenant),
    }
}
