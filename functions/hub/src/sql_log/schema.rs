//! The tables, and how those of an older version become these.

use protocol::Millis;
use protocol::Seq;
use protocol::digest::update_hash;
use serde::Deserialize;

use super::{Number, SqlLog, integer, json};
use crate::compaction::footprints;
use crate::log::{LogError, Record};

/// The first version's tables.
const FIRST: [&str; 3] = [
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
];

/// What the second version added.
const SECOND: [&str; 12] = [
    "ALTER TABLE log ADD COLUMN footprints TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE log ADD COLUMN hash INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX log_live ON log (seq) WHERE bytes > 0",
    "CREATE INDEX log_empty ON log (seq) WHERE bytes = 0",
    "CREATE TABLE entry (
        seq INTEGER NOT NULL,
        place INTEGER NOT NULL,
        touches TEXT NOT NULL,
        needs TEXT,
        audience TEXT NOT NULL,
        PRIMARY KEY (seq, place)) WITHOUT ROWID",
    "CREATE INDEX entry_same ON entry (audience, touches)",
    "CREATE INDEX entry_other ON entry (touches)",
    "CREATE INDEX entry_needs ON entry (needs) WHERE needs IS NOT NULL",
    "CREATE TABLE topic (
        topic TEXT PRIMARY KEY, updates INTEGER NOT NULL, hash INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE revoked (
        kind TEXT NOT NULL, value TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (kind, value)) WITHOUT ROWID",
    // What an update does to its topics' digests; exclusive or, which SQLite has no operator for.
    "CREATE TRIGGER log_digest AFTER INSERT ON log BEGIN
        INSERT INTO topic (topic, updates, hash)
            SELECT value, 1, NEW.hash FROM json_each(NEW.topics) WHERE true
            ON CONFLICT (topic) DO UPDATE SET
                updates = updates + 1,
                hash = (hash | excluded.hash) - (hash & excluded.hash);
    END",
    "DROP TRIGGER IF EXISTS log_topic_fill",
];

/// What the third version added.
const THIRD: &str =
    "CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID";

/// Keeps the indexes in step with `log`; made last, so that what is filled in before is
/// filled in once.
const TRIGGERS: [&str; 2] = [
    "CREATE TRIGGER log_index_fill AFTER INSERT ON log BEGIN
        INSERT INTO log_topic (topic, seq) SELECT value, NEW.seq FROM json_each(NEW.topics);
        INSERT INTO entry (seq, place, touches, needs, audience)
            SELECT NEW.seq, json_extract(value, '$.place'), json_extract(value, '$.touches'),
                json_extract(value, '$.needs'), json_extract(value, '$.audience')
            FROM json_each(NEW.footprints);
    END",
    "CREATE TRIGGER log_index_change AFTER UPDATE OF footprints ON log BEGIN
        DELETE FROM log_topic WHERE seq = NEW.seq
            AND topic IN (SELECT value FROM json_each(OLD.topics));
        INSERT INTO log_topic (topic, seq) SELECT value, NEW.seq FROM json_each(NEW.topics);
        DELETE FROM entry WHERE seq = NEW.seq;
        INSERT INTO entry (seq, place, touches, needs, audience)
            SELECT NEW.seq, json_extract(value, '$.place'), json_extract(value, '$.touches'),
                json_extract(value, '$.needs'), json_extract(value, '$.audience')
            FROM json_each(NEW.footprints);
    END",
];

/// The version of the tables that this file describes.
const VERSION: &str = "3";

/// Makes the tables, or makes them of this version. It runs without an await, so the
/// platform commits all of it or nothing.
pub(super) fn prepare(log: &SqlLog) -> Result<(), LogError> {
    for statement in FIRST {
        log.run(statement, vec![])?;
    }
    match log.meta("version")? {
        None => {
            for statement in SECOND.into_iter().chain(TRIGGERS) {
                log.run(statement, vec![])?;
            }
            fill(log)?;
            third(log)
        }
        Some(version) if version == "2" => third(log),
        Some(version) if version == VERSION => Ok(()),
        Some(version) => Err(LogError(format!(
            "the log is of version {version}, and this is made for {VERSION}: deploy the newer one"
        ))),
    }
}

fn third(log: &SqlLog) -> Result<(), LogError> {
    log.run(THIRD, vec![])?;
    log.set_meta("version", VERSION)
}

/// Works out for the first version's updates what a trigger does for new ones.
fn fill(log: &SqlLog) -> Result<(), LogError> {
    #[derive(Deserialize)]
    struct Old {
        id: String,
        body: String,
    }
    let head = log.rows::<Number>("SELECT MAX(seq) AS value FROM log", vec![])?;
    let head = head.into_iter().next().and_then(|row| row.value).unwrap_or(0);
    for seq in 1..=head {
        let rows =
            log.rows::<Old>("SELECT id, body FROM log WHERE seq = ?", vec![integer(seq)?])?;
        for Old { id, body } in rows {
            let update =
                serde_json::from_str(&body).map_err(|error| LogError(error.to_string()))?;
            let record = Record::new(Seq(seq), id, Millis(0), update);
            let hash = update_hash(record.seq, &record.id);
            log.run(
                "UPDATE log SET footprints = ?, hash = ? WHERE seq = ?",
                vec![json(&footprints(&record))?.into(), integer(hash)?, integer(seq)?],
            )?;
        }
    }
    log.run(
        "INSERT INTO topic (topic, updates, hash)
            SELECT topic.value, 1, log.hash FROM log, json_each(log.topics) AS topic
            WHERE true ORDER BY log.seq
            ON CONFLICT (topic) DO UPDATE SET
                updates = updates + 1,
                hash = (hash | excluded.hash) - (hash & excluded.hash)",
        vec![],
    )?;
    Ok(())
}
