//! The directory of the scope: a call is checked, carried out and told to agents in one step.
//!
//! Storage may refuse at any point, and what the hub keeps by name is many rows. So what is to
//! become of them is written down first, as one row; the update makes it so; then the rows are
//! written, and the note is taken away. Whoever finds a note asks the log: knows it the update,
//! the rows are written (again, which does no harm); otherwise nothing has happened.
//!
//! Retention may give up updates. Documents are listed by the number that said them last, and are
//! said again before their number is gone (`directory/said.rs`).

mod said;

use directory::{Done, Refusal, Store, carry_out};
use protocol::directory::{DirectoryAnswer, DirectoryRequest, TOPIC};
use protocol::internal::{HubAnswer, Wait};
use protocol::{Claims, Millis, PeerType, Problem, Seq, Update};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::policy::get;
use super::publishing::Batch;
use super::{Machine, RequestId, require_good, unanswered, unstored};
use crate::log::Log;

/// What is about to be written.
const NOTE: &str = "directory/note";
/// Bytes of it: it is one row of storage, which takes 2 MB.
const MAX_NOTE_BYTES: usize = 1_900_000;

/// A row that is to be written: its name, and its text or nothing.
type Row = (String, Option<Box<RawValue>>);

/// What is about to be written, if the log knows this update.
#[derive(Serialize, Deserialize)]
struct Note {
    update: String,
    rows: Vec<Row>,
}

/// What is kept by name, as the directory reads it.
struct Kept<'l>(&'l dyn Log);

impl Store for Kept<'_> {
    fn document(&self, name: &str) -> Result<Option<String>, Problem> {
        self.0.document(name).map_err(unanswered)
    }

    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, Problem> {
        self.0.names_after(prefix, after, most).map_err(unanswered)
    }

    fn count(&self, prefix: &str) -> Result<usize, Problem> {
        self.0.count(prefix).map_err(unanswered)
    }
}

impl Machine {
    /// Checks a request, and carries it out; the answer, unless that waits for agents.
    pub(super) fn directory(
        &mut self,
        now: Millis,
        (request, asked, wait): (RequestId, DirectoryRequest, Option<Wait>),
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Option<HubAnswer>, Problem> {
        let DirectoryRequest { claims, id, is_change, call } = asked;
        if let Some(claims) = &claims {
            require_good(log, claims)?;
            require_right(claims, is_change)?;
        }
        if wait.is_some() {
            self.has_room_to_wait(batch)?;
        }
        self.finish_directory(log)?;
        let plain = |answer| HubAnswer::Directory { answer, receipts: None };
        let done = call.and_then(|call| carry_out(&Kept(log), &self.scope, now, call));
        let Done { status, body, rows, told } = match done {
            Ok(done) => done,
            // The cause is for the operator's log, as that of every other one.
            Err(Refusal::Other(problem)) if problem.status == 500 => return Err(problem),
            Err(refusal) => return Ok(Some(plain(Err(refusal)))),
        };
        // That a document is gone which nobody was told of is no news.
        let mut news = vec![];
        for (document, entries) in told {
            if entries.len() == 1 || said::is_said(log, &document)? {
                news.push((document, entries));
            }
        }
        if !is_change || news.is_empty() {
            // Who changed nothing has what is there when he has what the log has.
            let seq = is_change.then(|| log.head());
            return Ok(Some(plain(Ok(DirectoryAnswer { status, body, seq, id: None }))));
        }
        let update_id = format!("{}{id}", Update::DIRECTORY_ID);
        let seq = log.head().next();
        let mut rows = note_rows(rows)?;
        let names = news.iter().map(|(document, entries)| (document.name(), entries.len() == 1));
        rows.extend(said::rows(log, names, seq)?);
        let entries = news.into_iter().flat_map(|(_, entries)| entries).collect();
        let reason = Some("the directory was changed".to_owned());
        let update = Update { id: Some(update_id.clone()), reason, entries, callback: None };
        let seq = match self.write_directory(now, update.clone(), rows, batch, log) {
            Ok(seq) => seq,
            Err(problem) if problem.status == 500 => return Err(problem),
            Err(problem) => return Ok(Some(plain(Err(problem.into())))),
        };
        let answer = DirectoryAnswer { status, body, seq: Some(seq), id: Some(id) };
        Ok(batch.answer(request, plain(Ok(answer)), wait, (seq, update)))
    }

    /// Appends an update, and writes what goes with it. Nothing is half: should storage refuse
    /// before the update is in the log, nothing has happened; after that, the next call goes on.
    fn write_directory(
        &mut self,
        now: Millis,
        update: Update,
        rows: Vec<Row>,
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Seq, Problem> {
        let note = Note { update: update.id.clone().unwrap_or_default(), rows };
        let text =
            serde_json::to_string(&note).map_err(|error| Problem::internal(error.to_string()))?;
        if text.len() > MAX_NOTE_BYTES {
            return Err(Problem::too_large(format!(
                "the call changes {} bytes of what the hub keeps, the limit is {MAX_NOTE_BYTES}; \
                 send fewer operations at a time",
                text.len()
            )));
        }
        // From here on until all is written, whoever comes has to look.
        self.is_directory_whole = false;
        log.keep(NOTE, Some(&text)).map_err(unstored)?;
        match batch.append(now, update, log) {
            Ok(seq) => {
                // What storage refuses now the next call writes.
                if write(log, &note).is_ok() {
                    self.is_directory_whole = true;
                }
                Ok(seq)
            }
            Err(problem) => {
                // What stays leads nowhere: the log does not know the update.
                self.is_directory_whole = log.keep(NOTE, None).is_ok();
                Err(problem)
            }
        }
    }

    /// Goes on with what was interrupted.
    fn finish_directory(&mut self, log: &mut dyn Log) -> Result<(), Problem> {
        if self.is_directory_whole {
            return Ok(());
        }
        if let Some(note) = get::<Note>(log, NOTE)? {
            if log.find(&note.update).map_err(unanswered)?.is_some() {
                write(log, &note)?;
            } else {
                log.keep(NOTE, None).map_err(unstored)?;
            }
        }
        self.is_directory_whole = true;
        Ok(())
    }
}

/// Writes what a note says, and takes it away.
fn write(log: &mut dyn Log, note: &Note) -> Result<(), Problem> {
    for (name, text) in &note.rows {
        log.keep(name, text.as_deref().map(RawValue::get)).map_err(unstored)?;
    }
    log.keep(NOTE, None).map_err(unstored)
}

fn note_rows(rows: Vec<(String, Option<String>)>) -> Result<Vec<Row>, Problem> {
    let raw =
        |text| RawValue::from_string(text).map_err(|error| Problem::internal(error.to_string()));
    rows.into_iter().map(|(name, text)| Ok((name, text.map(raw).transpose()?))).collect()
}

/// Checks what a token may do with the directory: a `datasource` changes it, others read; and the
/// topic of what is in it has to be among those that it may use.
fn require_right(claims: &Claims, is_change: bool) -> Result<(), Problem> {
    if is_change {
        claims.require(PeerType::Datasource)?;
    }
    claims.require_topics([TOPIC])
}
