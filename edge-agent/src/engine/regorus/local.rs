//! Policies and data that were put into this process and nowhere else, as into an OPA that has a
//! bundle: what came through Girasol is the bundle's and cannot be written to, what is beside it
//! can, and is gone with the process. Where the two meet, what comes through Girasol wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::commit;
use rego::{Builtins, Mistake, Policies, document};
use regorus::Value;

use super::places::Places;
use super::{Inner, PolicyModule, RegorusEngine, drop_elsewhere, lock};
use crate::enforcement::PACKAGE;

/// What is known of who wrote what.
#[derive(Default)]
pub(super) struct Local {
    /// The modules that came through Girasol.
    pub(super) scope: Vec<PolicyModule>,
    /// Their packages, if somebody has asked.
    packages: Option<Vec<Vec<String>>>,
    /// Where documents came through Girasol.
    pub(super) owned: Places,
    /// The other modules.
    modules: BTreeMap<String, String>,
    /// Where the other documents are.
    documents: Places,
    /// For how long the agent has not been current, in seconds; none if nobody has said so.
    pub(super) lag: Option<u64>,
}

/// Why nothing was written. The words of those that have some are OPA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalError {
    /// It is not this process's to write.
    Owned(String),
    /// There is something already, and it was to be written only if not.
    Exists,
    /// What is on the way has no members.
    Conflict(String),
    /// There is no such document, or policy.
    Missing(String),
    /// It is no patch, or would hide a rule.
    Invalid(String),
    /// A module that cannot be read.
    Unreadable(Vec<Mistake>),
    /// Modules that do not compile with a new one.
    Uncompiled(Vec<Mistake>),
    /// Modules that do not compile without one.
    Needed(Vec<Mistake>),
}

/// An operation of a patch, at its place in the whole document.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds a member, or an element before the one that is there.
    Add(Vec<String>, Value),
    /// Removes what is there.
    Remove(Vec<String>),
    /// Replaces what is there.
    Replace(Vec<String>, Value),
}

const NOT_THERE: &str = "document does not exist";

impl RegorusEngine {
    /// Puts a document beside those that came through Girasol, and makes its parents.
    ///
    /// # Errors
    /// It may not be there. Nothing has changed.
    pub fn put_local(
        &self,
        path: &[String],
        value: Value,
        only_new: bool,
    ) -> Result<(), LocalError> {
        self.inner.write_local(&[path], |data| {
            if document::get(data, path).is_none() {
                make_parents(data, path)?;
            } else if only_new {
                return Err(LocalError::Exists);
            }
            change(data, Change::Add(path.to_vec(), value)).map_err(|error| match error {
                // What is there can be replaced; what is not there has no place.
                LocalError::Missing(_) => conflict(path.split_last().map_or(&[], |it| it.1)),
                other => other,
            })
        })
    }

    /// Changes documents beside those that came through Girasol: all of it, or nothing.
    ///
    /// # Errors
    /// As [`Self::put_local`].
    pub fn patch_local(&self, changes: Vec<Change>) -> Result<(), LocalError> {
        let paths: Vec<Vec<String>> = changes.iter().map(|it| it.path().to_vec()).collect();
        let paths: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
        self.inner
            .write_local(&paths, |data| changes.into_iter().try_for_each(|it| change(data, it)))
    }

    /// Removes a document beside those that came through Girasol.
    ///
    /// # Errors
    /// As [`Self::put_local`].
    pub fn delete_local(&self, path: &[String]) -> Result<(), LocalError> {
        self.inner.write_local(&[path], |data| change(data, Change::Remove(path.to_vec())))
    }

    /// Puts a module beside those that came through Girasol.
    ///
    /// # Errors
    /// As [`Self::put_local`]; it does not compile with the others.
    pub fn put_local_policy(&self, id: &str, text: &str) -> Result<(), LocalError> {
        let inner = &self.inner;
        let mut local = lock(&inner.turn);
        inner.check_module_is_local(&mut local, id)?;
        if local.modules.get(id).is_some_and(|known| known == text) {
            return Ok(());
        }
        let package = rego::package(id, text, inner.language)
            .map_err(|refused| LocalError::Unreadable(refused.mistakes))?;
        inner.check_is_local(&mut local, &package)?;
        let added = [(id.to_owned(), text.to_owned())];
        let modules = local.modules.iter().map(|(id, text)| (id.clone(), text.clone()));
        let modules: BTreeMap<_, _> = modules.chain(added).collect();
        inner.replace_local(&mut local, modules).map_err(LocalError::Uncompiled)
    }

    /// Takes a module away that was put beside those that came through Girasol.
    ///
    /// # Errors
    /// There is none of that id, or it is needed.
    pub fn delete_local_policy(&self, id: &str) -> Result<(), LocalError> {
        let inner = &self.inner;
        let mut local = lock(&inner.turn);
        inner.check_module_is_local(&mut local, id)?;
        let mut modules = local.modules.clone();
        if modules.remove(id).is_none() {
            return Err(LocalError::Missing(format!("policy id \"{id}\"")));
        }
        inner.replace_local(&mut local, modules).map_err(LocalError::Needed)
    }

