//! Changes of rows become the entries of an update.
//!
//! Of several changes of one row the last one counts. An update stays below the hub's limit
//! whatever its rows are; one that holds more is cut, always at the same rows.
//!
//! A few rows are documents of their own: the hub's log then keeps the last state of each. Many
//! rows are one patch of the table, which costs the hub and the agents far less, and which the log
//! could not have taken apart anyway: it looks at [`EACH`] documents of an update.

use std::collections::BTreeMap;

use protocol::limits;
use sha2::{Digest as _, Sha256};

use super::{WatchError, key};
use crate::fetch::rows::write_string;

/// Rows of an update that are entries of their own, at most.
const EACH: usize = 100;
/// What an operation without its path and value, and an entry without its place and topics, are
/// counted as.
const OPERATION: usize = 32;
const ENTRY: usize = 120;
/// Bytes of changes in an update; the rest is for its id and reason.
const ROOM: usize = limits::MAX_UPDATE_BYTES - 4_096;

/// Where a table's rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name, for people.
    pub(crate) table: String,
    /// Its place, with a leading slash.
    pub(crate) place: String,
    /// Who gets it.
    pub(crate) topics: Vec<String>,
}

/// Changes that are not yet an update.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    tables: BTreeMap<usize, Rows>,
    rows: usize,
    bytes: usize,
}

/// What becomes of a table's rows: each is now this JSON, or gone.
#[derive(Debug, Default)]
struct Rows {
    /// What was there before is gone.
    is_new: bool,
    by_name: BTreeMap<String, Option<String>>,
}

/// An update that can be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// The same for the same changes, however often they are read.
    pub(crate) id: String,
    /// The body of the request.
    pub(crate) body: String,
    /// How many rows it changes.
    pub(crate) rows: usize,
}

impl Chunk {
    /// Notes that a row is now this JSON object, or gone. If that does not fit, nothing is noted
    /// and the row comes back: take the update first.
    pub(crate) fn note(
        &mut self,
        targets: &[Target],
        (table, name): (usize, &str),
        row: Option<String>,
    ) -> Result<Option<Option<String>>, WatchError> {
        let Some(target) = targets.get(table) else { return Ok(None) };
        if !key::is_nameable(name) {
            return Err(WatchError::stop(format!(
                "a key of {} has {} bytes, which is more than a path can hold",
                target.table,
                name.len()
            ))
            .hint("choose other columns with --key"));
        }
        let path = OPERATION + quoted(&key::pointer(name)).len();
        let mut cost = row.as_ref().map_or(2 * path, |row| path + row.len());
        let rows = self.tables.get(&table);
        let is_other = rows.is_none_or(|rows| !rows.by_name.contains_key(name));
        if is_other && self.rows < EACH {
            let topics: usize = target.topics.iter().map(|topic| topic.len() + 3).sum();
            cost += ENTRY + target.place.len() + topics;
        }
        if cost > ROOM {
            return Err(WatchError::stop(format!(
                "a row of {} has {cost} bytes as JSON, and an update at most {}",
                target.table,
                limits::MAX_UPDATE_BYTES
            ))
            .hint("leave large columns out: name the others with --columns"));
        }
        if self.bytes + cost > ROOM {
            return Ok(Some(row));
        }
        self.bytes += cost;
        self.rows += usize::from(is_other);
        self.tables.entry(table).or_default().by_name.insert(name.to_owned(), row);
        Ok(None)
    }

    /// Notes that all rows of a table are gone.
    pub(crate) fn clear(&mut self, table: usize) {
        let rows = Rows { is_new: true, by_name: BTreeMap::new() };
        let before = self.tables.insert(table, rows).map_or(0, |rows| rows.by_name.len());
        self.rows -= before;
    }

