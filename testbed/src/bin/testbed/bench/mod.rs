//! Benchmarks. Each measures what a user sees, next to a floor or a peer in the same run on the
//! same machine, because a number alone says more of the machine than of Girasol. Nothing is
//! asserted on time.

mod agent;
mod decide;
mod document;
mod fetch;
mod grants;
mod latency;
mod memory;
mod opal;
mod patch;
mod policy;
mod reconnect;
mod report;
mod restart;
mod slow;
mod subscriber;
mod throughput;
mod wait;
mod worker;

use anyhow::Result;
use clap::ValueEnum;

use crate::{End, interrupt};
use report::Report;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure; everything when none is named
    names: Vec<Name>,
    /// Rounds of `decision-latency`
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Publishes in each round of `publish-throughput`
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    publishes: u64,
    /// Rounds of each block of `slow-subscribers`
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..))]
    block: u64,
    /// Starts of `agent`, `restart` and `worker`
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    starts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// From a publish with inline data to the changed decision
    DecisionLatency,
    /// Durable publishes a second, beside a hand-written Durable Object
    PublishThroughput,
    /// The agent's idle memory, and from its start to being subscribed
    Agent,
    /// The Worker's size, and its cold start on workerd
    Worker,
    /// What ten frozen subscribers of a hundred cost the others and the hub
    SlowSubscribers,
    /// Bytes to an agent for one changed key of a large document
    PatchBytes,
    /// Two thousand subscribers that come back at once
    Reconnect,
    /// An agent's first right decision after a restart, with nobody to reach
    Restart,
    /// A publish that waits for its receipts
    Wait,
    /// A commit to its decision, beside the real opal-server
    Policy,
    /// Rows of PostgreSQL to a decision, beside the real opal-client; a source that hangs
    Fetch,
    /// What a token may do: one check, a revocation, a proxy
    Grants,
    /// Decisions: embedded beside a real OPA, at the edge, after a write that is waited for
    Decide,
    /// The real OPAL beside Girasol
    Opal,
}

pub(crate) async fn run(options: Options) -> Result<End> {
    tokio::select! {
        done = measure(&options) => done.map(|()| End::Done),
        signal = interrupt() => signal.map(|()| End::Interrupted),
    }
}

async fn measure(options: &Options) -> Result<()> {
    let names = match options.names.as_slice() {
        [] => Name::value_variants(),
        names => names,
    };
    for name in names {
        let mut report = Report::new(match name {
            Name::DecisionLatency => "decision-latency",
            Name::PublishThroughput => "publish-throughput",
            Name::Agent => "agent",
            Name::Worker => "worker",
            Name::SlowSubscribers => "slow-subscribers",
            Name::PatchBytes => "patch-bytes",
            Name::Reconnect => "reconnect",
            Name::Restart => "restart",
            Name::Wait => "wait",
            Name::Policy => "policy",
            Name::Fetch => "fetch",
            Name::Grants => "grants",
            Name::Decide => "decide",
            Name::Opal => "opal",
        });
        let measured = match name {
            Name::DecisionLatency => latency::measure(&mut report, options.rounds).await,
            Name::PublishThroughput => throughput::measure(&mut report, options.publishes).await,
            Name::Agent => agent::measure(&mut report, options.starts).await,
            Name::Worker => worker::measure(&mut report, options.starts).await,
            Name::SlowSubscribers => slow::measure(&mut report, options.block).await,
            Name::PatchBytes => patch::measure(&mut report, options.rounds.min(50)).await,
            Name::Reconnect => reconnect::measure(&mut report).await,
            Name::Restart => restart::measure(&mut report, options.starts.min(10)).await,
            Name::Wait => wait::measure(&mut report, options.rounds.min(300)).await,
            Name::Policy => policy::measure(&mut report, options.rounds.min(30)).await,
            Name::Fetch => fetch::measure(&mut report, options.rounds).await,
            Name::Grants => grants::measure(&mut report, options.rounds).await,
            Name::Decide => decide::measure(&mut report, options.rounds).await,
            Name::Opal => opal::measure(&mut report, options.starts).await,
        };
        // Also what was measured before something failed.
        report.print();
        measured?;
    }
    Ok(())
}
