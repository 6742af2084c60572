//! Benchmarks. Each measures what a user sees, next to a floor or a peer in the same run on the
//! same machine, because a number alone says more of the machine than of Girasol. Nothing is
//! asserted on time.

mod agent;
mod latency;
mod report;
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
    /// Starts of `agent` and `worker`
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    starts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// From a publish with inline data to the changed decision
    DecisionLatency,
    /// The agent's idle memory, and from its start to being subscribed
    Agent,
    /// The Worker's size, and its cold start on workerd
    Worker,
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
            Name::Agent => "agent",
            Name::Worker => "worker",
        });
        match name {
            Name::DecisionLatency => latency::measure(&mut report, options.rounds).await?,
            Name::Agent => agent::measure(&mut report, options.starts).await?,
            Name::Worker => worker::measure(&mut report, options.starts).await?,
        }
        report.print();
    }
    Ok(())
}
