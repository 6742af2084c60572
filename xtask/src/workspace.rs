//! Where things are: the checkout, cargo's build folder, the cache of installed tools.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, versions};

/// The checkout this task runner was built from, and the folders it works in. All paths absolute.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// Finds the folders, without creating them.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is outside of its workspace")?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(folder)?,
            None => root.join("target"),
        };
        let cache = std::path::absolute(cache_folder(|name| env::var_os(name))?)?;
        Ok(Self { root: root.to_owned(), target, cache })
    }

    /// A path in the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A path in cargo's build folder.
    pub(crate) fn built(&self, relative: &str) -> PathBuf {
        self.target.join(relative)
    }

    /// A path in the cache, which checkouts share and which outlives all of them.
    pub(crate) fn cached(&self, relative: &str) -> PathBuf {
        self.cache.join(relative)
    }

    /// A program that works in the checkout. Should it start cargo, that uses our build folder.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = process::command(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// `cargo <arguments>`, separated by spaces, in the checkout.
    pub(crate) fn cargo(&self, arguments: &str) -> Command {
        let mut command = self.command("cargo");
        command.args(arguments.split_whitespace());
        command
    }

    /// The version of a tool that `[workspace.metadata.tools]` pins.
    pub(crate) fn pinned_version(&self, tool: &str) -> Result<String> {
        versions::pinned(&self.read("Cargo.toml")?, tool)
    }

    /// The version of a package that Cargo.lock holds.
    pub(crate) fn locked_version(&self, package: &str) -> Result<String> {
        versions::locked(&self.read("Cargo.lock")?, package)
    }

    fn read(&self, relative: &str) -> Result<String> {
        let path = self.path(relative);
        fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: restore it from git", path.display()))
    }
}

/// Waits until no other run of a task holds `path`; held until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let failed = || format!("cannot lock {}: see that its folder is writable", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let file = File::create(path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("xtask: waiting for another task to finish ({})", path.display());
            file.lock().with_context(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    Ok(file)
}

fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("GIRASOL_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("girasol")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/girasol")))
        .context("no place for tools: set GIRASOL_CACHE_DIR or HOME")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_with(variables: &[(&str, &str)]) -> Result<PathBuf> {
        cache_folder(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_follows_its_own_variable_then_xdg_then_home() {
        let home = ("HOME", "/h");
        let xdg = ("XDG_CACHE_HOME", "/x");
        let own = ("GIRASOL_CACHE_DIR", "/own");
        assert_eq!(cache_with(&[home]).unwrap(), Path::new("/h/.cache/girasol"));
        assert_eq!(cache_with(&[home, xdg]).unwrap(), Path::new("/x/girasol"));
        assert_eq!(cache_with(&[home, xdg, own]).unwrap(), Path::new("/own"));
    }

    #[test]
    fn without_any_place_for_the_cache_the_error_names_the_variable() {
        let error = cache_with(&[("HOME", "")]).unwrap_err();
        assert!(error.to_string().contains("GIRASOL_CACHE_DIR"));
    }
}
