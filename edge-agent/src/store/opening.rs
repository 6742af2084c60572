//! Opening the file of a store: one that is not there is made, one that is no good is moved
//! aside, and one that another agent uses is left alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, StorageError, backends::FileBackend};

use super::StoreError;

/// The file in the data folder.
const FILE: &str = "state.redb";
/// Where it goes when it cannot be used, in place of an earlier one.
const ASIDE: &str = "state.redb.aside";
/// Documents are read once and written in whole pages, so there is little to remember.
const CACHE_BYTES: usize = 1 << 20;

/// The data folder of one agent.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// Why a file is not opened.
pub(super) enum Obstacle {
    /// It is not a state that can be used: why, as the end of a sentence.
    Unusable(String),
    /// The file may be fine.
    Error(StoreError),
}

impl Folder {
    /// Makes the folder if it is missing. What is in it is for this user only.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let folder = Self(dir.to_owned());
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| folder.error(&error))?;
        Ok(folder)
    }

    /// Opens the database, and says whether there was a file. Every checksum is verified.
    pub(super) fn database(&self) -> Result<(Database, bool), Obstacle> {
        let path = self.0.join(FILE);
        let found = match fs::metadata(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Obstacle::Error(self.error(&error))),
        };
        if found.as_ref().is_some_and(|found| found.len() == 0) {
            return Err(Obstacle::Unusable("is empty".to_owned()));
        }
        let options = OpenOptions::new().read(true).write(true).create(true).mode(0o600).clone();
        let file = options.open(&path).map_err(|error| Obstacle::Error(self.error(&error)))?;
        if found.as_ref().is_some_and(|found| found.permissions().mode() & 0o077 != 0) {
            let private = fs::Permissions::from_mode(0o600);
            file.set_permissions(private).map_err(|error| Obstacle::Error(self.error(&error)))?;
        }
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(found.is_some());
        let opened =
            FileBackend::new(file).and_then(|backend| builder.create_with_backend(backend));
        let database = opened.map_err(|error| self.judge(error))?;
        if found.is_none() {
            // A file that a power cut may take away is not durable, whatever is in it.
            let synced = File::open(&self.0).and_then(|folder| folder.sync_all());
            synced.map_err(|error| Obstacle::Error(self.error(&error)))?;
        }
        Ok((database, found.is_some()))
    }

    /// Moves the file aside, so that the next one is new. Returns the sentence about it.
    pub(super) fn move_aside(&self, why: &str) -> Result<String, StoreError> {
        let (from, to) = (self.0.join(FILE), self.0.join(ASIDE));
        fs::rename(&from, &to).map_err(|error| self.error(&error))?;
        Ok(format!("{} {why}; it was moved to {}", from.display(), to.display()))
    }

    fn judge(&self, error: DatabaseError) -> Obstacle {
        let held = || {
            self.folder("is used by another agent; stop that one, or give this one another folder")
        };
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Obstacle::Error(held())
            }
            DatabaseError::UpgradeRequired(_) => {
                Obstacle::Unusable("was written by an older version".to_owned())
            }
            DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
                ErrorKind::InvalidData => Obstacle::Unusable("is not a state file".to_owned()),
                ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => {
                    Obstacle::Unusable("is cut short".to_owned())
                }
                _ => Obstacle::Error(self.error(&error)),
            },
            DatabaseError::Storage(StorageError::Backend(error)) => {
                Obstacle::Error(self.folder(&format!("failed: {error}")))
            }
            _ => Obstacle::Unusable("is damaged".to_owned()),
        }
    }

    pub(super) fn error(&self, error: &io::Error) -> StoreError {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "; let this user write to it, or give another folder"
            }
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "; give a folder",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room there",
            _ => "",
        };
        self.folder(&format!("failed: {error}{fix}"))
    }

    fn folder(&self, what: &str) -> StoreError {
        StoreError::Folder(format!("{} {what}", self.0.display()))
    }

    /// What a failed transaction means to the caller.
    pub(super) fn failed(&self, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Io(error) => self.error(&error).again(),
            other => self.folder(&format!("failed: {other}")).again(),
        }
    }
}
