//! Lists, in the order of keys, a part at a time.

use protocol::Problem;
use protocol::directory::{Kind, List, Listed, Refusal};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::documents::raw;
use crate::draft::Draft;
use crate::rows::{self, Index, Instance, RELATIONS, Relation, Tenant, USERS, User};
use crate::shown::Shower;

/// Names that are read together.
const PAGE: usize = 500;

/// A part of a list with the number of all.
#[derive(Serialize)]
struct Counted {
    data: Vec<Box<RawValue>>,
    total_count: usize,
    page_count: usize,
}

/// What of all that fits is shown.
struct Window {
    from: usize,
    to: usize,
    seen: usize,
    is_counted: bool,
    shown: Vec<Box<RawValue>>,
}

impl Window {
    /// Takes one that fits.
    fn take(
        &mut self,
        show: impl FnOnce() -> Result<Box<RawValue>, Problem>,
    ) -> Result<(), Problem> {
        if (self.from..self.to).contains(&self.seen) {
            self.shown.push(show()?);
        }
        self.seen += 1;
        Ok(())
    }

    /// True if nothing that comes makes a difference.
    fn is_done(&self) -> bool {
        self.seen >= self.to && !self.is_counted
    }
}

/// Lists things.
pub(crate) fn list(
    draft: &Draft<'_>,
    shower: &Shower<'_>,
    list: &List,
) -> Result<Box<RawValue>, Refusal> {
    let from = list.page.saturating_sub(1).saturating_mul(list.per_page);
    let to = from.saturating_add(list.per_page);
    let is_counted = list.is_counted;
    let mut window = Window { from, to, seen: 0, is_counted, shown: vec![] };
    let filter = |name: &str| list.filter.get(name).map(String::as_str);
    let fits = |name: &str, value: &str| filter(name).is_none_or(|wanted| wanted == value);
    match list.of {
        Listed::Users => {
            let search = filter("search").map(str::to_lowercase);
            let in_tenant = filter("tenant");
            let found = |user: &User| {
                let has = |text: &str| {
                    search.as_ref().is_none_or(|search| text.to_lowercase().contains(search))
                };
                let is_in = |tenant: &str| {
                    user.assignments.iter().any(|it| it.instance.is_none() && it.tenant == tenant)
                };
                (has(&user.key) || user.email.as_deref().is_some_and(has))
                    && in_tenant.is_none_or(is_in)
            };
            let is_plain = search.is_none() && in_tenant.is_none();
            let keys = in_tenant.map(|tenant| draft.noted(Index::UsersOfTenant(tenant)));
            match keys.transpose()? {
                Some(keys) => {
                    let rows = keys.iter().map(|key| draft.find::<User>(Kind::User, key).ok());
                    for user in rows.flatten().filter(found) {
                        window.take(|| shower.user(&user))?;
                    }
                }
                None if is_plain => {
                    // Only those that are shown are read.
                    names(draft, USERS, &mut window, |name, window| {
                        let user = || draft.get::<User>(name)?.ok_or_else(unreadable);
                        window.take(|| shower.user(&user()?))
                    })?;
                }
                None => names(draft, USERS, &mut window, |name, window| {
                    match draft.get::<User>(name)?.filter(found) {
                        Some(user) => window.take(|| shower.user(&user)),
                        None => Ok(()),
                    }
                })?,
            }
        }
        Listed::Tenants => {
            let search = filter("search").map(str::to_lowercase);
            names(draft, rows::TENANTS, &mut window, |name, window| {
                let Some(tenant) = draft.get::<Tenant>(name)? else { return Ok(()) };
                let has = |text: &str| {
                    search.as_ref().is_none_or(|search| text.to_lowercase().contains(search))
                };
                if has(&tenant.key) || has(&tenant.name) {
                    window.take(|| shower.tenant(&tenant))?;
                }
                Ok(())
            })?;
        }
        Listed::Assignments => {
            let of_user = |user: &User, window: &mut Window| {
                for it in &user.assignments {
                    let instance = it.instance.as_deref().unwrap_or_default();
                    let resource = match &it.instance {
                        Some(instance) => rows::parts(instance).0,
                        None => "__tenant",
                    };
                    if fits("role", &it.role)
                        && fits("tenant", &it.tenant)
                        && fits("resource_instance", instance)
                        && fits("resource", resource)
                    {
                        window.take(|| shower.assignment(&user.key, it))?;
                    }
                }
                Ok(())
            };
            let keys = match (filter("user"), filter("resource_instance")) {
                (Some(user), _) => Some(vec![user.to_owned()]),
                (None, Some(instance)) => Some(draft.noted(Index::UsersOfInstance(instance))?),
                (None, None) => None,
            };
            match keys {
                Some(keys) => {
                    for key in keys {
                        if let Some(user) = draft.get::<User>(&rows::name(USERS, &key))? {
                            of_user(&user, &mut window)?;
                        }
                    }
                }
                None => names(draft, USERS, &mut window, |name, window| {
                    let user = draft.get::<User>(name)?;
                    user.map_or(Ok(()), |user| of_user(&user, window))
                })?,
            }
        }
        Listed::Instances => {
            let all = match filter("resource") {
                Some(resource) => rows::name(rows::INSTANCES, &format!("{resource}:")),
                None => rows::INSTANCES.to_owned(),
            };
            names(draft, &all, &mut window, |name, window| {
                match draft.get::<Instance>(name)?.filter(|it| fits("tenant", &it.tenant)) {
                    Some(instance) => window.take(|| shower.instance(&instance)),
                    None => Ok(()),
                }
            })?;
        }
        Listed::Tuples => {
            let of_object = |object: &str, window: &mut Window| {
                let relations: Option<Vec<Relation>> = draft.get(&rows::name(RELATIONS, object))?;
                for it in relations.iter().flatten() {
                    if fits("subject", &it.subject)
                        && fits("relation", &it.relation)
                        && fits("tenant", &it.tenant)
                    {
                        window.take(|| shower.tuple(object, it))?;
                    }
                }
                Ok(())
            };
            let objects = match (filter("object"), filter("subject")) {
                (Some(object), _) => Some(vec![object.to_owned()]),
                (None, Some(subject)) => Some(draft.noted(Index::ObjectsOfInstance(subject))?),
                (None, None) => None,
            };
            match objects {
                Some(objects) => {
                    objects.iter().try_for_each(|object| of_object(object, &mut window))?;
                }
                None => names(draft, RELATIONS, &mut window, |name, window| {
                    let object = name.strip_prefix(RELATIONS).map(rows::unescape);
                    of_object(&object.unwrap_or_default(), window)
                })?,
            }
        }
    }
    let Window { seen, shown, .. } = window;
    if !is_counted {
        return Ok(raw(&shown)?);
    }
    let page_count = seen.div_ceil(list.per_page.max(1));
    Ok(raw(&Counted { data: shown, total_count: seen, page_count })?)
}

/// Goes through all names that begin so.
fn names(
    draft: &Draft<'_>,
    prefix: &str,
    window: &mut Window,
    mut each: impl FnMut(&str, &mut Window) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut after = String::new();
    while !window.is_done() {
        let page = draft.store.names_after(prefix, &after, PAGE)?;
        let Some(last) = page.last() else { break };
        after.clone_from(last);
        for name in &page {
            each(name, window)?;
        }
    }
    Ok(())
}

fn unreadable() -> Problem {
    Problem::internal("a row has gone while it was listed")
}
