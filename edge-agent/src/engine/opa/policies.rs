//! Replacing the policies of an OPA, which knows modules but no set of them.

use std::collections::BTreeSet;

use reqwest::Method;

use super::{
    call::{Body, Rest},
    marker::Marker,
};
use crate::{engine::EngineError, policy::PolicyModule};

/// Puts `modules` and takes back what this agent put before and is not among them.
///
/// A module that OPA refuses is put again after the others: it may import one of them, or
/// collide with one that is about to go. Whoever else put modules into this OPA keeps them.
pub(super) async fn replace(
    rest: &Rest,
    marker: &Marker,
    modules: &[PolicyModule],
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

    let mut pending: Vec<&PolicyModule> = modules.iter().collect();
    // Old modules go once the new ones are in, or when the new ones cannot get in beside them.
    let mut stuck = false;
    while !pending.is_empty() || !stale.is_empty() {
        let before = (pending.len(), stale.len());
        let mut refused = put(rest, &mut pending).await?;
        if pending.is_empty() || stuck {
            refused = refused.or(delete(rest, &mut stale).await?);
        }
        if let Some(error) = refused
            && (pending.len(), stale.len()) == before
        {
            if stuck {
                return Err(error);
            }
            stuck = true;
        }
    }
    marker.set_policies(wanted);
    if marked { rest.write_marker(marker).await } else { Ok(()) }
}

/// Puts what is pending; keeps what OPA refuses and returns the first refusal.
async fn put(
    rest: &Rest,
    pending: &mut Vec<&PolicyModule>,
) -> Result<Option<EngineError>, EngineError> {
    let mut first = None;
    for module in std::mem::take(pending) {
        match rest.policy(Method::PUT, &module.id, Body::Rego(&module.rego)).await {
            Ok(()) => {}
            Err(EngineError::Rejected(why)) => {
                first = first.or(Some(EngineError::Rejected(format!("{}: {why}", module.id))));
                pending.push(module);
            }
            Err(unavailable) => return Err(unavailable),
        }
    }
    Ok(first)
}

/// Deletes what is stale; keeps what OPA refuses to delete and returns the first refusal.
async fn delete(
    rest: &Rest,
    stale: &mut BTreeSet<String>,
) -> Result<Option<EngineError>, EngineError> {
    let mut first = None;
    for id in std::mem::take(stale) {
        match rest.policy(Method::DELETE, &id, Body::None).await {
            Ok(()) => {}
            Err(EngineError::Rejected(why)) => {
                first = first.or(Some(EngineError::Rejected(format!("{id}: {why}"))));
                stale.insert(id);
            }
            Err(unavailable) => return Err(unavailable),
        }
    }
    Ok(first)
}