    /// What has been noted, as an update; nothing if that is nothing.
    pub(crate) fn take(&mut self, targets: &[Target], id: &str, what: &str) -> Option<Update> {
        let Self { tables, rows, .. } = std::mem::take(self);
        let (mut entries, mut names) = (vec![], vec![]);
        for (table, changes) in tables {
            let Some(target) = targets.get(table) else { continue };
            names.push(target.table.as_str());
            changes.entries(target, rows <= EACH, &mut entries);
        }
        if entries.is_empty() {
            return None;
        }
        let entries = format!("[{}]", entries.join(","));
        // The content is part of the id: should it ever be read other than before, for example
        // after a type was renamed, it is published again and not taken for what was published.
        let content = Sha256::digest(entries.as_bytes());
        let content: String = content.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{id}/{content}");
        let reason = format!("{} {what}", names.join(", "));
        let body =
            format!(r#"{{"id":{},"reason":{},"entries":{entries}}}"#, quoted(&id), quoted(&reason));
        Some(Update { id, body, rows })
    }
}

impl Rows {
    fn entries(self, target: &Target, each: bool, entries: &mut Vec<String>) {
        let Target { place, .. } = target;
        if self.is_new {
            let rows = self.by_name.iter().filter_map(|(name, row)| {
                row.as_ref().map(|row| format!("{}:{row}", quoted(name)))
            });
            let rows = rows.collect::<Vec<_>>().join(",");
            return entries.push(entry(target, place, "PUT", &format!("{{{rows}}}")));
        }
        if !each {
            let operations: Vec<_> = self.by_name.iter().map(operations).collect();
            let patch = format!("[{}]", operations.join(","));
            return entries.push(entry(target, place, "PATCH", &patch));
        }
        for (name, row) in &self.by_name {
            entries.push(match (row, key::place(place, name)) {
                (Some(row), Some(place)) => entry(target, &place, "PUT", row),
                _ => entry(target, place, "PATCH", &format!("[{}]", operations((name, row)))),
            });
        }
    }
}

/// What sets or removes a row. A patch that removes what is not there has no effect at all, and
/// holds up its path: so it is there, for that moment, whoever took it away.
fn operations((name, row): (&String, &Option<String>)) -> String {
    let path = quoted(&key::pointer(name));
    match row {
        Some(row) => format!(r#"{{"op":"add","path":{path},"value":{row}}}"#),
        None => {
            format!(r#"{{"op":"add","path":{path},"value":{{}}}},{{"op":"remove","path":{path}}}"#)
        }
    }
}

fn entry(target: &Target, place: &str, method: &str, data: &str) -> String {
    let topics: Vec<_> = target.topics.iter().map(|topic| quoted(topic)).collect();
    format!(
        r#"{{"url":"","topics":[{}],"dst_path":{},"save_method":"{method}","data":{data}}}"#,
        topics.join(","),
        quoted(place)
    )
}

/// Text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        ["users", "roles"]
            .map(|name| Target {
                table: format!("public.{name}"),
                place: format!("/{name}"),
                topics: vec!["t".to_owned()],
            })
            .to_vec()
    }

    fn put(chunk: &mut Chunk, name: &str, row: &str) {
        let left = chunk.note(&targets(), (0, name), Some(row.to_owned())).unwrap();
        assert_eq!(left, None);
    }

    fn remove(chunk: &mut Chunk, name: &str) {
        assert_eq!(chunk.note(&targets(), (0, name), None).unwrap(), None);
    }

    /// Each entry's place, method and data; what is taken is an update that the hub accepts.
    fn taken(chunk: &mut Chunk) -> Vec<(String, String, String)> {
        let update = chunk.take(&targets(), "id", "changed").unwrap();
        assert!(update.body.len() <= limits::MAX_UPDATE_BYTES, "{}", update.body.len());
        let parsed = protocol::Update::parse(update.body.as_bytes()).unwrap();
        assert_eq!(parsed.id, Some(update.id));
        let entries = parsed.entries.iter();
        entries
            .map(|entry| {
                let method = format!("{:?}", entry.save_method);
                let data = entry.inline().unwrap().get().to_owned();
                (entry.dst_path.to_string(), method, data)
            })
            .collect()
    }

    fn expected(entries: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
        let owned = |(place, method, data): &(&str, &str, &str)| {
            ((*place).to_owned(), (*method).to_owned(), (*data).to_owned())
        };
        entries.iter().map(owned).collect()
    }

    #[test]
    fn of_several_changes_of_a_row_the_last_one_counts() {
        let mut chunk = Chunk::default();
        put(&mut chunk, "7", r#"{"n":1}"#);
        put(&mut chunk, "8", r#"{"n":2}"#);
        put(&mut chunk, "7", r#"{"n":3}"#);
        remove(&mut chunk, "8");
        let removed = r#"[{"op":"add","path":"/8","value":{}},{"op":"remove","path":"/8"}]"#;
        let entries = [("/users/7", "Put", r#"{"n":3}"#), ("/users", "Patch", removed)];
        assert_eq!(taken(&mut chunk), expected(&entries));
        assert_eq!(chunk.take(&targets(), "id", "changed"), None);
    }

    #[test]
    fn a_name_that_no_path_holds_is_patched_in() {
        let mut chunk = Chunk::default();
        put(&mut chunk, "a/b", "{}");
        put(&mut chunk, "", "{}");
        let first = r#"[{"op":"add","path":"/","value":{}}]"#;
        let second = r#"[{"op":"add","path":"/a~1b","value":{}}]"#;
        let entries = [("/users", "Patch", first), ("/users", "Patch", second)];
        assert_eq!(taken(&mut chunk), expected(&entries));
    }

    #[test]
    fn a_table_that_begins_anew_is_one_document() {
        let mut chunk = Chunk::default();
        put(&mut chunk, "1", "{}");
        chunk.clear(0);
        put(&mut chunk, "2", r#"{"n":2}"#);
        remove(&mut chunk, "3");
        assert_eq!(taken(&mut chunk), expected(&[("/users", "Put", r#"{"2":{"n":2}}"#)]));
        chunk.clear(1);
        assert_eq!(taken(&mut chunk), expected(&[("/roles", "Put", "{}")]));
    }

    #[test]
    fn many_rows_are_one_patch() {
        let mut chunk = Chunk::default();
        (0..=EACH).for_each(|n| put(&mut chunk, &n.to_string(), r#"{"n":1}"#));
        let entries = taken(&mut chunk);
        assert_eq!(entries.len(), 1);
        assert_eq!((&*entries[0].0, &*entries[0].1), ("/users", "Patch"));
        let operations: Vec<serde_json::Value> = serde_json::from_str(&entries[0].2).unwrap();
        assert_eq!(operations.len(), EACH + 1);
    }

    #[test]
    fn an_update_is_full_before_the_hub_would_refuse_it() {
        for row in [r#"{"n":1}"#.to_owned(), format!(r#"{{"n":"{}"}}"#, "x".repeat(30_000))] {
            let (mut chunk, mut count) = (Chunk::default(), 0);
            let left = loop {
                let name = format!("{count:\"<20}");
                match chunk.note(&targets(), (0, &name), Some(row.clone())).unwrap() {
                    None => count += 1,
                    Some(left) => break left,
                }
            };
            assert_eq!(left, Some(row));
            assert!(count > 30, "{count}");
            taken(&mut chunk);
        }
    }

    #[test]
    fn what_no_update_can_hold_is_an_error_that_says_what_to_do() {
        let mut chunk = Chunk::default();
        let error = chunk.note(&targets(), (0, "7"), Some("x".repeat(1_000_000))).unwrap_err();
        assert!(error.to_string().contains("a row of public.users has 1000"), "{error}");
        let error = chunk.note(&targets(), (0, &"k".repeat(1_024)), None).unwrap_err();
        assert!(error.to_string().contains("a key of public.users has 1024 bytes"), "{error}");
    }

    #[test]
    fn the_same_changes_have_the_same_id_and_others_another() {
        let id = |row: &str| {
            let mut chunk = Chunk::default();
            put(&mut chunk, "7", row);
            chunk.take(&targets(), "pg:1/2", "changed").unwrap().id
        };
        assert_eq!(id("{}"), id("{}"));
        assert_ne!(id("{}"), id(r#"{"n":1}"#));
        assert!(id("{}").starts_with("pg:1/2/"));
    }
}
