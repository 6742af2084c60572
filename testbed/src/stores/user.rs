//! Servers that refuse to run as root are run by somebody with fewer rights.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::process::Command;

/// Users that Debian has for such servers, the best one first.
const LESSER: [&str; 2] = ["postgres", "nobody"];

/// Who runs a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Somebody else if we are root; `None`: ourselves.
    pub(super) fn for_servers() -> Result<Option<Self>> {
        // The system's own folder of this process tells without asking the C library.
        if fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or(1) != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let found = LESSER.iter().find_map(|name| Self::in_passwd(&users, name));
        found.map(Some).context("no user `postgres` or `nobody`: run this as somebody but root")
    }

    fn in_passwd(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => Some(Self { uid, gid }),
            _ => None,
        }
    }

    /// Has `command` run by this user.
    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or folder to this user.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving away {}", path.display()))
    }
}
