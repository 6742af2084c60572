//! Which objects of a pack are known, and which wait for their base.

use std::collections::BTreeMap;

use crate::error::GitError;
use crate::limits::Limits;
use crate::object::{Kind, ObjectId, Objects};

use super::delta::Delta;
use super::entry::{Content, Entry, wrong_at};

/// What a change is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    Place(u64),
    Id(ObjectId),
}

/// A change whose base is not known yet.
#[derive(Debug)]
struct Waiting {
    start: u64,
    delta: Vec<u8>,
}

/// Puts the objects of a pack together, and into the store.
#[derive(Debug)]
pub(super) struct Resolver {
    object_bytes: usize,
    inflated_bytes: u64,
    waiting_bytes: usize,
    /// Where each object begins, ascending, and its id as soon as that is known.
    known: Vec<(u64, Option<ObjectId>)>,
    waiting: BTreeMap<Base, Vec<Waiting>>,
    /// Bytes of what waits.
    bytes: usize,
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { object_bytes, inflated_bytes, waiting_bytes, .. } = *limits;
        let (known, waiting) = (vec![], BTreeMap::new());
        Self { object_bytes, inflated_bytes, waiting_bytes, known, waiting, bytes: 0 }
    }

    /// Takes in the next object, and all that waited for it. `inflated` is what the objects
    /// before it have in bytes together; the result is how much the changes add to it.
    pub(super) fn add(
        &mut self,
        entry: Entry,
        data: Vec<u8>,
        inflated: u64,
        objects: &mut dyn Objects,
    ) -> Result<u64, GitError> {
        let start = entry.start;
        self.known.push((start, None));
        let mut made = 0;
        let mut done = match entry.content {
            Content::Whole(kind) => vec![self.keep(start, kind, &data, objects)?],
            Content::ChangeOfPlace(place) => match self.at(place) {
                Some(Some(id)) => {
                    vec![self.change(start, &data, &id, (inflated, &mut made), objects)?]
                }
                Some(None) => return self.wait(Base::Place(place), start, data).map(|()| 0),
                None => {
                    let reason = format!("its base is to be at byte {place}, where none begins");
                    return Err(entry.wrong(reason));
                }
            },
            Content::ChangeOf(id) if objects.has(&id)? => {
                vec![self.change(start, &data, &id, (inflated, &mut made), objects)?]
            }
            Content::ChangeOf(id) => return self.wait(Base::Id(id), start, data).map(|()| 0),
        };
        while let Some((start, id)) = done.pop() {
            for base in [Base::Place(start), Base::Id(id)] {
                for waiting in self.waiting.remove(&base).unwrap_or_default() {
                    self.bytes = self.bytes.saturating_sub(waiting.delta.len());
                    let Waiting { start, delta } = waiting;
                    done.push(self.change(start, &delta, &id, (inflated, &mut made), objects)?);
                }
            }
        }
        Ok(made)
    }

    /// Nothing may wait any more.
    pub(super) fn finish(&self) -> Result<(), GitError> {
        // One that waits for an id is at the root of all that wait for a place.
        let first = self.waiting.iter().find_map(|(base, waiting)| match base {
            Base::Id(id) => Some((*id, waiting.first()?.start)),
            Base::Place(_) => None,
        });
        match first {
            Some((id, start)) => Err(GitError::Missing {
                id,
                whose: format!(
                    "the object at byte {start} of the pack, a change of it (unless such changes \
                     form a loop),"
                ),
            }),
            None => Ok(()),
        }
    }

    /// The object that begins here: none if there is none, none within if it waits.
    fn at(&self, place: u64) -> Option<Option<ObjectId>> {
        let index = self.known.binary_search_by_key(&place, |(start, _)| *start).ok()?;
        self.known.get(index).map(|(_, id)| *id)
    }

    fn wait(&mut self, base: Base, start: u64, delta: Vec<u8>) -> Result<(), GitError> {
        self.bytes += delta.len();
        let limit = self.waiting_bytes;
        if self.bytes > limit {
            return Err(wrong_at(
                start,
                format!("its base comes later, and what waits for its base is over {limit} bytes"),
            ));
        }
        self.waiting.entry(base).or_default().push(Waiting { start, delta });
        Ok(())
    }

    /// Makes an object from its base, which is in the store.
    fn change(
        &mut self,
        start: u64,
        delta: &[u8],
        base: &ObjectId,
        (inflated, made): (u64, &mut u64),
        objects: &mut dyn Objects,
    ) -> Result<(u64, ObjectId), GitError> {
        let wrong = |reason: &str| wrong_at(start, format!("{reason} (its base is {base})"));
        let delta = Delta::parse(delta).map_err(wrong)?;
        if delta.size > self.object_bytes {
            let (size, limit) = (delta.size, self.object_bytes);
            return Err(wrong(&format!("it has {size} bytes, the limit of one object is {limit}")));
        }
        *made += delta.size as u64;
        if inflated.saturating_add(*made) > self.inflated_bytes {
            let limit = self.inflated_bytes;
            return Err(wrong(&format!("with it the pack inflates beyond the limit, {limit}")));
        }
        let base = objects.get(base)?.ok_or_else(|| GitError::Missing {
            id: *base,
            whose: format!("the object at byte {start} of the pack, a change of it,"),
        })?;
        let data = delta.apply(&base.data).map_err(wrong)?;
        self.keep(start, base.kind, &data, objects)
    }

    fn keep(
        &mut self,
        start: u64,
        kind: Kind,
        data: &[u8],
        objects: &mut dyn Objects,
    ) -> Result<(u64, ObjectId), GitError> {
        let id = ObjectId::of(kind, data);
        objects.put(id, kind, data)?;
        if let Ok(index) = self.known.binary_search_by_key(&start, |(start, _)| *start)
            && let Some((_, known)) = self.known.get_mut(index)
        {
            *known = Some(id);
        }
        Ok((start, id))
    }
}
