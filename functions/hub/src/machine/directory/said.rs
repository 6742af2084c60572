//! Where in the log the directory's documents are, and what is said again when retention is about
//! to give that up, as `plane/said.rs` does for grants and facts.
//!
//! A document has two rows: the number of the update that says it, by its name, and its name by
//! that number, so that nobody looks at those that are still there.

use directory::Document;
use protocol::{Entry, Millis, Problem, Seq, Update, limits};
use serde_json::value::to_raw_value;

use super::super::policy::get;
use super::super::publishing::Batch;
use super::super::{Effect, Machine, soon_given_up, unanswered, unstored};
use super::{Kept, Row};
use crate::log::Log;

/// The number of a document, by its name.
const SAID: &str = "directory/said/";
/// The names of documents, by number.
const AT: &str = "directory/at/";
/// Documents that are looked at together, and said again in one update.
const PAGE: usize = 100;
/// Bytes of that at one time, about; and of one update.
const MAX_BYTES: usize = 512 << 10;

/// So often in a row it is looked whether that has given up more.
const MAX_ROUNDS: usize = 8;

/// The rows that say that documents are in the update of this number; or, of those that are gone,
/// in none.
pub(super) fn rows(
    log: &dyn Log,
    documents: impl Iterator<Item = (String, bool)>,
    seq: Seq,
) -> Result<Vec<Row>, Problem> {
    let raw = |number| to_raw_value(&number).map_err(|it| Problem::internal(it.to_string()));
    let mut rows = vec![];
    for (name, is_there) in documents {
        let said = format!("{SAID}{name}");
        if let Some(before) = get::<Seq>(log, &said)? {
            rows.push((listed(before, &name), None));
        }
        rows.push((said, is_there.then(|| raw(seq)).transpose()?));
        if is_there {
            rows.push((listed(seq, &name), Some(raw(seq)?)));
        }
    }
    Ok(rows)
}

/// True if the log says a document.
pub(super) fn is_said(log: &dyn Log, document: &Document) -> Result<bool, Problem> {
    Ok(get::<Seq>(log, &format!("{SAID}{}", document.name()))?.is_some())
}

/// Names are in the order of their numbers.
fn listed(seq: Seq, name: &str) -> String {
    format!("{AT}{:020}/{name}", seq.0)
}

impl Machine {
    /// Says documents again that retention has given up, or is about to.
    pub(in super::super) fn renew_directory(
        &mut self,
        now: Millis,
        log: &mut dyn Log,
    ) -> Vec<Effect> {
        let mut effects = vec![];
        // What is said again makes retention give up more. A log that holds less than the directory
        // says some of it again with each update that is given up.
        for _ in 0..MAX_ROUNDS {
            let floor = log.floor();
            let mut batch = Batch::default();
            // What storage does not do now is the turn of the next update that is given up.
            let _ = self.renew_documents(now, &mut batch, log);
            effects.extend(self.conclude(now, batch, log));
            if log.floor() == floor {
                break;
            }
        }
        effects
    }

    fn renew_documents(
        &mut self,
        now: Millis,
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<(), Problem> {
        let (floor, ahead) = (log.floor(), soon_given_up(log));
        let is_until = |name: &str, seq: Seq| name < listed(seq.next(), "").as_str();
        let first = log.names_after(AT, "", 1).map_err(unanswered)?;
        if first.first().is_none_or(|first| !is_until(first, floor)) {
            return Ok(());
        }
        let mut bytes = 0;
        loop {
            self.finish_directory(log)?;
            let page = log.names_after(AT, "", PAGE).map_err(unanswered)?;
            let due =
                |name: &String| is_until(name, floor) || is_until(name, ahead) && bytes < MAX_BYTES;
            let page: Vec<String> = page.into_iter().take_while(due).collect();
            if page.is_empty() {
                return Ok(());
            }
            bytes += self.say_again(now, &page, batch, log)?;
        }
    }

    /// Says the documents of these rows again, or as many as fit into one update, and lists them
    /// by its number; how many bytes that took.
    fn say_again(
        &mut self,
        now: Millis,
        page: &[String],
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<usize, Problem> {
        let (mut entries, mut names, mut bytes) = (vec![], vec![], 0);
        for row in page {
            let name = row.strip_prefix(AT).and_then(|it| it.split_once('/')).map(|(_, it)| it);
            let name = name.unwrap_or_default();
            let said: Option<Seq> = get(log, &format!("{SAID}{name}"))?;
            let is_current = said.is_some_and(|said| listed(said, name) == *row);
            let document = Document::of_name(name).filter(|_| is_current);
            let entry = document.map(|it| it.entry(&Kept(log))).transpose()?.flatten();
            let Some(entry) = entry else {
                // It is nothing now, or said later.
                if is_current {
                    log.keep(&format!("{SAID}{name}"), None).map_err(unstored)?;
                }
                log.keep(row, None).map_err(unstored)?;
                continue;
            };
            let size = size(&entry);
            if !entries.is_empty() && bytes + size > MAX_BYTES {
                break;
            }
            bytes += size;
            entries.push(entry);
            names.push((name.to_owned(), true));
        }
        if entries.is_empty() {
            return Ok(0);
        }
        let seq = log.head().next();
        let rows = rows(log, names.into_iter(), seq)?;
        // No other update ever has this id.
        let id = Some(format!("{}again/{seq}", Update::DIRECTORY_ID));
        let reason = Some("the directory is said again".to_owned());
        let update = Update { id, reason, entries, callback: None };
        self.write_directory(now, update, rows, batch, log)?;
        Ok(bytes)
    }
}

/// Bytes of an entry, about.
fn size(entry: &Entry) -> usize {
    entry.inline().map_or(0, |data| data.get().len()) + limits::MAX_PATH_BYTES
}
