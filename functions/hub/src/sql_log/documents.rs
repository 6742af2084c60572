//! What is kept by name, and how a scope's hub is emptied.

use std::collections::BTreeMap;

use protocol::Seq;
use serde::Deserialize;

use super::{SqlLog, Text};
use crate::log::LogError;
use crate::reference;

/// Every table but `meta` and `revoked`.
const EMPTIED: [&str; 5] = ["log", "log_topic", "entry", "topic", "document"];

impl SqlLog {
    pub(super) fn read_document(&self, name: &str) -> Result<Option<String>, LogError> {
        let found = self
            .rows::<Text>("SELECT body AS value FROM document WHERE name = ?", vec![name.into()])?;
        Ok(found.into_iter().next().map(|row| row.value))
    }

    pub(super) fn read_documents(
        &self,
        prefix: &str,
    ) -> Result<BTreeMap<String, String>, LogError> {
        #[derive(Deserialize)]
        struct Document {
            name: String,
            body: String,
        }
        let (from, to) = range_of(prefix);
        let found = self.rows::<Document>(
            "SELECT name, body FROM document WHERE name >= ? AND name < ?",
            vec![from.into(), to.into()],
        )?;
        Ok(found.into_iter().map(|it| (it.name, it.body)).collect())
    }

    pub(super) fn read_names(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        let (from, to) = range_of(prefix);
        let found = self.rows::<Text>(
            "SELECT name AS value FROM document WHERE name >= ? AND name < ?",
            vec![from.into(), to.into()],
        )?;
        Ok(found.into_iter().map(|row| row.value).collect())
    }

    pub(super) fn read_names_after(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Result<Vec<String>, LogError> {
        let (from, to) = range_of(prefix);
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let found = self.rows::<Text>(
            "SELECT name AS value FROM document WHERE name >= ? AND name < ? AND name > ?
             ORDER BY name LIMIT ?",
            vec![from.into(), to.into(), after.into(), most.into()],
        )?;
        Ok(found.into_iter().map(|row| row.value).collect())
    }

    pub(super) fn count_names(&self, prefix: &str) -> Result<usize, LogError> {
        let (from, to) = range_of(prefix);
        let count = self.number(
            "SELECT COUNT(*) AS value FROM document WHERE name >= ? AND name < ?",
            vec![from.into(), to.into()],
        )?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    pub(super) fn write_document(&self, name: &str, text: Option<&str>) -> Result<(), LogError> {
        match text {
            Some(text) => self.run(
                "INSERT OR REPLACE INTO document (name, body) VALUES (?, ?)",
                vec![name.into(), text.into()],
            ),
            None => self.run("DELETE FROM document WHERE name = ?", vec![name.into()]),
        }
        .map(drop)
    }

    /// It runs without an await, so the platform commits all of it or nothing.
    pub(super) fn empty_all(&mut self) -> Result<(), LogError> {
        for table in EMPTIED {
            self.run(&format!("DELETE FROM {table}"), vec![])?;
        }
        // Another one than before, and nobody can guess it from what he has seen.
        let epoch = reference::key(&self.secret, &format!("epoch after {}", self.epoch));
        self.epoch = epoch.chars().take(14).collect();
        self.set_meta("epoch", &self.epoch)?;
        self.set_meta("floor", "0")?;
        (self.head, self.floor) = (Seq::ZERO, Seq::ZERO);
        (self.bytes, self.has_patches) = (0, false);
        Ok(())
    }
}

/// Every name that begins with `prefix`, as a range.
fn range_of(prefix: &str) -> (&str, String) {
    (prefix, format!("{prefix}{}", char::MAX))
}
