//! The log in the Durable Object's SQLite.
//!
//! One row an update in `log`. Triggers fill everything else from it: `log_topic`, which
//! answers "what is there for these topics after this number" by index; `entry`, which
//! answers compaction's questions by index; and the digest of each `topic`. So an append is
//! one statement and therefore all or nothing.
//!
//! Limits are written into the statements: a bound one makes SQLite plan the statement anew each
//! time, which was a tenth of all the work of a publish.
//!
//! The text of an update that carries a fact is sealed (`sealing.rs`).
//!
//! An update whose entries are all unnecessary, or beyond retention, keeps its row without
//! a body: its id stays known. The oldest such rows go when there are many.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::{TopicDigest, TopicDigests, update_hash};
use protocol::internal::Revocation;
use protocol::{Claims, Millis, Seq, Update, topic::TopicSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vault::Keys;
use worker::{SqlStorage, SqlStorageValue, console_error};

use crate::compaction::{
    Footprint, Logged, MAX_OTHER_AUDIENCE, MAX_PATCHES, MAX_SAME_AUDIENCE, Position, above,
    by_update, footprints,
};
use crate::log::{Fingerprint, Log, LogError, Record, Resealed, Retention};

mod documents;
mod schema;
mod sealing;

use sealing::AFTER_FACTS;

/// The most rows whose sizes are looked at for one batch.
const BATCH_ROWS: usize = 512;
/// Updates that one statement gives up to retention.
const PRUNE_ROWS: usize = 64;
/// Such statements after one batch: far more than a batch has updates, so that what is given up
/// keeps up with what comes, and still bounded, for when the limits were just lowered.
const PRUNE_TURNS: usize = 16;
/// Numbers behind the head for which an id is known though nothing of its update is left.
const KNOWN_IDS: u64 = 1_000_000;

/// The log of one scope. Keeps a few numbers in memory; SQLite has the rest.
pub(crate) struct SqlLog {
    sql: SqlStorage,
    epoch: String,
    secret: String,
    head: Seq,
    floor: Seq,
    /// Of all bodies.
    bytes: u64,
    /// True if anything was ever revoked.
    revokes: bool,
    /// True if there may be a patch: a log without one is not asked for them at every append.
    has_patches: bool,
    /// When retention was last looked at.
    retained: Millis,
    /// What facts are sealed with, if that is set.
    keys: Option<Keys>,
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
    footprints: String,
}

#[derive(Deserialize)]
struct EntryRow {
    seq: u64,
    place: u32,
    touches: String,
    needs: Option<String>,
    audience: String,
}

#[derive(Deserialize)]
struct DigestRow {
    topic: String,
    updates: u64,
    hash: u64,
}

impl SqlLog {
    /// Opens the log, and makes it on first use.
    ///
    /// # Errors
    /// If storage refuses.
    pub(crate) fn open(
        sql: SqlStorage,
        new_epoch: &str,
        new_secret: &str,
        keys: Option<Keys>,
    ) -> Result<Self, LogError> {
        let mut log = Self {
            sql,
            epoch: String::new(),
            secret: String::new(),
            head: Seq::ZERO,
            floor: Seq::ZERO,
            bytes: 0,
            revokes: false,
            has_patches: false,
            retained: Millis(0),
            keys,
        };
        schema::prepare(&log)?;
        log.run(
            "INSERT OR IGNORE INTO meta (name, value) VALUES ('epoch', ?), ('secret', ?)",
            vec![new_epoch.into(), new_secret.into()],
        )?;
        log.epoch = log.meta("epoch")?.unwrap_or_default();
        log.secret = log.meta("secret")?.unwrap_or_default();
        log.floor = Seq(log.meta("floor")?.and_then(|floor| floor.parse().ok()).unwrap_or(0));
        log.head = Seq(log.number("SELECT MAX(seq) AS value FROM log", vec![])?);
        log.bytes = log.number("SELECT SUM(bytes) AS value FROM log", vec![])?;
        let patches = "SELECT EXISTS (SELECT 1 FROM entry WHERE needs IS NOT NULL) AS value";
        log.has_patches = log.number(patches, vec![])? > 0;
        log.revokes = log.number("SELECT COUNT(*) AS value FROM revoked", vec![])? > 0;
        Ok(log)
    }

    fn meta(&self, name: &str) -> Result<Option<String>, LogError> {
        let rows = self.rows::<Text>("SELECT value FROM meta WHERE name = ?", vec![name.into()])?;
        Ok(rows.into_iter().next().map(|row| row.value))
    }

    fn set_meta(&self, name: &str, value: &str) -> Result<(), LogError> {
        let values = vec![name.into(), value.into()];
        self.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", values).map(drop)
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

    /// The first numbers after `after` of updates for any of `topics`, or of all but facts, at
    /// most [`BATCH_ROWS`].
    fn candidates(&self, topics: Option<&TopicSet>, after: Seq) -> Result<BTreeSet<u64>, LogError> {
        let Some(topics) = topics else {
            let rows = self.rows::<Candidate>(
                &format!(
                    "SELECT seq FROM log WHERE bytes > 0 AND seq > ? AND (id < ? OR id >= ?)
                     ORDER BY seq LIMIT {BATCH_ROWS}"
                ),
                vec![integer(after.0)?, Update::FACT_ID.into(), AFTER_FACTS.into()],
            )?;
            return Ok(rows.into_iter().map(|row| row.seq).collect());
        };
        let mut first = BTreeSet::new();
        for topic in topics.iter() {
            let rows = self.rows::<Candidate>(
                &format!(
                    "SELECT seq FROM log_topic WHERE topic = ? AND seq > ? ORDER BY seq
                     LIMIT {BATCH_ROWS}"
                ),
                vec![topic.into(), integer(after.0)?],
            )?;
            first.extend(rows.into_iter().map(|row| row.seq));
            while first.len() > BATCH_ROWS {
                first.pop_last();
            }
        }
        Ok(first)
    }

    /// The updates with these numbers, in order, up to one that cannot be opened.
    ///
    /// # Errors
    /// If storage refuses, or the first one cannot be opened.
    fn records(&self, wanted: &[u64]) -> Result<Vec<Record>, LogError> {
        let rows = self.rows::<Row>(
            "SELECT seq, id, at, body, footprints FROM log
             WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
            vec![json(&wanted)?.into()],
        )?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            match self.opened(row).and_then(Row::record) {
                Ok(record) => records.push(record),
                Err(error) if records.is_empty() => {
                    console_error!("who asked for it waits until it can be read: {error}");
                    return Err(error);
                }
                // Who goes on from what comes before it hears of it then.
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// The parts of a row that follow from what is left of an update: its body, topics,
    /// footprints and bytes.
    fn columns(
        &self,
        record: &Record,
        body: &str,
        footprints: &[Footprint],
    ) -> Result<[SqlStorageValue; 4], LogError> {
        Ok([
            self.sealed(&record.id, body)?,
            json(&record.topics())?.into(),
            json(footprints)?.into(),
            integer(count(body.len()))?,
        ])
    }

    fn logged(
        &self,
        statement: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<Vec<Logged>, LogError> {
        let rows = self.rows::<EntryRow>(statement, values)?;
        let logged = rows.into_iter().map(|row| Logged {
            seq: Seq(row.seq),
            footprint: Footprint {
                place: row.place,
                touches: row.touches,
                needs: row.needs,
                audience: row.audience,
            },
        });
        Ok(logged.collect())
    }

    /// Gives up the oldest updates that are beyond retention; how many.
    fn give_up(&mut self, now: Millis, retention: Retention) -> Result<usize, LogError> {
        #[derive(Deserialize)]
        struct Oldest {
            seq: u64,
            at: u64,
            bytes: u64,
        }
        if self.bytes <= retention.max_bytes && retention.max_age.is_none() {
            return Ok(0);
        }
        let oldest = self.rows::<Oldest>(
            &format!(
                "SELECT seq, at, bytes FROM log WHERE bytes > 0 AND seq < ? ORDER BY seq
                 LIMIT {PRUNE_ROWS}"
            ),
            vec![integer(self.head.0)?],
        )?;
        let (mut given_up, mut left) = (vec![], self.bytes);
        for row in oldest {
            let is_old = retention.max_age.is_some_and(|limit| now.since(Millis(row.at)) > limit);
            if left <= retention.max_bytes && !is_old {
                break;
            }
            left = left.saturating_sub(row.bytes);
            given_up.push(row.seq);
        }
        if let Some(last) = given_up.last().copied() {
            // First, so that nobody goes on from what is about to be gone.
            self.set_meta("floor", &last.to_string())?;
            self.floor = Seq(last);
            self.empty(&given_up, self.bytes.saturating_sub(left))?;
        }
        Ok(given_up.len())
    }

    /// Forgets the oldest updates of which nothing is left, if they are far behind; how many.
    fn forget_ids(&self) -> Result<usize, LogError> {
        let forgotten = self.rows::<Candidate>(
            &format!(
                "DELETE FROM log WHERE seq IN (
                    SELECT seq FROM log WHERE bytes = 0 AND seq < ? ORDER BY seq
                    LIMIT {PRUNE_ROWS})
                 RETURNING seq"
            ),
            vec![integer(self.head.0.saturating_sub(KNOWN_IDS))?],
        )?;
        Ok(forgotten.len())
    }

    /// Empties the rows of updates of which nothing is left, and which had so many bytes.
    fn empty(&mut self, updates: &[u64], bytes: u64) -> Result<(), LogError> {
        self.run(
            "UPDATE log SET body = '', topics = '[]', footprints = '[]', bytes = 0
             WHERE seq IN (SELECT value FROM json_each(?))",
            vec![json(&updates)?.into()],
        )?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Ok(())
    }

    /// Takes entries out of an update that had so many bytes and of which something is left.
    fn shorten(&mut self, seq: u64, places: &BTreeSet<u32>, had: u64) -> Result<(), LogError> {
        for mut record in self.records(&[seq])? {
            record.drop_places(places);
            let body = json(&record.update)?;
            let [body_text, topics, footprints, bytes] =
                self.columns(&record, &body, &self::footprints(&record))?;
            self.run(
                "UPDATE log SET body = ?, topics = ?, footprints = ?, bytes = ? WHERE seq = ?",
                vec![body_text, topics, footprints, bytes, integer(seq)?],
            )?;
            self.bytes = self.bytes.saturating_sub(had.saturating_sub(count(body.len())));
        }
        Ok(())
    }
}

impl Log for SqlLog {
    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn head(&self) -> Seq {
        self.head
    }

    fn floor(&self) -> Seq {
        self.floor
    }

    fn append(
        &mut self,
        record: &Record,
        body: &str,
        fingerprint: &Fingerprint,
    ) -> Result<(), LogError> {
        let entries = footprints(record);
        let [body_text, topics, footprints, bytes] = self.columns(record, body, &entries)?;
        self.run(
            "INSERT INTO log (seq, id, at, fingerprint, body, topics, footprints, bytes, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            vec![
                integer(record.seq.0)?,
                record.id.as_str().into(),
                integer(record.at.0)?,
                fingerprint.0.as_str().into(),
                body_text,
                topics,
                footprints,
                bytes,
                integer(update_hash(record.seq, &record.id))?,
            ],
        )?;
        self.head = record.seq;
        self.bytes = self.bytes.saturating_add(count(body.len()));
        self.has_patches |= entries.iter().any(|entry| entry.needs.is_some());
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
        topics: Option<&TopicSet>,
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
        self.records(&wanted)
    }

    fn record(&self, seq: Seq) -> Result<Option<Record>, LogError> {
        let live = "SELECT seq FROM log WHERE seq = ? AND bytes > 0";
        let found = self.rows::<Candidate>(live, vec![integer(seq.0)?])?;
        let wanted: Vec<u64> = found.into_iter().map(|row| row.seq).collect();
        Ok(self.records(&wanted)?.into_iter().next())
    }

    fn digests(&self, topics: &TopicSet) -> Result<TopicDigests, LogError> {
        let rows = self.rows::<DigestRow>(
            "SELECT topic, updates, hash FROM topic
             WHERE topic IN (SELECT value FROM json_each(?))",
            vec![json(topics)?.into()],
        )?;
        let digest =
            |row: DigestRow| (row.topic, TopicDigest { updates: row.updates, hash: row.hash });
        Ok(rows.into_iter().map(digest).collect())
    }

    fn entries_below(&self, document: &Footprint, before: Seq) -> Result<Vec<Logged>, LogError> {
        let (from, to) = range(&document.touches);
        self.logged(
            &format!(
                "SELECT * FROM (SELECT * FROM entry
                    WHERE audience = ?1 AND touches >= ?2 AND touches < ?3 AND seq < ?4
                    ORDER BY seq DESC, place DESC LIMIT {MAX_SAME_AUDIENCE})
                 UNION ALL SELECT * FROM (SELECT * FROM entry
                    WHERE touches >= ?2 AND touches < ?3 AND audience <> ?1 AND seq < ?4
                    ORDER BY seq DESC, place DESC LIMIT {MAX_OTHER_AUDIENCE})"
            ),
            vec![document.audience.as_str().into(), from.into(), to.into(), integer(before.0)?],
        )
    }

    fn patches_that_need(&self, key: &str, before: Seq) -> Result<Vec<Logged>, LogError> {
        if !self.has_patches {
            return Ok(vec![]);
        }
        let (from, to) = range(key);
        self.logged(
            &format!(
                "SELECT * FROM entry
                 WHERE needs IS NOT NULL AND seq < ?4 AND ((needs >= ?1 AND needs < ?2)
                    OR needs IN (SELECT value FROM json_each(?3)))
                 ORDER BY seq DESC, place DESC LIMIT {MAX_PATCHES}"
            ),
            vec![from.into(), to.into(), json(&above(key))?.into(), integer(before.0)?],
        )
    }

    fn drop_entries(&mut self, entries: &BTreeSet<Position>) -> Result<(), LogError> {
        #[derive(Deserialize)]
        struct Left {
            seq: u64,
            bytes: u64,
            entries: usize,
        }
        let updates = by_update(entries);
        let wanted: Vec<u64> = updates.keys().map(|seq| seq.0).collect();
        let rows = self.rows::<Left>(
            "SELECT seq, bytes, (SELECT COUNT(*) FROM entry WHERE entry.seq = log.seq) AS entries
             FROM log WHERE seq IN (SELECT value FROM json_each(?))",
            vec![json(&wanted)?.into()],
        )?;
        let (mut emptied, mut freed) = (vec![], 0_u64);
        for left in rows {
            match updates.get(&Seq(left.seq)) {
                Some(places) if left.entries > places.len() => {
                    self.shorten(left.seq, places, left.bytes)?;
                }
                _ => {
                    emptied.push(left.seq);
                    freed = freed.saturating_add(left.bytes);
                }
            }
        }
        if emptied.is_empty() { Ok(()) } else { self.empty(&emptied, freed) }
    }

    fn retain(&mut self, now: Millis, retention: Retention) -> Result<(), LogError> {
        let is_over = self.bytes > retention.max_bytes;
        // Ages and known ids are looked at once a second: a limit in time is none to the ms.
        if !is_over && now.since(self.retained) < 1_000 {
            return Ok(());
        }
        for _ in 0..PRUNE_TURNS {
            let given_up = self.give_up(now, retention)?;
            if given_up.max(self.forget_ids()?) < PRUNE_ROWS {
                self.retained = now;
                break;
            }
        }
        Ok(())
    }

    fn revoke(&mut self, now: Millis, revocation: &Revocation) -> Result<(), LogError> {
        let (kind, value) = match revocation {
            Revocation::Jti(jti) => ("jti", jti),
            Revocation::Sub(sub) => ("sub", sub),
        };
        self.run(
            "INSERT INTO revoked (kind, value, at) VALUES (?, ?, ?)
                ON CONFLICT (kind, value) DO UPDATE SET at = MAX(at, excluded.at)",
            vec![kind.into(), value.as_str().into(), integer(now.0)?],
        )?;
        self.revokes = true;
        Ok(())
    }

    fn is_revoked(&self, claims: &Claims) -> Result<bool, LogError> {
        if !self.revokes {
            return Ok(false);
        }
        // A token that does not say when it was issued counts as issued before.
        let issued = claims.iat.map_or(0, |iat| iat.saturating_mul(1_000));
        let revoked = self.number(
            "SELECT EXISTS (SELECT 1 FROM revoked WHERE kind = 'jti' AND value = ?)
                OR EXISTS (SELECT 1 FROM revoked WHERE kind = 'sub' AND value = ? AND at >= ?)
             AS value",
            vec![
                claims.jti.as_deref().unwrap_or_default().into(),
                claims.sub.as_str().into(),
                integer(issued)?,
            ],
        )?;
        Ok(revoked > 0)
    }

    fn revocations(&self) -> Result<Vec<(Revocation, Millis)>, LogError> {
        #[derive(Deserialize)]
        struct Revoked {
            kind: String,
            value: String,
            at: u64,
        }
        let rows = self.rows::<Revoked>("SELECT kind, value, at FROM revoked", vec![])?;
        let revocation = |row: Revoked| {
            let of = if row.kind == "jti" { Revocation::Jti } else { Revocation::Sub };
            (of(row.value), Millis(row.at))
        };
        Ok(rows.into_iter().map(revocation).collect())
    }

    fn secret(&self) -> &str {
        &self.secret
    }

    fn document(&self, name: &str) -> Result<Option<String>, LogError> {
        self.read_document(name)
    }

    fn documents(&self, prefix: &str) -> Result<BTreeMap<String, String>, LogError> {
        self.read_documents(prefix)
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        self.read_names(prefix)
    }

    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, LogError> {
        self.read_names_after(prefix, after, most)
    }

    fn count(&self, prefix: &str) -> Result<usize, LogError> {
        self.count_names(prefix)
    }

    fn keep(&mut self, name: &str, text: Option<&str>) -> Result<(), LogError> {
        self.write_document(name, text)
    }

    fn reseal(&mut self, most: usize) -> Result<Resealed, LogError> {
        self.seal_again(most)
    }

    fn clear(&mut self) -> Result<(), LogError> {
        self.empty_all()
    }
}

impl Row {
    fn record(self) -> Result<Record, LogError> {
        let unreadable = |error: serde_json::Error| {
            LogError(format!("update {} cannot be read: {error}", self.seq))
        };
        #[derive(Deserialize)]
        struct Place {
            place: u32,
        }
        let update = serde_json::from_str(&self.body).map_err(unreadable)?;
        let places: Vec<Place> = serde_json::from_str(&self.footprints).map_err(unreadable)?;
        let places = places.into_iter().map(|it| it.place).collect();
        Ok(Record { seq: Seq(self.seq), id: self.id, at: Millis(self.at), update, places })
    }
}

/// The keys that begin with `key`, as a range: `/` is followed by `0`.
fn range(key: &str) -> (&str, String) {
    (key, format!("{}0", key.strip_suffix('/').unwrap_or(key)))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, LogError> {
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
