//! A git repository with policy, as an opal-server clones it and a function follows it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::process::{command, own_folder};

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

    /// Its folder, with its files and `.git`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The hash of the branch's newest commit.
    ///
    /// # Errors
    /// Those of [`Repository::with`], or there is none.
    pub async fn head(&self) -> Result<String> {
        self.git(&["rev-parse", "--verify", "HEAD"]).await
    }

    /// Moves a file and commits that; gives the commit's hash.
    ///
    /// # Errors
    /// Those of [`Repository::with`], or the file is not there.
    pub async fn rename(&self, from: &str, to: &str) -> Result<String> {
        let new = self.folder.path().join(to);
        fs::create_dir_all(new.parent().unwrap_or(Path::new("/")))?;
        fs::rename(self.folder.path().join(from), new)
            .with_context(|| format!("moving {from} to {to}"))?;
        self.commit().await
    }

    /// A commit that changes nothing; gives its hash.
    ///
    /// # Errors
    /// Those of [`Repository::with`].
    pub async fn commit_nothing(&self) -> Result<String> {
        self.commit().await
    }

    /// As a force push does it: `master` is a new commit without parents, with these files and
    /// no others. Gives its hash.
    ///
    /// # Errors
    /// Those of [`Repository::with`].
    pub async fn rewrite(&self, files: &[(&str, &str)]) -> Result<String> {
        self.git(&["checkout", "--quiet", "--orphan", "rewritten"]).await?;
        self.git(&["rm", "-r", "--quiet", "--force", "."]).await?;
        self.write(files)?;
        self.commit().await?;
        self.git(&["branch", "--quiet", "--move", "--force", "master"]).await?;
        self.head().await
    }

    /// Creates a branch at a commit, or moves it there.
    ///
    /// # Errors
    /// Those of [`Repository::with`].
    pub async fn set_branch(&self, name: &str, commit: &str) -> Result<()> {
        self.git(&["update-ref", &format!("refs/heads/{name}"), commit]).await?;
        self.git(&["reset", "--quiet", "--hard"]).await.map(drop)
    }

    /// Deletes a branch. `master` can be made again by [`Repository::set_branch`].
    ///
    /// # Errors
    /// Those of [`Repository::with`].
    pub async fn delete_branch(&self, name: &str) -> Result<()> {
        self.git(&["update-ref", "-d", &format!("refs/heads/{name}")]).await.map(drop)
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
        self.git(
            &[&who[..], &["commit", "--quiet", "--allow-empty", "--message", "change"]].concat(),
        )
        .await?;
        self.head().await
    }

    /// Runs git in its folder; gives what it prints, without spaces around it.
    ///
    /// # Errors
    /// There is no git, or it failed; the message has what it said.
    pub async fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = command("git");
        git.current_dir(self.folder.path()).args(arguments);
        let output = git.output().await.context("running git: install it")?;
        if !output.status.success() {
            bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
