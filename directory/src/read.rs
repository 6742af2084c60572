//! From a request to a [`Call`]: one table of paths
//! (`spec/critical-updates.md` §3.1, §3.2, §7.4).

mod body;
mod query;

use protocol::directory::{Call, Change, How, Kind, Listed, Refusal, Write};
use protocol::{Problem, limits};

use body::{Body, check_instance, check_key};

/// A request below `/v2/facts/{project}/{environment}/`, as a row of the table sees it.
struct Asked<'a> {
    /// What stands in the place of the path's variable, if it has one.
    key: String,
    query: &'a str,
    body: &'a [u8],
}

type Read = fn(&Asked<'_>) -> Result<Call, Refusal>;

/// The table. A `*` stands for any one segment.
const ROUTES: &[(&str, &[&str], Read)] = &[
    ("GET", &["users"], |it| it.list(Listed::Users)),
    ("POST", &["users"], |it| one(Change::PutUser(How::Create, it.body()?.user(None)?))),
    ("GET", &["users", "*"], |it| it.show(Kind::User)),
    ("PUT", &["users", "*"], |it| it.put_user(How::Replace)),
    ("PATCH", &["users", "*"], |it| it.put_user(How::Update)),
    ("DELETE", &["users", "*"], |it| it.delete(Kind::User)),
    ("POST", &["users", "*", "roles"], |it| {
        one(Change::Assign(it.body()?.assignment(Some(it.key()?))?))
    }),
    ("DELETE", &["users", "*", "roles"], |it| {
        it.shown(Change::Unassign(it.body()?.assignment(Some(it.key()?))?))
    }),
    ("GET", &["role_assignments"], |it| it.list(Listed::Assignments)),
    ("POST", &["role_assignments"], |it| one(Change::Assign(it.body()?.assignment(None)?))),
    ("DELETE", &["role_assignments"], |it| {
        it.shown(Change::Unassign(it.body()?.assignment(None)?))
    }),
    ("POST", &["role_assignments", "bulk"], |it| {
        bulk(&Body::list(it.body)?, |it| Ok(Change::Assign(it.assignment(None)?)))
    }),
    ("DELETE", &["role_assignments", "bulk"], |it| {
        bulk(&Body::list(it.body)?, |it| Ok(Change::Unassign(it.assignment(None)?)))
    }),
    ("GET", &["tenants"], |it| it.list(Listed::Tenants)),
    ("POST", &["tenants"], |it| one(Change::PutTenant(How::Create, it.body()?.tenant(None)?))),
    ("GET", &["tenants", "*"], |it| it.show(Kind::Tenant)),
    ("PATCH", &["tenants", "*"], |it| {
        one(Change::PutTenant(How::Update, it.body()?.tenant(Some(it.key()?))?))
    }),
    ("DELETE", &["tenants", "*"], |it| it.delete(Kind::Tenant)),
    ("GET", &["tenants", "*", "users"], |it| it.users_of_tenant()),
    ("GET", &["resource_instances"], |it| it.list(Listed::Instances)),
    ("POST", &["resource_instances"], |it| {
        one(Change::PutInstance(How::Create, it.body()?.instance(None)?))
    }),
    ("GET", &["resource_instances", "*"], |it| it.show(Kind::Instance)),
    ("PATCH", &["resource_instances", "*"], |it| {
        one(Change::PutInstance(How::Update, it.body()?.instance(Some(it.instance()?))?))
    }),
    ("DELETE", &["resource_instances", "*"], |it| it.delete(Kind::Instance)),
    ("GET", &["relationship_tuples"], |it| it.list(Listed::Tuples)),
    ("POST", &["relationship_tuples"], |it| one(Change::Relate(it.body()?.tuple()?))),
    ("DELETE", &["relationship_tuples"], |it| one(Change::Unrelate(it.body()?.tuple()?))),
    ("POST", &["relationship_tuples", "bulk"], |it| {
        bulk(&it.body()?.operations("operations")?, |it| Ok(Change::Relate(it.tuple()?)))
    }),
    ("DELETE", &["relationship_tuples", "bulk"], |it| {
        bulk(&it.body()?.operations("idents")?, |it| Ok(Change::Unrelate(it.tuple()?)))
    }),
    ("POST", &["bulk", "users"], |it| it.put_users(How::Create)),
    ("PUT", &["bulk", "users"], |it| it.put_users(How::Replace)),
    ("DELETE", &["bulk", "users"], |it| it.delete_all(Kind::User)),
    ("POST", &["bulk", "tenants"], |it| {
        bulk(&it.body()?.operations("operations")?, |it| {
            Ok(Change::PutTenant(How::Create, it.tenant(None)?))
        })
    }),
    ("DELETE", &["bulk", "tenants"], |it| it.delete_all(Kind::Tenant)),
    ("PUT", &["bulk", "resource_instances"], |it| {
        bulk(&it.body()?.operations("operations")?, |it| {
            Ok(Change::PutInstance(How::Replace, it.instance(None)?))
        })
    }),
    ("DELETE", &["bulk", "resource_instances"], |it| it.delete_all(Kind::Instance)),
];

/// Reads a request: its method, the segments of its path below
/// `/v2/facts/{project}/{environment}/`, each decoded once, what stands behind the `?`, and its
/// body.
///
/// # Errors
/// 404 for another path, 405 for another method, 422 for what is wrong in path, query or body.
pub fn read(method: &str, segments: &[String], query: &str, body: &[u8]) -> Result<Call, Refusal> {
    let here = || ROUTES.iter().filter_map(|row| Some((row, variable(row.1, segments)?)));
    if let Some(((_, _, read), key)) = here().find(|((it, _, _), _)| *it == method) {
        return read(&Asked { key, query, body });
    }
    let methods: Vec<&str> = here().map(|((method, _, _), _)| *method).collect();
    Err(Refusal::Other(match methods.is_empty() {
        true => Problem::not_found("Not Found"),
        false => Problem::new(405, format!("Method Not Allowed; use {}", methods.join(" or "))),
    }))
}

/// What stands in the place of a pattern's variable; none if the path does not fit.
fn variable(pattern: &[&str], segments: &[String]) -> Option<String> {
    let fits = |(wanted, segment): (&&str, &String)| *wanted == "*" || wanted == segment;
    if pattern.len() != segments.len() || !pattern.iter().zip(segments).all(fits) {
        return None;
    }
    let mut both = pattern.iter().zip(segments);
    Some(both.find(|(it, _)| **it == "*").map(|(_, key)| key.clone()).unwrap_or_default())
}

fn one(change: Change) -> Result<Call, Refusal> {
    Ok(Call::Change(Write { changes: vec![change], is_bulk: false, shows_deleted: false }))
}

fn bulk(
    operations: &[Body],
    read: impl Fn(&Body) -> Result<Change, Refusal>,
) -> Result<Call, Refusal> {
    let changes = operations.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Call::Change(Write { changes, is_bulk: true, shows_deleted: false }))
}

