//! The log in the Durable Object's SQLite.
//!
//! One row an update in `log`, one row an update and topic in `log_topic`, which answers
//! "what is there for these topics after this number" by index. A trigger fills the
//! second from the first, so that an append is one statement and therefore all or nothing.

use std::collections::BTreeSet;

use protocol::{Millis, Seq, topic::TopicSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use worker::{SqlStorage, SqlStorageValue};

use crate::log::{Fingerprint, Log, LogError, Record};

const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS log (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        at INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        topics TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS log_topic (
        topic TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (topic, seq)) WITHOUT ROWID",
    "CREATE TRIGGER IF NOT EXISTS log_topic_fill AFTER INSERT ON log BEGIN
        INSERT INTO log_topic (topic, seq) SELECT value, NEW.seq FROM json_each(NEW.topics);
    END",
];

/// The most rows whose sizes are looked at for one batch.
const BATCH_ROWS: usize = 512;

/// The log of one scope. Keeps the head in memory; SQLite has the rest.
pub(crate) struct SqlLog {
    sql: SqlStorage,
    epoch: String,
    head: Seq,
}

#[derive(Deserialize)]
struct Number {
    value: Option<u64>,
}

#[derive(Deserialize)]
struct Text {
    value: String,
}

#[derive(Deserialize)]
struct Found {
    seq: u64,
    fingerprint: String,
}

#[derive(Deserialize)]
struct Candidate {
    seq: u64,
}

#[derive(Deserialize)]
struct Size {
    seq: u64,
    bytes: usize,
}

#[derive(Deserialize)]
struct Row {
    seq: u64,
    id: String,
    at: u64,
    body: String,
}

impl SqlLog {
    /// Opens the log, and makes it on first use.
    ///
    /// # Errors
    /// If storage refuses.
    pub(crate) fn open(sql: SqlStorage, new_epoch: &str) -> Result<Self, LogError> {
        let mut log = Self { sql, epoch: String::new(), head: Seq::ZERO };
        for statement in SCHEMA {
            log.run(statement, vec![])?;
        }
        log.run(
            "INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', ?)",
            vec![new_epoch.into()],
        )?;
        let epoch = log.rows::<Text>("SELECT value FROM meta WHERE name = 'epoch'", vec![])?;
        log.epoch = epoch.into_iter().next().map(|row| row.value).unwrap_or_default();
        log.head = Seq(log.number("SELECT MAX(seq) AS value FROM log", vec![])?);
        Ok(log)
    }

    fn run(
        &self,
        statement: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<worker::SqlCursor, LogError> {
        self.sql.exec(statement, values).map_err(|error| LogError(error.to_string()))
    }

    fn rows<T: DeserializeOwned>(
        &self,
        statement: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<Vec<T>, LogError> {
        self.run(statement, values)?.to_array().map_err(|error| LogError(error.to_string()))
    }

    /// A query that answers one row with a number `value`; NULL counts as 0.
    fn number(&self, statement: &str, values: Vec<SqlStorageValue>) -> Result<u64, LogError> {
        let rows = self.rows::<Number>(statement, values)?;
        Ok(rows.into_iter().next().and_then(|row| row.value).unwrap_or(0))
    }

    /// The first numbers after `after` of updates for any of `topics`, at most [`BATCH_ROWS`].
    fn candidates(&self, topics: &TopicSet, after: Seq) -> Result<BTreeSet<u64>, LogError> {
        let mut first = BTreeSet::new();
        for topic in topics.iter() {
            let rows = self.rows::<Candidate>(
                "SELECT seq FROM log_topic WHERE topic = ? AND seq > ? ORDER BY seq LIMIT ?",
                vec![topic.into(), integer(after.0)?, integer(count(BATCH_ROWS))?],
            )?;
            first.extend(rows.into_iter().map(|row| row.seq));
            while first.len() > BATCH_ROWS {
                first.pop_last();
            }
        }
        Ok(first)
    }
}

impl Log for SqlLog {
    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn head(&self) -> Seq {
        self.head
    }

    fn append(
        &mut self,
        record: &Record,
        body: &str,
        fingerprint: &Fingerprint,
    ) -> Result<(), LogError> {
        let topics = json(&record.topics())?;
        self.run(
            "INSERT INTO log (seq, id, at, fingerprint, topics, bytes, body)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            vec![
                integer(record.seq.0)?,
                record.id.as_str().into(),
                integer(record.at.0)?,
                fingerprint.0.as_str().into(),
                topics.into(),
                integer(count(body.len()))?,
                body.into(),
            ],
        )?;
        self.head = record.seq;
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError> {
        let rows =
            self.rows::<Found>("SELECT seq, fingerprint FROM log WHERE id = ?", vec![id.into()])?;
        Ok(rows.into_iter().next().map(|row| (Seq(row.seq), Fingerprint(row.fingerprint))))
    }

    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError> {
        // One step into the index a topic, however many updates it has.
        let last = self.number(
            "SELECT MAX(last) AS value FROM (
                SELECT (SELECT seq FROM log_topic WHERE topic = wanted.value AND seq < ?
                        ORDER BY seq DESC LIMIT 1) AS last
                FROM json_each(?) AS wanted)",
            vec![integer(before.0)?, json(topics)?.into()],
        )?;
        Ok(Seq(last))
    }

    fn read(
        &self,
        topics: &TopicSet,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        // Sizes first: a batch of large updates must not be in memory before it is known to fit.
        let sizes = self.rows::<Size>(
            "SELECT seq, bytes FROM log
             WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
            vec![json(&self.candidates(topics, after)?)?.into()],
        )?;
        let mut budget = max_bytes;
        let mut wanted = Vec::with_capacity(sizes.len());
        for size in sizes {
            if size.bytes > budget && !wanted.is_empty() {
                break;
            }
            budget = budget.saturating_sub(size.bytes);
            wanted.push(size.seq);
        }
        let rows = self.rows::<Row>(
            "SELECT seq, id, at, body FROM log
             WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
            vec![json(&wanted)?.into()],
        )?;
        rows.into_iter()
            .map(|row| {
                let update = serde_json::from_str(&row.body).map_err(|error| {
                    LogError(format!("update {} cannot be read: {error}", row.seq))
                })?;
                Ok(Record { seq: Seq(row.seq), id: row.id, at: Millis(row.at), update })
            })
            .collect()
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, LogError> {
    serde_json::to_string(value).map_err(|error| LogError(error.to_string()))
}

/// A size in memory always fits.
fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn integer(value: u64) -> Result<SqlStorageValue, LogError> {
    i64::try_from(value)
        .ok()
        .and_then(|value| SqlStorageValue::try_from_i64(value).ok())
        .ok_or_else(|| LogError(format!("{value} is too large for storage")))
}
