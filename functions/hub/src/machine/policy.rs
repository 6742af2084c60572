//! The policy of a scope: its files, and the revisions of which a client may ask what has
//! changed since.

use std::collections::BTreeSet;

use protocol::Problem;
use protocol::internal::Policy;
use protocol::opal::policy::{Files, PolicyUpdateMessage, Revision};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{unanswered, unstored};
use crate::log::Log;

/// The revision that is the policy.
const HEAD: &str = "policy/head";
/// The hashes of the revisions before it, newest first.
const BEFORE: &str = "policy/before";
/// A revision before it, by its hash.
const REVISION: &str = "policy/revision/";
/// A file's text, by its digest.
const TEXT: &str = "policy/text/";
/// So many revisions are known besides the policy itself.
const MAX_BEFORE: usize = 32;

/// Makes these files the policy: its hash, and what is to be said of the change if it is one.
pub(super) fn set(
    log: &mut dyn Log,
    files: &Files,
    name: Option<String>,
) -> Result<(String, Option<PolicyUpdateMessage>), Problem> {
    let mut new = Revision::of(files);
    if let Some(name) = name {
        new.hash = name;
    }
    let old: Option<Revision> = get(log, HEAD)?;
    let Some(change) = new.change_from(old.as_ref()) else { return Ok((new.hash, None)) };
    let known: BTreeSet<&String> = old.iter().flat_map(|old| old.digests.values()).collect();
    for (path, text) in files {
        let digest = new.digests.get(path).filter(|digest| !known.contains(digest));
        if let Some(digest) = digest {
            put(log, &format!("{TEXT}{digest}"), text)?;
        }
    }
    if let Some(old) = &old {
        let mut before: Vec<String> = get(log, BEFORE)?.unwrap_or_default();
        before.retain(|hash| *hash != old.hash && *hash != new.hash);
        before.insert(0, old.hash.clone());
        put(log, &format!("{REVISION}{}", old.hash), old)?;
        for gone in before.drain(MAX_BEFORE.min(before.len())..) {
            log.keep(&format!("{REVISION}{gone}"), None).map_err(unstored)?;
        }
        put(log, BEFORE, &before)?;
    }
    // From here on it is the policy; before, nothing that was is gone.
    put(log, HEAD, &new)?;
    let wanted: BTreeSet<&String> = new.digests.values().collect();
    for gone in known.into_iter().filter(|digest| !wanted.contains(digest)) {
        log.keep(&format!("{TEXT}{gone}"), None).map_err(unstored)?;
    }
    Ok((new.hash, Some(change)))
}

/// The policy, with the revision `base` if that is known.
pub(super) fn read(log: &dyn Log, base: Option<&str>) -> Result<Option<Policy>, Problem> {
    let Some(revision) = revision(log)? else { return Ok(None) };
    let mut files = Files::new();
    for (path, digest) in &revision.digests {
        let text = get(log, &format!("{TEXT}{digest}"))?;
        let text = text.ok_or_else(|| Problem::internal(format!("the text of {path} is gone")))?;
        files.insert(path.clone(), text);
    }
    let base = match base {
        Some(hash) if hash == revision.hash => Some(revision.clone()),
        Some(hash) => get(log, &format!("{REVISION}{hash}"))?,
        None => None,
    };
    Ok(Some(Policy { revision, files, base }))
}

/// The revision that is the policy, if anybody has given one.
pub(super) fn revision(log: &dyn Log) -> Result<Option<Revision>, Problem> {
    get(log, HEAD)
}

pub(super) fn get<T: DeserializeOwned>(log: &dyn Log, name: &str) -> Result<Option<T>, Problem> {
    let text = log.document(name).map_err(unanswered)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    read.map_err(|error| Problem::internal(format!("{name} cannot be read: {error}")))
}

pub(super) fn put(
    log: &mut dyn Log,
    name: &str,
    value: &(impl Serialize + ?Sized),
) -> Result<(), Problem> {
    let text =
        serde_json::to_string(value).map_err(|error| Problem::internal(error.to_string()))?;
    log.keep(name, Some(&text)).map_err(unstored)
}
