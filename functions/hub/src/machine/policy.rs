//! The policy of a scope: its files, and the revisions of which a client may ask what has
//! changed since.
//!
//! Agents that follow the log get a change as a [commit](super::commit), clients of the OPAL
//! dialect are told that there is one. Both happen in one step with the change itself. The order
//! of its writes is such that one that storage refuses leaves the policy that was, or a change
//! that the same request completes.

use std::collections::BTreeSet;

use protocol::internal::{HubAnswer, Policy, Wait};
use protocol::opal::policy::{Files, PolicyUpdateMessage, Revision, check_revision};
use protocol::{Millis, Problem, Seq};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::commit::{self, Commit, Logged};
use super::publishing::Batch;
use super::{Effect, Machine, RequestId, unanswered, unstored};
use crate::log::Log;

/// The revision that is the policy.
const HEAD: &str = "policy/head";
/// The hashes of the revisions before it, newest first.
const BEFORE: &str = "policy/before";
/// A revision before it, by its hash.
const REVISION: &str = "policy/revision/";
/// A file's text, by its digest.
const TEXT: &str = "policy/text/";
/// So many digits of a hash name a revision at least.
const MIN_ABBREVIATION: usize = 4;
/// So many revisions are known besides the policy itself.
const MAX_BEFORE: usize = 32;

/// What somebody wants to be the policy.
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) files: Files,
    pub(super) wait: Option<Wait>,
}

/// What came of it.
struct Set {
    hash: String,
    /// What is to be said of the change, if files changed.
    change: Option<PolicyUpdateMessage>,
    /// The number of the commit's last update.
    seq: Seq,
}

impl Machine {
    /// Makes files the policy; the answer, unless that waits for agents.
    pub(super) fn set_policy(
        &mut self,
        now: Millis,
        (request, Wanted { name, files, wait }): (RequestId, Wanted),
        batch: &mut Batch,
        log: &mut dyn Log,
        then: &mut Vec<Effect>,
    ) -> Result<Option<HubAnswer>, Problem> {
        if wait.is_some() {
            self.has_room_to_wait(batch)?;
        }
        let bytes: usize = files.values().map(String::len).sum();
        if usize::try_from(self.settings.retention.max_bytes).is_ok_and(|limit| bytes > limit / 2) {
            return Err(Problem::too_large(format!(
                "the policy has {bytes} bytes, more than half of what the log keeps \
                 (GIRASOL_LOG_MAX_BYTES)"
            )));
        }
        let Set { hash, change, seq } =
            set((now, self.settings.commit_parts), &files, name, batch, log)?;
        *then = change.as_ref().map_or_else(Vec::new, |it| self.tell_policy(now, it));
        if change.is_some() {
            then.extend(self.told(log, |of| of.policy.is_some()));
        }
        let awaited = commit::awaited(&hash)?;
        let answer = HubAnswer::PolicySet { hash, changed: change.is_some(), seq, receipts: None };
        Ok(batch.answer(request, answer, wait, (seq, awaited)))
    }

    /// Says all of the policy if the log says nothing of it: a hub of an earlier version did not.
    pub(super) fn adopt_policy(&mut self, now: Millis, log: &mut dyn Log) -> Vec<Effect> {
        if matches!(Logged::read(log), Ok(None)) { self.renew_policy(now, log) } else { vec![] }
    }

    /// Says all of the policy again if retention has given up a part of it.
    pub(super) fn renew_policy(&mut self, now: Millis, log: &mut dyn Log) -> Vec<Effect> {
        let mut batch = Batch::default();
        // What storage does not do now is the turn of the next update that is given up.
        let _ = renew((now, self.settings.commit_parts), &mut batch, log);
        self.conclude(now, batch, log)
    }
}

