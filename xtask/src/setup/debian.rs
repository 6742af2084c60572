//! The servers that data lives in, and a browser, from Debian's packages: what is tested with.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// A server and where it comes from.
struct Server {
    /// The program that is looked for.
    program: &'static str,
    /// Debian's packages that bring it.
    packages: &'static [&'static str],
    /// What tells the tests where it is.
    variable: &'static str,
    /// Where it is when it is not on `PATH`; a `*` stands for a version.
    folder: &'static str,
}

/// To add a server, add a row, and a `Part` to the testbed crate.
const SERVERS: &[Server] = &[
    Server {
        program: "postgres",
        packages: &["postgresql"],
        variable: "GIRASOL_POSTGRES_BIN",
        folder: "/usr/lib/postgresql/*/bin",
    },
    Server {
        // Without the service and its user.
        program: "mariadbd",
        packages: &["mariadb-server-core", "mariadb-client-core"],
        variable: "GIRASOL_MARIADB_BIN",
        folder: "/usr/sbin",
    },
    Server {
        // The server itself, by the name of what else it can do; the package has no service.
        program: "redis-check-rdb",
        packages: &["redis-tools"],
        variable: "GIRASOL_REDIS_BIN",
        folder: "/usr/bin",
    },
    Server {
        program: "slapd",
        packages: &["slapd"],
        variable: "GIRASOL_SLAPD_BIN",
        folder: "/usr/sbin",
    },
    Server {
        program: "chromium-headless-shell",
        packages: &["chromium-headless-shell"],
        variable: "GIRASOL_BROWSER_BIN",
        folder: "/usr/bin",
    },
];

/// Asked by Debian's packages whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where each server is, by its variable; installs what is missing, once. One that cannot be had
/// is left out, after a warning that says how to get it.
pub(crate) fn ensure_all(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = Vec::new();
    for server in SERVERS {
        found.extend(server.ensure(workspace)?.map(|path| (server.variable, path)));
    }
    Ok(found)
}

impl Server {
    fn ensure(&self, workspace: &Workspace) -> Result<Option<PathBuf>> {
        let Self { program, packages, variable, .. } = self;
        if let Some(path) = env::var_os(variable).map(PathBuf::from) {
            if !path.is_file() {
                bail!("{variable} is {}, which is not a file: correct or unset it", path.display());
            }
            return Ok(Some(path));
        }
        let packages = packages.join(" ");
        let missing = || Ok(self.find().is_none());
        let what = format!("installing {packages} (once)");
        let installed = install_if(workspace, missing, &what, || install(self.packages));
        let path = installed.and_then(|()| {
            self.find().with_context(|| format!("{packages} brought no program `{program}`"))
        });
        match path {
            Ok(path) => Ok(Some(path)),
            Err(error) => {
                eprintln!(
                    "warning: no {program} ({error:#}); run `apt-get install {packages}` as root, \
                     or name the program in {variable}"
                );
                Ok(None)
            }
        }
    }

    fn find(&self) -> Option<PathBuf> {
        expand(self.folder)
            .into_iter()
            .map(|folder| folder.join(self.program))
            .find(|path| path.is_file())
            .or_else(|| process::find(self.program))
    }
}

/// The folders that a pattern with at most one `*` stands for, the highest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((parent, rest)) = pattern.split_once("/*/") else {
        return vec![PathBuf::from(pattern)];
    };
    let names = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.parse::<u32>().ok()));
    names.into_iter().map(|name| Path::new(parent).join(name).join(rest)).collect()
}

/// Installs packages without starting a service of theirs: each test starts its own server.
fn install(packages: &[&str]) -> Result<()> {
    let _quiet = NoServices::begin()?;
    let apt = |arguments: &[&str]| {
        let mut apt = process::command("apt-get");
        process::run_silently(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    if apt(&install).is_ok() {
        return Ok(());
    }
    // A machine that was just made knows no packages; one that is older may know outdated ones.
    apt(&["update"])?;
    apt(&install)
}

/// While it lives, packages that are installed start no service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let ours = !Path::new(POLICY).exists();
        if ours {
            // 101: "action forbidden by policy".
            fs::write(POLICY, "#!/bin/sh\nexit 101\n").context("it needs root")?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_looked_at_first() {
        let root = env::temp_dir().join(format!("girasol-debian-{}", std::process::id()));
        for version in ["9", "15", "16.old", "17"] {
            fs::create_dir_all(root.join(version).join("bin")).unwrap();
        }
        let found = expand(&format!("{}/*/bin", root.display()));
        assert_eq!(found[..3], ["17", "15", "9"].map(|version| root.join(version).join("bin")));
        assert_eq!(expand("/usr/sbin"), [PathBuf::from("/usr/sbin")]);
        fs::remove_dir_all(root).unwrap();
    }
}
