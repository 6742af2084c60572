//! The real OPAL 0.9.9 from PyPI against Girasol, in both directions, each with a real OPA behind.
//!
//! `cargo xtask test opal [-- FILTER] [-- --bless]`
//!
//! What is shown is a list of behaviours by name. `passing.txt` lists those that pass: one of them
//! that fails or is not there any more fails the suite, and so does one that passes and is not
//! listed, until `--bless` has added it.
//!
//! | what is shown | file |
//! |---|---|
//! | the socket frame by frame, at an opal-server and at the functions in one table | `frames.rs` |
//! | who hears a publish, how often, and who does not hold up whom | `delivery.rs` |
//! | opal-client of the functions: data, policy, callbacks, statistics | `client.rs` |
//! | what an opal-client gets that was away, or whose hub was | `away.rs` |
//! | opal-client with a token that does not do | `tokens.rs` |
//! | opal-client of a scope | `scopes.rs` |
//! | base data: from elsewhere, and changed while the functions run | `sources.rs` |
//! | policies from git: bundles beside an opal-server's, an opal-client that follows | `policies.rs` |
//! | who may ask what: role × route × topic | `access.rs` |
//! | OPAL's commands at the functions, Girasol's at an opal-server | `commands.rs` |
//! | the edge agent of an opal-server | `agent.rs` |
//! | behaviours, their list, how they are run | `behaviours.rs`, `ratchet.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod access;
mod agent;
mod away;
mod behaviours;
mod client;
mod commands;
mod delivery;
mod frames;
mod policies;
mod ratchet;
mod scopes;
mod sources;
mod support;
mod tokens;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use testbed::Part;

use crate::behaviours::{Scenario, scenario};
use crate::ratchet::Ratchet;
use crate::support::Stage;

const SCENARIOS: &[Scenario] = &[
    // The longest first, so that none is left alone at the end.
    scenario("agent", |stage, behaviours| Box::pin(agent::run(stage, behaviours))),
    scenario("client", |stage, behaviours| Box::pin(client::run(stage, behaviours))),
    scenario("policies", |stage, behaviours| Box::pin(policies::run(stage, behaviours))),
    scenario("commands", |stage, behaviours| Box::pin(commands::run(stage, behaviours))),
    scenario("tokens", |stage, behaviours| Box::pin(tokens::run(stage, behaviours))),
    scenario("away", |stage, behaviours| Box::pin(away::run(stage, behaviours))),
    scenario("scopes", |stage, behaviours| Box::pin(scopes::run(stage, behaviours))),
    scenario("sources", |stage, behaviours| Box::pin(sources::run(stage, behaviours))),
    scenario("frames", |stage, behaviours| Box::pin(frames::run(stage, behaviours))),
    scenario("delivery", |stage, behaviours| Box::pin(delivery::run(stage, behaviours))),
    scenario("access", |stage, behaviours| Box::pin(access::run(stage, behaviours))),
];

#[derive(Debug, Parser)]
#[command(name = "opal")]
struct Options {
    /// Add what passes to passing.txt
    #[arg(long)]
    bless: bool,
    /// Run only the scenarios whose name has this in it
    filter: Option<String>,
    /// For `cargo test`, which gives it to every test program
    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let parts = [Part::Workerd, Part::WorkerConfig, Part::Agent, Part::Opa, Part::Opal];
    if !testbed::require(&parts)? {
        return Ok(true);
    }
    let wanted = |scenario: &&Scenario| match &options.filter {
        Some(filter) => scenario.name.contains(filter.as_str()),
        None => true,
    };
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcomes = runtime.block_on(async {
        let stage = Arc::new(Stage::default());
        behaviours::run_all(&stage, &scenarios).await
    });
    let mut ratchet = Ratchet::read()?;
    let ran = |name: &str| scenarios.iter().any(|scenario| name.starts_with(&scenario.prefix()));
    let verdict = ratchet.compare(&outcomes, ran);
    if options.bless {
        ratchet.add(&outcomes)?;
    }
    verdict.print(options.bless);
    Ok(verdict.is_good(options.bless))
}
