//! What is read: requests that change nothing, sent to a real OPA and to ours.

use std::collections::BTreeSet;

use crate::ask::{Ask, Side};
use crate::known::{KNOWN, Known, is_no_place};
use crate::same::difference;
use crate::world::{World, can_run};
use crate::{queries, random, requests};

/// Seeded, so that a failure is there again.
pub(crate) const RANDOM: usize = 1_000;
pub(crate) const SEED: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_answers_as_opa_does() {
    if !can_run() {
        return;
    }
    let world = World::start().await;
    let mut asks = requests::all();
    asks.extend(queries::all());
    let count = asks.len();
    assert!(count >= 500, "{count} requests are too few");
    let random = random::all(SEED, RANDOM);
    let (opa, ours) = (Side::open(world.opa.url()), Side::open(world.agent.decision_url()));
    hold(&opa, &ours, asks, KNOWN).await;
    hold(&opa, &ours, random, &[]).await;
}

/// Sends all to both sides; what differs must be known, and what is known must
/// differ.
pub(crate) async fn hold(opa: &Side, ours: &Side, asks: Vec<Ask>, known: &[Known]) {
    let (mut new, mut gone, mut seen) = (vec![], vec![], BTreeSet::new());
    let count = asks.len();
    for ask in asks {
        let opas = opa.answer(&ask).await;
        let ours = ours.answer(&ask).await;
        if is_no_place(&opas, &ours) {
            continue;
        }
        let name = ask.name();
        let known = known.iter().find(|(part, _)| name.contains(part));
        match (difference(&ask, &opas, &ours), known) {
            (Some(_), Some((part, _))) => drop(seen.insert(*part)),
            (Some(difference), None) => new.push(difference),
            (None, Some((part, _))) => gone.push(format!("{part}: {name}")),
            (None, None) => {}
        }
    }
    println!("{count} requests");
    assert!(new.is_empty(), "{} are not as OPA's:\n  {}", new.len(), new.join("\n  "));
    let unseen = known.iter().map(|(part, _)| *part).filter(|part| !seen.contains(part));
    gone.extend(unseen.map(str::to_owned));
    assert!(gone.is_empty(), "no longer different, so take them from the list: {gone:#?}");
}
