//! A commit of policy on its way into the log, for agents that follow the log
//! ([`protocol::commit`] says what its parts are).
//!
//! Storage may refuse any of the updates that a commit is. Then the log has parts without a
//! marker, which mean nothing to an agent, and would be taken together with the next marker. So
//! they make nothing unnecessary that the last marker needs; what is about to be said is noted
//! first, and a commit that follows an unfinished one takes back what that may have said and says
//! everything again. A hub whose policy is from before policy was in the log has no note, and says
//! everything, too; and so does one whose retention gave up a part.

use std::collections::{BTreeMap, BTreeSet};

use protocol::commit::{self, Marker};
use protocol::opal::data_files::{self, DataFiles};
use protocol::opal::policy::{Files, Revision};
use protocol::{DataPath, Entry, Millis, Problem, Seq, Update, limits, topic};
use serde::{Deserialize, Serialize};

use super::policy::{get, put, text_of};
use super::publishing::Batch;
use crate::log::Log;

/// What the log says of the policy.
const LOGGED: &str = "policy/logged";
/// Bytes of one update, but for a single larger part.
const MAX_BYTES: usize = limits::REPLAY_BATCH_BYTES - 1_024;

/// What the log says of the policy that is the head.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Logged {
    /// No part of it has a number before this one.
    since: Seq,
    /// The number of its marker.
    pub(super) marker: Seq,
    /// What a commit that was not finished may have said: its places, with their topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unfinished: Vec<(DataPath, Vec<String>)>,
}

impl Logged {
    /// What is noted; none if the log says nothing of the head.
    pub(super) fn read(log: &dyn Log) -> Result<Option<Self>, Problem> {
        get(log, LOGGED)
    }

    /// True if the log says all of the head, and nothing else.
    pub(super) fn is_whole(&self, log: &dyn Log) -> bool {
        self.unfinished.is_empty() && self.since > log.floor()
    }
}

/// A commit that is not in the log yet.
pub(super) struct Commit {
    hash: String,
    parts: Vec<Entry>,
    /// All of the policy is in it.
    is_all: bool,
    logged: Logged,
}

impl Commit {
    /// What takes the log from what it says to these files, which are the revision `new`; `old` is
    /// the head.
    pub(super) fn new(
        log: &dyn Log,
        logged: Option<Logged>,
        old: Option<&Revision>,
        new: &Revision,
        files: &Files,
    ) -> Result<Self, Problem> {
        let is_all = logged.as_ref().is_none_or(|logged| !logged.is_whole(log));
        let nothing = BTreeMap::new();
        let before = old.filter(|_| logged.is_some()).map_or(&nothing, |old| &old.digests);
        let mut parts = vec![];
        let paths: BTreeSet<&String> = before.keys().chain(new.digests.keys()).collect();
        for path in paths.into_iter().filter(|path| path.ends_with(".rego")) {
            if is_all || before.get(path) != new.digests.get(path) {
                parts.push(commit::module(path, files.get(path).map(String::as_str))?);
            }
        }
        let mut data_before = DataFiles::new();
        for (path, digest) in before {
            if let Some(place) = data_place(path)? {
                data_before.insert(place, text_of(log, path, digest)?);
            }
        }
        let mut data_after = DataFiles::new();
        for (path, text) in files {
            if let Some(place) = data_place(path)? {
                data_after.insert(place, object(path, text)?);
            }
        }
        let changes = data_files::changes(&data_before, &data_after, is_all);
        parts.extend(changes.into_iter().flat_map(commit::data));
        let logged = logged.unwrap_or_default();
        let said: BTreeSet<&DataPath> = parts.iter().map(|part| &part.dst_path).collect();
        let left = logged.unfinished.iter().filter(|(place, _)| !said.contains(place));
        let left = left.flat_map(|(place, topics)| commit::gone(place.clone(), topics.clone()));
        let mut parts: Vec<Entry> = left.collect::<Vec<_>>().into_iter().chain(parts).collect();
        let old_hash = old.map(|old| old.hash.clone());
        parts.push(commit::marker(&Marker { hash: new.hash.clone(), old_hash })?);
        Ok(Self { hash: new.hash.clone(), parts, is_all, logged })
    }

    /// Appends it, in updates of at most so many parts. If storage refuses, nobody has got the
    /// marker.
    pub(super) fn append(
        self,
        now: Millis,
        most: usize,
        batch: &mut Batch,
        log: &mut dyn Log,
    ) -> Result<Logged, Problem> {
        let Self { hash, parts, is_all, logged: before } = self;
        // All but the marker, which every commit says anew.
        let places = parts.iter().rev().skip(1);
        let places = places.map(|part| (part.dst_path.clone(), part.topics.clone()));
        // Each once, however often storage refuses.
        let unfinished: BTreeMap<_, _> = before.unfinished.iter().cloned().chain(places).collect();
        let unfinished = unfinished.into_iter().collect();
        put(log, LOGGED, &Logged { unfinished, ..before.clone() })?;
        let first = log.head().next();
        let since = if is_all { first } else { before.since };
        let mut marker = Seq::ZERO;
        for entries in pack(parts, most)? {
            // No other update ever has this id, also when a revision comes back.
            let id = format!("{}{hash}/{}", Update::POLICY_ID, log.head().next());
            let reason = Some(format!("policy {hash}"));
            let update = Update { id: Some(id), reason, entries, callback: None };
            marker = batch.append(now, update, log).inspect_err(|_| batch.unfinished(first))?;
        }
        Ok(Logged { since, marker, unfinished: vec![] })
    }
}

/// The commit's files are the head. Should storage refuse this, the next commit says everything.
pub(super) fn finished(log: &mut dyn Log, logged: &Logged) {
    let _ = put(log, LOGGED, logged);
}

/// The update that agents are asked about who wait for a policy.
pub(super) fn awaited(hash: &str) -> Result<Update, Problem> {
    let marker = commit::marker(&Marker { hash: hash.to_owned(), old_hash: None })?;
    Ok(Update { id: None, reason: None, entries: vec![marker], callback: None })
}

/// Parts in updates that can be delivered and compacted.
fn pack(parts: Vec<Entry>, most: usize) -> Result<Vec<Vec<Entry>>, Problem> {
    let mut updates: Vec<Vec<Entry>> = vec![];
    let (mut bytes, mut topics) = (usize::MAX, BTreeSet::<String>::new());
    for part in parts {
        let size = serde_json::to_string(&part)
            .map_err(|error| Problem::internal(error.to_string()))?
            .len();
        let expanded = part.topics.iter().flat_map(|topic| topic::expand(topic));
        topics.extend(expanded.map(str::to_owned));
        bytes = bytes.saturating_add(size + 1);
        let full = |update: &Vec<Entry>| {
            update.len() >= most || bytes > MAX_BYTES || topics.len() > limits::MAX_EXPANDED_TOPICS
        };
        match updates.last_mut().filter(|update| !full(update)) {
            Some(update) => update.push(part),
            None => {
                let expanded = part.topics.iter().flat_map(|topic| topic::expand(topic));
                topics = expanded.map(str::to_owned).collect();
                bytes = size;
                updates.push(vec![part]);
            }
        }
    }
    Ok(updates)
}

fn data_place(path: &str) -> Result<Option<DataPath>, Problem> {
    let place = data_files::folder_of(path).map(data_files::place_of).transpose();
    place.map_err(|reason| Problem::invalid(format!("files: `{path}`: {reason}")))
}

fn object(path: &str, text: &str) -> Result<String, Problem> {
    data_files::object(text).map_err(|why| Problem::invalid(format!("files: `{path}`: {why}")))
}
