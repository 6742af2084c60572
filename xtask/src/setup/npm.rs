//! Node packages: wrangler with its workerd, esbuild, binaryen. `package-lock.json` pins them.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// The package that holds workerd's program, by operating system and processor.
const WORKERD_PACKAGES: &[(&str, &str, &str)] = &[
    ("linux", "x86_64", "workerd-linux-64"),
    ("linux", "aarch64", "workerd-linux-arm64"),
    ("macos", "x86_64", "workerd-darwin-64"),
    ("macos", "aarch64", "workerd-darwin-arm64"),
];

/// Installs the packages, if there are none or older ones than the lock file asks for.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let wanted = workspace.path("package-lock.json");
    // npm writes this copy of the lock file at the end of an installation.
    let installed = workspace.path("node_modules/.package-lock.json");
    let missing = || is_stale(&wanted, &installed);
    install_if(workspace, missing, "installing Node packages", || {
        // The packages' programs are there without their install scripts.
        process::run_quietly(workspace.command("npm").args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]))
    })
}

/// A program that an installed package brings.
pub(crate) fn program(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    existing(workspace.path("node_modules/.bin").join(name))
}

/// workerd itself. The one in `.bin` is a script around it: slower to start, and killing that one
/// would leave workerd running.
pub(crate) fn workerd(workspace: &Workspace) -> Result<PathBuf> {
    let (_, _, package) = WORKERD_PACKAGES
        .iter()
        .find(|(os, arch, _)| (*os, *arch) == (OS, ARCH))
        .with_context(|| format!("there is no workerd for {OS} on {ARCH}: use another machine"))?;
    existing(workspace.path("node_modules/@cloudflare").join(package).join("bin/workerd"))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is missing: remove node_modules and run `cargo xtask setup`", path.display());
    }
    Ok(path)
}

fn is_stale(wanted: &Path, installed: &Path) -> Result<bool> {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let wanted = changed(wanted).context("package-lock.json is missing: restore it from git")?;
    match changed(installed) {
        Ok(installed) => Ok(installed < wanted),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).context("node_modules cannot be read: remove it"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn file(name: &str, age: u64) -> PathBuf {
        let path = std::env::temp_dir().join(format!("girasol-npm-{}-{name}", std::process::id()));
        let changed = SystemTime::now() - Duration::from_secs(age);
        File::create(&path).and_then(|file| file.set_modified(changed)).unwrap();
        path
    }

    #[test]
    fn packages_are_stale_when_absent_or_older_than_the_lock_file() {
        let (old, middle, new) = (file("old", 30), file("middle", 20), file("new", 10));
        assert!(!is_stale(&middle, &new).unwrap());
        assert!(is_stale(&middle, &old).unwrap());
        assert!(is_stale(&middle, Path::new("/no/such/file")).unwrap());
        for path in [old, middle, new] {
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn the_lock_file_names_no_registry() {
        let lock = include_str!("../../../package-lock.json");
        assert!(
            !lock.contains("\"resolved\""),
            "npm config set omit-lockfile-registry-resolved true"
        );
    }
}