// === impl Asked ===

impl Asked<'_> {
    fn body(&self) -> Result<Body, Refusal> {
        Body::object(self.body)
    }

    fn key(&self) -> Result<String, Refusal> {
        check_key(&self.key).map_err(|why| Refusal::of_path("key", why))?;
        Ok(self.key.clone())
    }

    fn instance(&self) -> Result<String, Refusal> {
        check_instance(&self.key).map_err(|why| Refusal::of_path("instance", why))?;
        Ok(self.key.clone())
    }

    fn key_of(&self, kind: Kind) -> Result<String, Refusal> {
        if kind == Kind::Instance { self.instance() } else { self.key() }
    }

    fn show(&self, kind: Kind) -> Result<Call, Refusal> {
        Ok(Call::Show(kind, self.key_of(kind)?))
    }

    fn list(&self, of: Listed) -> Result<Call, Refusal> {
        Ok(Call::List(query::list(self.query, of)?))
    }

    fn users_of_tenant(&self) -> Result<Call, Refusal> {
        let mut list = query::list(self.query, Listed::Users)?;
        list.filter.insert("tenant".to_owned(), self.key()?);
        Ok(Call::List(list))
    }

    fn put_user(&self, how: How) -> Result<Call, Refusal> {
        one(Change::PutUser(how, self.body()?.user(Some(self.key()?))?))
    }

    fn put_users(&self, how: How) -> Result<Call, Refusal> {
        bulk(&self.body()?.operations("operations")?, |it| Ok(Change::PutUser(how, it.user(None)?)))
    }

    fn delete(&self, kind: Kind) -> Result<Call, Refusal> {
        one(Change::Delete(kind, self.key_of(kind)?))
    }

    fn delete_all(&self, kind: Kind) -> Result<Call, Refusal> {
        let idents = self.body()?.idents(kind)?;
        let changes = idents.into_iter().map(|key| Change::Delete(kind, key)).collect();
        Ok(Call::Change(Write { changes, is_bulk: true, shows_deleted: false }))
    }

    /// A change whose answer may be what it has taken away.
    fn shown(&self, change: Change) -> Result<Call, Refusal> {
        let shows_deleted = query::is_true(self.query, "return_deleted")?;
        Ok(Call::Change(Write { changes: vec![change], is_bulk: false, shows_deleted }))
    }
}

/// A bulk call of too many operations.
fn check_count(count: usize, place: &[&str]) -> Result<(), Refusal> {
    let limit = limits::MAX_BULK_OPERATIONS;
    if count > limit {
        let why =
            format!("{count} operations are too many, the limit is {limit}; send them in parts");
        return Err(Refusal::of_body(place, why));
    }
    Ok(())
}
