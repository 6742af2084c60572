//! What is other in a revision than in the one that a client has.

use std::collections::BTreeMap;

use protocol::opal::policy::Revision;

use super::is_data;

/// Paths, in the order in which an opal-server lists them.
pub(super) struct Difference<'p> {
    /// Of files that are here now: those that are new, those that were moved, those whose text
    /// is another.
    pub(super) here: Vec<&'p str>,
    /// Of files that are gone: those that were deleted, those that were moved.
    pub(super) gone: Vec<&'p str>,
}

impl<'p> Difference<'p> {
    /// A file counts as moved if one with the same text is gone. (git also finds those whose text
    /// is nearly the same, and lists those that it finds twice. The texts of `base` are not kept.)
    pub(super) fn between(
        base: &'p Revision,
        now: &'p Revision,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut gone_with: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let gone = base.digests.iter().filter(|(path, _)| !now.digests.contains_key(*path));
        let mut gone: Vec<&str> = gone
            .map(|(path, digest)| {
                gone_with.entry(digest).or_default().push(path);
                path.as_str()
            })
            .collect();
        let (mut added, mut moved, mut changed) = (vec![], vec![], vec![]);
        for (path, digest) in &now.digests {
            match base.digests.get(path) {
                Some(before) if before == digest => {}
                Some(_) => changed.push(path.as_str()),
                None => {
                    match gone_with.get_mut(digest.as_str()).and_then(|from| take(from, path)) {
                        Some(from) => moved.push((from, path.as_str())),
                        None => added.push(path.as_str()),
                    }
                }
            }
        }
        gone.retain(|path| moved.iter().all(|(from, _)| from != path));
        gone.extend(moved.iter().map(|(from, _)| *from));
        let to = moved.iter().map(|(_, to)| *to);
        let here = added.into_iter().chain(to).chain(changed);
        gone.retain(|path| wanted(path));
        Self { here: here.filter(|path| wanted(path)).collect(), gone }
    }

    /// False if only modules are gone: clients with patterns of paths to ignore fail on that
    /// (§5.5), and on their own delete what is not in a complete bundle. Data that is gone they
    /// delete only when they are told.
    pub(super) fn can_be_told(&self) -> bool {
        self.gone.is_empty() || self.gone.iter().any(|path| is_data(path))
    }
}

/// Takes the path that has the same name as `path`, else the first.
fn take<'p>(from: &mut Vec<&'p str>, path: &str) -> Option<&'p str> {
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    let same = from.iter().position(|it| name(it) == name(path));
    (!from.is_empty()).then(|| from.remove(same.unwrap_or_default()))
}
