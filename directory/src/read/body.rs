//! What a body may hold. `null` is as good as nothing, and members of other names are ignored: SDKs
//! send both (`spec/critical-updates.md` §7.2). What is in attributes stays as it was written.

use std::str::FromStr as _;

use email_address::EmailAddress;
use protocol::directory::{
    Kind, Members, NewAssignment, NewInstance, NewTenant, NewTuple, NewUser, Refusal,
};
use protocol::{json, limits};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::check_count;

/// An object, with where it is.
pub(super) struct Body {
    place: Vec<String>,
    members: Members,
}

impl Body {
    /// A body that is an object.
    pub(super) fn object(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = text(bytes)?;
        let members = parse(text, "an object").map_err(|why| Refusal::of_body(&[], why))?;
        Ok(Self { place: vec![], members })
    }

    /// A body that is a list of objects.
    pub(super) fn list(bytes: &[u8]) -> Result<Vec<Self>, Refusal> {
        let text = text(bytes)?;
        let list = parse(text, "a list of objects").map_err(|why| Refusal::of_body(&[], why))?;
        objects(list, &[])
    }

    /// The objects of a list, which has to be there.
    pub(super) fn operations(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        let list = self.get(name, "a list of objects")?.ok_or_else(|| self.missing(name))?;
        objects(list, &[name])
    }

    /// The keys of what is to be deleted.
    pub(super) fn idents(&self, kind: Kind) -> Result<Vec<String>, Refusal> {
        let keys: Vec<String> =
            self.get("idents", "a list of keys")?.ok_or_else(|| self.missing("idents"))?;
        check_count(keys.len(), &["idents"])?;
        for (at, key) in keys.iter().enumerate() {
            let checked = match kind {
                Kind::Instance => check_instance(key),
                Kind::User | Kind::Tenant => check_key(key),
            };
            checked.map_err(|why| Refusal::of_body(&["idents", &at.to_string()], why))?;
        }
        Ok(keys)
    }

    /// A user, whose key is the path's if that has one.
    pub(super) fn user(&self, key: Option<String>) -> Result<NewUser, Refusal> {
        let email = self.name("email")?;
        if let Some(email) = &email {
            // What an SDK would refuse to read again is refused here.
            let is_email = EmailAddress::from_str(email)
                .is_ok_and(|it| it.domain().contains('.') && it.as_str() == email);
            if !is_email || email.contains(['<', '>']) {
                return Err(self.fault("email", "give an address such as ada@example.com"));
            }
        }
        let mut roles = vec![];
        for body in self
            .get("role_assignments", "a list of objects")?
            .map_or(Ok(vec![]), |list| objects(list, &self.at("role_assignments")))?
        {
            roles.push((body.required_key("role")?, body.required_key("tenant")?));
        }
        Ok(NewUser {
            key: key.map_or_else(|| self.required_key("key"), Ok)?,
            email,
            first_name: self.name("first_name")?,
            last_name: self.name("last_name")?,
            attributes: self.get("attributes", "an object")?,
            roles,
        })
    }

    /// A tenant, whose key is the path's if that has one.
    pub(super) fn tenant(&self, key: Option<String>) -> Result<NewTenant, Refusal> {
        Ok(NewTenant {
            key: key.map_or_else(|| self.required_key("key"), Ok)?,
            name: self.name("name")?,
            description: self.name("description")?,
            attributes: self.get("attributes", "an object")?,
        })
    }

    /// A resource instance, whose name is the path's if that has one.
    pub(super) fn instance(&self, name: Option<String>) -> Result<NewInstance, Refusal> {
        let name = match name {
            Some(name) => name,
            None => {
                let (resource, key) = (self.required_key("resource")?, self.required_key("key")?);
                if resource.contains(':') {
                    return Err(self.fault("resource", "a type has no `:` in its name"));
                }
                format!("{resource}:{key}")
            }
        };
        let tenant = self.key("tenant")?;
        Ok(NewInstance { name, tenant, attributes: self.get("attributes", "an object")? })
    }

    /// A role of a user, who is the path's if that has one.
    pub(super) fn assignment(&self, user: Option<String>) -> Result<NewAssignment, Refusal> {
        let instance = self.get::<String>("resource_instance", "a string")?;
        let instance = instance.filter(|it| !it.is_empty());
        if let Some(instance) = &instance {
            check_instance(instance).map_err(|why| self.fault("resource_instance", &why))?;
        }
        let new = NewAssignment {
            user: user.map_or_else(|| self.required_key("user"), Ok)?,
            role: self.required_key("role")?,
            tenant: self.key("tenant")?,
            instance,
        };
        if new.tenant.is_none() && new.instance.is_none() {
            return Err(self.fault("tenant", "missing; give `tenant`, or `resource_instance`"));
        }
        Ok(new)
    }