fn set(
    (now, most): (Millis, usize),
    files: &Files,
    name: Option<String>,
    batch: &mut Batch,
    log: &mut dyn Log,
) -> Result<Set, Problem> {
    let old: Option<Revision> = get(log, HEAD)?;
    let mut new = Revision::of(files);
    if let Some(name) = name {
        new.hash = name;
        check_name(log, old.as_ref(), &new)?;
    }
    let change = new.change_from(old.as_ref());
    let logged = Logged::read(log)?;
    if let (Some(old), Some(logged)) = (&old, &logged)
        && *old == new
        && logged.is_whole(log)
    {
        return Ok(Set { hash: new.hash, change: None, seq: logged.marker });
    }
    let commit = Commit::new(log, logged, old.as_ref(), &new, files)?;
    let known: BTreeSet<&String> = old.iter().flat_map(|old| old.digests.values()).collect();
    for (path, text) in files {
        let digest = new.digests.get(path).filter(|digest| !known.contains(digest));
        if let Some(digest) = digest {
            put(log, &format!("{TEXT}{digest}"), text)?;
        }
    }
    if let Some(old) = old.as_ref().filter(|old| old.hash != new.hash) {
        keep_before(log, old, &new)?;
    }
    let logged = commit.append(now, most, batch, log)?;
    // From here on it is the policy; before, nothing that was is gone.
    put(log, HEAD, &new)?;
    commit::finished(log, &logged);
    let wanted: BTreeSet<&String> = new.digests.values().collect();
    for gone in known.into_iter().filter(|digest| !wanted.contains(digest)) {
        // One that stays is only space.
        let _ = log.keep(&format!("{TEXT}{gone}"), None);
    }
    Ok(Set { hash: new.hash, change, seq: logged.marker })
}

fn renew(
    (now, most): (Millis, usize),
    batch: &mut Batch,
    log: &mut dyn Log,
) -> Result<(), Problem> {
    let logged = Logged::read(log)?;
    if logged.as_ref().is_some_and(|logged| logged.is_whole(log)) {
        return Ok(());
    }
    let Some(Policy { revision, files, .. }) = read(log, None)? else { return Ok(()) };
    let commit = Commit::new(log, logged, Some(&revision), &revision, &files)?;
    let logged = commit.append(now, most, batch, log)?;
    commit::finished(log, &logged);
    Ok(())
}

/// A name that means other files already would make clients believe that they have these.
fn check_name(log: &dyn Log, old: Option<&Revision>, new: &Revision) -> Result<(), Problem> {
    let name = &new.hash;
    check_revision(name)?;
    let head = old.filter(|old| old.hash == *name).cloned();
    let known = match head {
        Some(head) => Some(head),
        None => get::<Revision>(log, &format!("{REVISION}{name}"))?,
    };
    if known.is_some_and(|known| known.digests != new.digests) {
        return Err(Problem::conflict(format!(
            "revision `{name}` was set before with other files; choose another name"
        )));
    }
    Ok(())
}

/// Keeps what the policy was until now, and forgets what it was long ago.
fn keep_before(log: &mut dyn Log, old: &Revision, new: &Revision) -> Result<(), Problem> {
    let mut before: Vec<String> = get(log, BEFORE)?.unwrap_or_default();
    before.retain(|hash| *hash != old.hash && *hash != new.hash);
    before.insert(0, old.hash.clone());
    put(log, &format!("{REVISION}{}", old.hash), old)?;
    for gone in before.drain(MAX_BEFORE.min(before.len())..) {
        log.keep(&format!("{REVISION}{gone}"), None).map_err(unstored)?;
    }
    put(log, BEFORE, &before)
}

/// The policy, with the revision `base` if that is known.
pub(super) fn read(log: &dyn Log, base: Option<&str>) -> Result<Option<Policy>, Problem> {
    let Some(revision) = revision(log)? else { return Ok(None) };
    let mut files = Files::new();
    for (path, digest) in &revision.digests {
        files.insert(path.clone(), text_of(log, path, digest)?);
    }
    let base = match base {
        Some(asked) => match full_name(log, &revision, asked)? {
            Some(hash) if hash == revision.hash => Some(revision.clone()),
            Some(hash) => get(log, &format!("{REVISION}{hash}"))?,
            None => None,
        },
        None => None,
    };
    Ok(Some(Policy { revision, files, base }))
}

/// The name of the revision that is asked for, or of the one that begins so, as git has it.
fn full_name(log: &dyn Log, head: &Revision, asked: &str) -> Result<Option<String>, Problem> {
    let mut known: Vec<String> = get(log, BEFORE)?.unwrap_or_default();
    known.push(head.hash.clone());
    if known.iter().any(|name| name == asked) {
        return Ok(Some(asked.to_owned()));
    }
    let begins = |name: &String| {
        let begin = name.get(..asked.len());
        asked.len() >= MIN_ABBREVIATION && begin.is_some_and(|it| it.eq_ignore_ascii_case(asked))
    };
    let mut fitting = known.into_iter().filter(begins);
    let first = fitting.next();
    Ok(first.filter(|_| fitting.next().is_none()))
}

/// The text of a file of the policy.
pub(super) fn text_of(log: &dyn Log, path: &str, digest: &str) -> Result<String, Problem> {
    let text = get(log, &format!("{TEXT}{digest}"))?;
    text.ok_or_else(|| Problem::internal(format!("the text of {path} is gone")))
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
