//! A call, carried out against what is kept.

use protocol::directory::{Call, Change, How, Kind, Refusal, Write};
use protocol::{Entry, Millis, limits};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::documents::{Document, raw};
use crate::draft::{Draft, Store, missing, too_many};
use crate::lists;
use crate::rows::{self, Instance, Tenant, User};
use crate::shown::Shower;

/// Bytes of an update besides its entries.
const ENVELOPE_BYTES: usize = 2_048;

/// What came of a call: what is answered, and what is to be written for that to be true.
#[derive(Debug)]
pub struct Done {
    /// The HTTP status, 200 to 204.
    pub status: u16,
    /// The body; none with 204.
    pub body: Option<Box<RawValue>>,
    /// The rows that change: a name, and its new text or nothing.
    pub rows: Vec<(String, Option<String>)>,
    /// What agents are told, in order, by document: one entry that is the document, or several
    /// that say that it is gone.
    pub told: Vec<(Document, Vec<Entry>)>,
}

/// Carries a call out. Nothing is written: what is to be written is in what comes back.
///
/// # Errors
/// Why it cannot be done; then nothing has to be done.
pub fn carry_out(store: &dyn Store, scope: &str, now: Millis, call: Call) -> Result<Done, Refusal> {
    let mut draft = Draft::new(store, now);
    let shower = Shower::new(scope);
    let (status, body) = match call {
        Call::Show(kind, key) => (200, Some(show(&draft, &shower, kind, &key)?)),
        Call::List(list) => (200, Some(lists::list(&draft, &shower, &list)?)),
        Call::Change(write) => change(&mut draft, &shower, write)?,
    };
    let mut told = vec![];
    let mut bytes = 0;
    for document in &draft.touched {
        let entries = document.entries(&draft)?;
        for entry in &entries {
            bytes += raw(entry)?.get().len() + 1;
        }
        told.push((document.clone(), entries));
    }
    if bytes + ENVELOPE_BYTES > limits::MAX_UPDATE_BYTES {
        return Err(too_many());
    }
    Ok(Done { status, body, rows: draft.into_rows().into_iter().collect(), told })
}

fn show(
    draft: &Draft<'_>,
    shower: &Shower<'_>,
    kind: Kind,
    key: &str,
) -> Result<Box<RawValue>, Refusal> {
    Ok(match kind {
        Kind::User => shower.user(&draft.find::<User>(kind, key)?)?,
        Kind::Tenant => shower.tenant(&draft.find::<Tenant>(kind, key)?)?,
        Kind::Instance => shower.instance(&draft.find::<Instance>(kind, key)?)?,
    })
}

type Answer = (u16, Option<Box<RawValue>>);

fn change(draft: &mut Draft<'_>, shower: &Shower<'_>, write: Write) -> Result<Answer, Refusal> {
    let Write { changes, is_bulk, shows_deleted } = write;
    let (mut answer, mut done, mut counted) = ((204, None), 0_usize, None);
    for (at, change) in changes.into_iter().enumerate() {
        counted = counted.or(match &change {
            Change::Assign(_) => Some("assignments_created"),
            Change::Unassign(_) => Some("assignments_removed"),
            _ => None,
        });
        match one(draft, shower, change, shows_deleted) {
            Ok(said) => {
                done += 1;
                answer = said;
            }
            Err(Failure::NotNeeded(_)) if is_bulk => {}
            Err(Failure::Refused(refusal)) if is_bulk => {
                return Err(placed(refusal, at, counted.is_some()));
            }
            Err(Failure::NotNeeded(refusal) | Failure::Refused(refusal)) => return Err(refusal),
        }
    }
    if is_bulk {
        let report = match counted {
            Some(name) => json!({ name: done }),
            None => json!({}),
        };
        return Ok((200, Some(raw(&report)?)));
    }
    Ok(answer)
}

/// Why a change was not made.
enum Failure {
    /// It is so already, which is no fault in a bulk call.
    NotNeeded(Refusal),
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for Failure {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into())
    }
}

fn one(
    draft: &mut Draft<'_>,
    shower: &Shower<'_>,
    change: Change,
    shows_deleted: bool,
) -> Result<Answer, Failure> {
    // Permit makes a tenant or an instance with 200, as it makes a user by POST; 201 is for a user
    // that PUT makes (`spec/critical-updates.md` §3.3).
    let status = |how, is_new: bool| if is_new && how == How::Replace { 201 } else { 200 };
    Ok(match change {
        Change::PutUser(how, new) => {
            let key = new.key.clone();
            let is_new = draft.put_user(how, new)?;
            (status(how, is_new), Some(show(draft, shower, Kind::User, &key)?))
        }
        Change::PutTenant(how, new) => {
            let key = new.key.clone();
            draft.put_tenant(how, new)?;
            (200, Some(show(draft, shower, Kind::Tenant, &key)?))
        }
        Change::PutInstance(how, new) => {
            let name = new.name.clone();
            draft.put_instance(how, new)?;
            (200, Some(show(draft, shower, Kind::Instance, &name)?))
        }
        Change::Delete(kind, key) => {
            if draft.get::<IgnoredAny>(&rows::name(rows::prefix(kind), &key))?.is_none() {
                return Err(Failure::NotNeeded(missing(kind, &key)));
            }
            match kind {
                Kind::User => draft.delete_user(&key)?,
                Kind::Tenant => draft.delete_tenant(&key)?,
                Kind::Instance => draft.delete_instance(&key)?,
            }
            (204, None)
        }
        Change::Assign(new) => {
            let (user, role) = (new.user.clone(), new.role.clone());
            match draft.assign(new)? {
                Some(made) => (200, Some(shower.assignment(&user, &made)?)),
                None => {
                    return Err(Failure::NotNeeded(Refusal::Duplicate(format!(
                        "user `{user}` has the role `{role}` there already"
                    ))));
                }
            }
        }
        Change::Unassign(old) => match draft.unassign(&old)? {
            Some(gone) if shows_deleted => (200, Some(shower.assignment(&old.user, &gone)?)),
            Some(_) => (204, None),
            None => {
                return Err(Failure::NotNeeded(Refusal::Missing(format!(
                    "user `{}` has no role `{}` there",
                    old.user, old.role
                ))));
            }
        },
        Change::Relate(new) => {
            let object = new.object.clone();
            match draft.relate(new)? {
                Some(made) => (200, Some(shower.tuple(&object, &made)?)),
                None => {
                    return Err(Failure::NotNeeded(Refusal::Duplicate(
                        "there is this relationship already".to_owned(),
                    )));
                }
            }
        }
        Change::Unrelate(old) => {
            if !draft.unrelate(&old)? {
                return Err(Failure::NotNeeded(Refusal::Missing(
                    "there is no such relationship".to_owned(),
                )));
            }
            (204, None)
        }
    })
}

/// A refusal of the operation of this number.
fn placed(refusal: Refusal, at: usize, is_list: bool) -> Refusal {
    match refusal {
        Refusal::Invalid { mut loc, msg } => {
            let operations = (!is_list).then(|| Value::from("operations"));
            loc.splice(1..1, operations.into_iter().chain([Value::from(at)]));
            Refusal::Invalid { loc, msg }
        }
        Refusal::Missing(message) => Refusal::Missing(format!("operation {at}: {message}")),
        Refusal::Duplicate(message) => Refusal::Duplicate(format!("operation {at}: {message}")),
        other => other,
    }
}
