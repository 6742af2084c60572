//! Replacing the policies of an OPA, which knows modules but no set of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use reqwest::Method;

use super::{
    call::{Body, Refused, Rest},
    marker::Marker,
};
use crate::{engine::EngineError, policy::PolicyModule};

/// Puts `modules` and takes back what this agent put before and is not among them.
///
/// A module that OPA refuses is put again after the others: it may import one of them, or
/// collide with one that is about to go. Whoever else put modules into this OPA keeps them,
/// and nothing goes for good before the new modules are in. Modules that are `there` as they are
/// wanted are not put again, since OPA compiles everything for each that it is given.
pub(super) async fn replace(
    rest: &Rest,
    marker: &Marker,
    modules: &[PolicyModule],
    there: &[PolicyModule],
) -> Result<(), EngineError> {
    let wanted: BTreeSet<String> = modules.iter().map(|module| module.id.clone()).collect();
    // An earlier run of the agent left its list.
    let found = rest.read_marker().await?.unwrap_or_default();
    let marked = marker.is_ours(&found);
    let mut ours = marker.policies();
    ours.extend(found.policies);
    let mut stale: BTreeSet<String> = ours.difference(&wanted).cloned().collect();
    // Whatever happens from here on, what may be in OPA is known to be ours.
    marker.set_policies(ours.union(&wanted).cloned().collect());

    // An OPA that was emptied has none of them.
    let there = if marked { there } else { &[] };
    let there: BTreeMap<&str, &str> =
        there.iter().map(|module| (module.id.as_str(), module.rego.as_str())).collect();
    let is_new = |it: &&PolicyModule| there.get(it.id.as_str()).is_none_or(|text| *text != it.rego);
    let mut pending: Vec<&PolicyModule> = modules.iter().filter(is_new).collect();
    if let Some(refused) = put_all(rest, &mut pending).await? {
        // Other modules are no reason for one that cannot be read.
        if refused.unreadable || stale.is_empty() {
            return Err(EngineError::Rejected(refused.why));
        }
        make_way(rest, &mut pending, &mut stale).await?;
    }
    while !stale.is_empty() {
        let before = stale.len();
        if let Some(refused) = delete(rest, &mut stale).await?
            && stale.len() == before
        {
            return Err(EngineError::Rejected(refused.why));
        }
    }
    marker.set_policies(wanted);
    if marked { rest.write_marker(marker).await } else { Ok(()) }
}

/// Puts what is pending for as long as that gets more of it in.
async fn put_all(
    rest: &Rest,
    pending: &mut Vec<&PolicyModule>,
) -> Result<Option<Refused>, EngineError> {
    loop {
        let before = pending.len();
        let refused = put(rest, pending).await?;
        if refused.is_none() || pending.len() == before {
            return Ok(refused);
        }
    }
}

/// Deletes what is stale before the new modules are in, which cannot get in beside it. If
/// they do not get in without it either, everything is put back.
async fn make_way(
    rest: &Rest,
    pending: &mut Vec<&PolicyModule>,
    stale: &mut BTreeSet<String>,
) -> Result<(), EngineError> {
    let mut texts = BTreeMap::new();
    for id in pending.iter().map(|module| &module.id).chain(&*stale) {
        texts.insert(id.clone(), rest.read_policy(id).await?);
    }
    let Err(error) = exchange(rest, pending, stale).await else { return Ok(()) };
    let lost = put_back(rest, texts).await;
    if lost.is_empty() {
        return Err(error);
    }
    let lost = format!("{error}; not put back as before: {}", lost.join(", "));
    Err(match error {
        EngineError::Rejected(_) => EngineError::Rejected(lost),
        EngineError::Unavailable(_) => EngineError::Unavailable(lost),
    })
}

async fn exchange(
    rest: &Rest,
    pending: &mut Vec<&PolicyModule>,
    stale: &mut BTreeSet<String>,
) -> Result<(), EngineError> {
    loop {
        let before = (pending.len(), stale.len());
        delete(rest, stale).await?;
        let Some(refused) = put(rest, pending).await? else { return Ok(()) };
        if (pending.len(), stale.len()) == before {
            return Err(EngineError::Rejected(refused.why));
        }
    }
}

/// Gives modules the texts that they had, and deletes those that had none. Returns those
/// with which that did not work.
async fn put_back(rest: &Rest, mut texts: BTreeMap<String, Option<String>>) -> Vec<String> {
    loop {
        let before = texts.len();
        for (id, text) in mem::take(&mut texts) {
            let done = match &text {
                Some(text) => rest.policy(Method::PUT, &id, Body::Rego(text)).await,
                None => rest.policy(Method::DELETE, &id, Body::None).await,
            };
            if !matches!(done, Ok(None)) {
                texts.insert(id, text);
            }
        }
        if texts.is_empty() || texts.len() == before {
            return texts.into_keys().collect();
        }
    }
}

/// Puts what is pending; keeps what OPA refuses and returns a refusal: the first, or the
/// first that is final.
async fn put(
    rest: &Rest,
    pending: &mut Vec<&PolicyModule>,
) -> Result<Option<Refused>, EngineError> {
    let mut told: Option<Refused> = None;
    for module in mem::take(pending) {
        let done = rest.policy(Method::PUT, &module.id, Body::Rego(&module.rego)).await?;
        let Some(refused) = done else { continue };
        pending.push(module);
        if told.as_ref().is_none_or(|told| refused.unreadable && !told.unreadable) {
            told = Some(refused);
        }
    }
    Ok(told)
}

/// Deletes what is stale; keeps what OPA refuses to delete and returns the first refusal.
async fn delete(rest: &Rest, stale: &mut BTreeSet<String>) -> Result<Option<Refused>, EngineError> {
    let mut first = None;
    for id in mem::take(stale) {
        if let Some(refused) = rest.policy(Method::DELETE, &id, Body::None).await? {
            first = first.or(Some(refused));
            stale.insert(id);
        }
    }
    Ok(first)
}