    /// All modules: pairs of id and text, in the order of their ids.
    pub(crate) fn modules(&self) -> Vec<(String, String)> {
        let local = lock(&self.inner.turn);
        let scope = local.scope.iter().map(|module| (module.id.clone(), module.rego.clone()));
        let own = local.modules.iter().map(|(id, text)| (id.clone(), text.clone()));
        own.chain(scope).collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

// === impl Inner ===

impl Inner {
    fn write_local(
        &self,
        paths: &[&[String]],
        write: impl FnOnce(&mut Value) -> Result<(), LocalError>,
    ) -> Result<(), LocalError> {
        let mut local = lock(&self.turn);
        paths.iter().try_for_each(|path| self.check_is_local(&mut local, path))?;
        self.versions.replace_all(|policies, mut data| {
            write(&mut data)?;
            if let Some(Mistake { file, row, reason, .. }) = policies.hidden(&data) {
                let reason =
                    format!("1 error occurred: {file}:{row}: rego_compile_error: {reason}");
                return Err(LocalError::Invalid(reason));
            }
            Ok((Arc::clone(policies), data, ()))
        })?;
        paths.iter().for_each(|path| local.documents.add(path));
        Ok(())
    }

    /// Refuses what is not this process's to write.
    fn check_is_local(&self, local: &mut Local, path: &[String]) -> Result<(), LocalError> {
        let owned = |text: String| Err(LocalError::Owned(text));
        if path.is_empty() {
            return owned("can't write to document root with bundle roots configured".to_owned());
        }
        if local.owned.is_all() {
            return owned(format!("all paths owned by bundle {BUNDLE:?}"));
        }
        // Whoever writes `permit` answers `/allowed`.
        let reserved = [commit::RESERVED, PACKAGE];
        let is_reserved = path.first().is_some_and(|it| reserved.contains(&it.as_str()));
        let overlaps =
            |package: &Vec<String>| package.starts_with(path) || path.starts_with(package);
        let packages = local.packages(self.language);
        if is_reserved || packages.iter().any(overlaps) || local.owned.overlap(path) {
            return owned(format!("path {} is owned by bundle {BUNDLE:?}", path.join("/")));
        }
        Ok(())
    }

    /// Refuses a module that came through Girasol, in the name of its package.
    fn check_module_is_local(&self, local: &mut Local, id: &str) -> Result<(), LocalError> {
        let found = local.scope.iter().find(|module| module.id == id);
        let package = found.map(|it| rego::package(&it.id, &it.rego, self.language));
        match package {
            Some(Ok(package)) => self.check_is_local(local, &package),
            // It compiled, so this is not so.
            Some(Err(refused)) => Err(LocalError::Unreadable(refused.mistakes)),
            None => Ok(()),
        }
    }

    fn replace_local(
        &self,
        local: &mut Local,
        modules: BTreeMap<String, String>,
    ) -> Result<(), Vec<Mistake>> {
        let policies = self.compiled_with(&local.scope, &modules)?;
        self.versions.replace_all(|_, data| match policies.hidden(&data) {
            None => Ok((Arc::new(policies), data, ())),
            Some(hidden) => Err(vec![hidden]),
        })?;
        local.modules = modules;
        Ok(())
    }

    fn compiled_with(
        &self,
        scope: &[PolicyModule],
        modules: &BTreeMap<String, String>,
    ) -> Result<Policies, Vec<Mistake>> {
        let scope = scope.iter().map(|module| (module.id.as_str(), module.rego.as_str()));
        let own = modules.iter().map(|(id, text)| (id.as_str(), text.as_str()));
        let compiled = Policies::compile(scope.chain(own), self.language, Builtins::Embedded);
        compiled.map(|it| it.within(self.limit)).map_err(|refused| refused.mistakes)
    }

    /// `policies`, which are those of `scope`, together with the modules of this process that can
    /// stay beside them. Data of this process that would hide a rule of `scope` is removed.
    ///
    /// # Errors
    /// Data that came through Girasol would hide a rule.
    pub(super) fn beside(
        &self,
        local: &mut Local,
        scope: &[PolicyModule],
        policies: Policies,
        data: &mut Value,
    ) -> Result<Policies, document::Refused> {
        if !local.documents.is_empty() && policies.check_data(data).is_err() {
            for path in local.documents.take(&[]) {
                let found = document::get(data, &path);
                let hides = found.is_some_and(|it| policies.check_put(&path, it).is_err());
                if hides {
                    warn("a document", &path.join("/"));
                    document::remove(data, &path);
                } else {
                    local.documents.add(&path);
                }
            }
        }
        policies.check_data(data)?;
        local.scope = scope.to_vec();
        local.packages = None;
        if local.modules.is_empty() {
            return Ok(policies);
        }
        let modules = std::mem::take(&mut local.modules);
        let packages = local.packages(self.language).to_vec();
        let is_free = |(id, text): &(String, String)| {
            let package = rego::package(id, text, self.language).unwrap_or_default();
            let taken = scope.iter().any(|module| module.id == *id)
                || packages.iter().any(|it| it.starts_with(&package) || package.starts_with(it));
            if taken {
                warn("the policy", id);
            }
            !taken
        };
        let modules: BTreeMap<_, _> = modules.into_iter().filter(is_free).collect();
        let together = self.compiled_with(scope, &modules).ok();
        match together.filter(|together| together.check_data(data).is_ok()) {
            Some(together) => {
                local.modules = modules;
                Ok(together)
            }
            None => {
                modules.keys().for_each(|id| warn("the policy", id));
                Ok(policies)
            }
        }
    }

    /// Removes what this process has at places where something comes through Girasol, and notes
    /// those. True if something was removed.
    pub(super) fn make_way(local: &mut Local, data: &mut Value, path: &[String]) -> bool {
        if local.documents.is_empty() {
            return false;
        }
        let in_the_way = local.documents.take(path);
        for path in &in_the_way {
            warn("a document", &path.join("/"));
            document::remove(data, path);
        }
        !in_the_way.is_empty()
    }

    /// True if a write at `path` has to [`Self::make_way`].
    pub(super) fn is_in_the_way(local: &Local, path: &[String]) -> bool {
        local.documents.overlap(path)
    }
}

/// What an OPA would have all this from.
const BUNDLE: &str = "girasol";

fn warn(what: &str, name: &str) {
    tracing::warn!(
        name,
        "{what} that was put into this agent alone is gone: Girasol has something there now"
    );
}

// === impl Local ===

impl Local {
    fn packages(&mut self, language: super::Language) -> &[Vec<String>] {
        let Self { packages, scope, .. } = self;
        packages.get_or_insert_with(|| {
            let package = |it: &PolicyModule| rego::package(&it.id, &it.rego, language).ok();
            scope.iter().filter_map(package).collect()
        })
    }
}

// === impl Change ===

impl Change {
    fn path(&self) -> &[String] {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Replace(path, _) => path,
        }
    }
}

fn conflict(path: &[String]) -> LocalError {
    let place: String = path.iter().map(|segment| format!("/{segment}")).collect();
    LocalError::Conflict(format!("storage_write_conflict_error: {place}"))
}

/// Makes the objects that lead to `path`, below the deepest that is there.
fn make_parents(data: &mut Value, path: &[String]) -> Result<(), LocalError> {
    let parents = path.split_last().map_or(&[][..], |(_, parents)| parents);
    let above = (0..=parents.len()).rev().filter_map(|length| parents.get(..length));
    let found = above.into_iter().find_map(|at| Some((at, document::get(data, at)?)));
    match found {
        Some((at, Value::Object(_))) if at.len() == parents.len() => Ok(()),
        Some((_, Value::Object(_))) => {
            let made = document::put(data, parents, Value::new_object());
            made.map(drop).map_err(|_| conflict(parents))
        }
        Some((at, _)) => Err(conflict(at)),
        // The whole document is there.
        None => Ok(()),
    }
}

/// Carries an operation out.
fn change(data: &mut Value, change: Change) -> Result<(), LocalError> {
    let missing = |why: &str| LocalError::Missing(why.to_owned());
    let path = change.path().to_vec();
    let Some((last, parents)) = path.split_last() else { return Err(missing(NOT_THERE)) };
    let parent = document::get_mut(data, parents).ok_or_else(|| missing(NOT_THERE))?;
    if let Ok(object) = parent.as_object_mut() {
        let name = Value::from(last.as_str());
        let is_there = object.contains_key(&name);
        let old = match change {
            Change::Add(_, value) => object.insert(name, value),
            Change::Replace(_, value) if is_there => object.insert(name, value),
            Change::Remove(_) if is_there => object.remove(&name),
            _ => return Err(missing(NOT_THERE)),
        };
        old.into_iter().for_each(drop_elsewhere);
        return Ok(());
    }
    let Ok(array) = parent.as_array_mut() else { return Err(missing(NOT_THERE)) };
    let place: String = path.iter().map(|segment| format!("/{segment}")).collect();
    if last == "-" {
        let Change::Add(_, value) = change else {
            let reason = format!("storage_invalid_patch_error: {place}: invalid patch path");
            return Err(LocalError::Invalid(reason));
        };
        array.push(value);
        return Ok(());
    }
    let index = last
        .parse::<usize>()
        .map_err(|_| missing(&format!("{place}: array index must be integer")))?;
    if index >= array.len() {
        return Err(missing(&format!("{place}: array index out of range")));
    }
    let mut elements = std::mem::take(array).into_vec();
    match change {
        Change::Add(_, value) => elements.insert(index, value),
        Change::Remove(_) => drop(elements.remove(index)),
        Change::Replace(_, value) => {
            if let Some(slot) = elements.get_mut(index) {
                *slot = value;
            }
        }
    }
    array.extend(elements);
    Ok(())
}