    /// A relationship.
    pub(super) fn tuple(&self) -> Result<NewTuple, Refusal> {
        let end = |name: &str| {
            let given: Option<String> = self.get(name, "a string")?;
            let given = given.ok_or_else(|| self.missing(name))?;
            check_instance(&given).map_err(|why| self.fault(name, &why))?;
            Ok::<_, Refusal>(given)
        };
        Ok(NewTuple {
            subject: end("subject")?,
            relation: self.required_key("relation")?,
            object: end("object")?,
            tenant: self.key("tenant")?,
        })
    }

    fn required_key(&self, name: &str) -> Result<String, Refusal> {
        self.key(name)?.ok_or_else(|| self.missing(name))
    }

    fn key(&self, name: &str) -> Result<Option<String>, Refusal> {
        let key: Option<String> = self.get(name, "a string")?;
        if let Some(key) = &key {
            check_key(key).map_err(|why| self.fault(name, &why))?;
        }
        Ok(key)
    }

    /// A text for people.
    fn name(&self, name: &str) -> Result<Option<String>, Refusal> {
        let text: Option<String> = self.get(name, "a string")?;
        let limit = limits::MAX_NAME_BYTES;
        if text.as_ref().is_some_and(|text| text.len() > limit) {
            return Err(self.fault(name, &format!("at most {limit} bytes")));
        }
        Ok(text)
    }

    fn get<T: DeserializeOwned>(&self, name: &str, what: &str) -> Result<Option<T>, Refusal> {
        let raw = self.members.get(name).filter(|raw| raw.get() != "null");
        let value = raw.map(|raw| parse(raw.get(), what)).transpose();
        value.map_err(|why| self.fault(name, &why))
    }

    fn missing(&self, name: &str) -> Refusal {
        self.fault(name, "missing; it is needed")
    }

    fn fault(&self, name: &str, why: &str) -> Refusal {
        Refusal::of_body(&self.at(name), why)
    }

    fn at<'n>(&'n self, name: &'n str) -> Vec<&'n str> {
        self.place.iter().map(String::as_str).chain([name]).collect()
    }
}

/// Checks the key of a user, a tenant, a role, a type: anything that can be a segment of a path.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    let limit = limits::MAX_KEY_BYTES;
    let is_plain = !key.chars().any(char::is_control) && !matches!(key, "." | "..");
    if key.is_empty() || key.len() > limit || !is_plain {
        return Err(format!(
            "give 1 to {limit} bytes without control characters, other than `.` and `..`"
        ));
    }
    Ok(())
}

/// Checks the name of an instance.
pub(super) fn check_instance(name: &str) -> Result<(), String> {
    let parts = name.split_once(':');
    let (resource, key) = parts.ok_or("give `<type>:<key>`, such as `document:7`")?;
    check_key(resource).and_then(|()| check_key(key)).map_err(|why| format!("type and key: {why}"))
}

fn objects(list: Vec<Box<RawValue>>, place: &[&str]) -> Result<Vec<Body>, Refusal> {
    check_count(list.len(), place)?;
    let read = |(at, raw): (usize, Box<RawValue>)| {
        let at = at.to_string();
        let place: Vec<&str> = place.iter().copied().chain([at.as_str()]).collect();
        let members = parse(raw.get(), "an object");
        let members = members.map_err(|why| Refusal::of_body(&place, why))?;
        Ok(Body { place: place.into_iter().map(str::to_owned).collect(), members })
    };
    list.into_iter().enumerate().map(read).collect()
}

/// A body that can be read at all.
fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| Refusal::of_body(&[], "the body is not UTF-8: give JSON"))?;
    let (levels, limit) = (json::depth(text), limits::MAX_DATA_DEPTH);
    if levels > limit {
        let why = format!("{levels} levels are too many, the limit is {limit}");
        return Err(Refusal::of_body(&[], why));
    }
    Ok(text)
}

/// Reads JSON; what is said when it is something else repeats nothing of it.
fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => format!("give {what}"),
        _ => format!("the body is not valid JSON: {error}"),
    })
}
