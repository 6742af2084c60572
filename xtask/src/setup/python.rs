//! Packages from PyPI that Girasol is tested with: OPAL itself, and Permit's SDK.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// Packages that are installed together, in an environment of their own.
pub(crate) struct Packages {
    /// For people.
    name: &'static str,
    /// What its folder in the cache begins with.
    folder: &'static str,
    /// The exact versions, those of their dependencies too. Made from the `.in` file beside it with
    /// `uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-annotate
    /// --no-header`.
    lock: &'static str,
    /// What of it is run, and the variable that tells the tests where it is.
    program: (&'static str, &'static str),
}

/// What the `opal` suite and benchmark run beside Girasol; `opal-server` is in the same folder.
pub(crate) const OPAL: Packages = Packages {
    name: "OPAL",
    folder: "opal",
    lock: "tests/opal/requirements.txt",
    program: ("opal-client", "OPAL_CLIENT_BIN"),
};
/// What the `permit` suite writes and checks with: the newest version, and the last of those before.
pub(crate) const PERMIT: [Packages; 2] = [
    Packages {
        name: "Permit's SDK 3",
        folder: "permit-3",
        lock: "tests/permit/requirements-3.0.0.txt",
        program: ("python", "GIRASOL_PERMIT_3_PYTHON"),
    },
    Packages {
        name: "Permit's SDK 2",
        folder: "permit-2",
        lock: "tests/permit/requirements-2.6.5.txt",
        program: ("python", "GIRASOL_PERMIT_2_PYTHON"),
    },
];
/// By what name a Python may be there, the best one first.
const PYTHONS: [&str; 4] = ["python3.11", "python3.12", "python3.13", "python3"];
/// The first and the last Python that the locked packages have ready-made parts for.
const VERSIONS: ((u32, u32), (u32, u32)) = ((3, 11), (3, 13));

impl Packages {
    /// The variable and its program, installed once for each content of the lock file. `None`,
    /// after a warning that says how to get it, where there is no Python for it.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<Option<(&'static str, PathBuf)>> {
        let Self { name, folder, lock, program: (program, variable) } = *self;
        let lock = workspace.path(lock);
        let text = fs::read_to_string(&lock)
            .with_context(|| format!("reading {}: restore it from git", lock.display()))?;
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        let home = workspace.cached("tools").join(format!("{folder}-{:016x}", hash.finish()));
        // Written when all is there: what an installation left that was broken off does not count.
        let complete = home.join("complete");
        let missing = || Ok(!complete.is_file());
        let what = format!("installing {name} (once)");
        let installed = install_if(workspace, missing, &what, || {
            let uv = format!("uv=={}", workspace.pinned_version("uv")?);
            let mut venv = process::command(python()?);
            process::run_silently(venv.args(["-m", "venv", "--clear"]).arg(&home))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &uv];
            process::run_silently(process::command(home.join("bin/python")).args(pip))?;
            // pip alone takes many minutes.
            let mut install = process::command(home.join("bin/uv"));
            install.args(["pip", "install", "--quiet", "--python"]).arg(home.join("bin/python"));
            process::run_silently(install.arg("--requirement").arg(&lock))?;
            fs::write(&complete, "").context("writing to the cache")
        });
        if let Err(error) = installed {
            eprintln!("warning: no {name}: {error:#}");
            return Ok(None);
        }
        Ok(Some((variable, home.join("bin").join(program))))
    }
}

fn python() -> Result<&'static str> {
    let right = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| version_fits(&String::from_utf8_lossy(&output.stdout)))
    };
    let Some(found) = PYTHONS.into_iter().find(right) else {
        bail!(
            "it needs Python 3.11 to 3.13 with venv: `apt-get install python3 python3-venv`, \
             or get it from https://www.python.org"
        );
    };
    Ok(found)
}

/// Whether `Python 3.11.7` is one that will do.
fn version_fits(said: &str) -> bool {
    let mut numbers = said.trim().trim_start_matches("Python ").split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => {
            let (first, last) = VERSIONS;
            (first..=last).contains(&(major, minor))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pythons_that_the_packages_are_made_for_will_do() {
        for (said, fits) in [
            ("Python 3.11.7\n", true),
            ("Python 3.13.0rc1", true),
            ("Python 3.10.12", false),
            ("Python 3.14.0", false),
            ("Python 2.7.18", false),
            ("", false),
        ] {
            assert_eq!(version_fits(said), fits, "{said}");
        }
    }

    #[test]
    fn every_package_is_locked_to_one_version_and_no_registry_is_named() {
        for (locked, wanted) in [
            (
                include_str!("../../../tests/opal/requirements.txt"),
                include_str!("../../../tests/opal/requirements.in"),
            ),
            (
                include_str!("../../../tests/permit/requirements-3.0.0.txt"),
                include_str!("../../../tests/permit/requirements-3.0.0.in"),
            ),
            (
                include_str!("../../../tests/permit/requirements-2.6.5.txt"),
                include_str!("../../../tests/permit/requirements-2.6.5.in"),
            ),
        ] {
            for line in locked.lines() {
                assert!(line.contains("=="), "{line}");
                assert!(!line.contains("://"), "{line}");
            }
            for wanted in wanted.lines() {
                assert!(locked.lines().any(|line| line == wanted), "{wanted}");
            }
        }
    }
}
