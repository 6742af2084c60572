//! A git repository with policy, as an opal-server clones it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::own_folder;
use crate::process::command;

/// A repository in a folder of its own, with the branch `master`. Removed when dropped.
#[derive(Debug)]
pub struct Repository {
    folder: TempDir,
}

// === impl Repository ===

impl Repository {
    /// A repository whose first commit has these files: paths and texts.
    ///
    /// # Errors
    /// There is no git, or it failed; the message has what it said.
    pub async fn with(files: &[(&str, &str)]) -> Result<Self> {
        let repository = Self { folder: own_folder("repository")? };
        repository.git(&["init", "--quiet", "--initial-branch", "master"]).await?;
        repository.write(files)?;
        repository.commit().await?;
        Ok(repository)
    }

    /// `file://…`.
    pub fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    /// Writes files and commits them; gives the commit's hash, 40 hexadecimal digits.
    ///
    /// # Errors
    /// Those of [`Repository::with`].
    pub async fn change(&self, files: &[(&str, &str)]) -> Result<String> {
        self.write(files)?;
        self.commit().await
    }

    /// Deletes files and commits that; gives the commit's hash.
    ///
    /// # Errors
    /// Those of [`Repository::with`], or a file is not there.
    pub async fn delete(&self, files: &[&str]) -> Result<String> {
        for file in files {
            fs::remove_file(self.folder.path().join(file))
                .with_context(|| format!("deleting {file}"))?;
        }
        self.commit().await
    }

    fn write(&self, files: &[(&str, &str)]) -> Result<()> {
        for (path, text) in files {
            let file = self.folder.path().join(path);
            fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
            fs::write(&file, text).with_context(|| format!("writing {path}"))?;
        }
        Ok(())
    }

    async fn commit(&self) -> Result<String> {
        self.git(&["add", "--all"]).await?;
        let who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"];
        self.git(&[&who[..], &["commit", "--quiet", "--message", "change"]].concat()).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = command("git");
        git.current_dir(self.folder.path()).args(arguments);
        let output = git.output().await.context("running git: install it")?;
        if !output.status.success() {
            bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
