//! Real parts under load while they are killed, cut off and stopped: what was accepted must be in
//! every engine, once, in order.
//!
//! `cargo xtask test chaos -- --kills 200 --updates 100000 --seed 1`
//!
//! Faults are visible in the data itself. Most updates append a number of their own to a list, so
//! the list that an engine ends with, and every state of it that was seen on the way, tells which
//! update is missing, came twice, or came in the wrong place.
//!
//! | question | file |
//! |---|---|
//! | what is started, and how is it put together? | `stage.rs` |
//! | what is published? | `workload.rs`, `publishers.rs` |
//! | what was accepted, what must an engine have then? | `ledger.rs` |
//! | what goes wrong, and when? | `faults.rs` |
//! | what do the engines show meanwhile? | `observers.rs` |
//! | what is a fault, and how is it told? | `findings.rs` |
//! | does everybody have everything at the end? | `verdict.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod faults;
mod findings;
mod ledger;
mod observers;
mod publishers;
mod stage;
mod verdict;
mod workload;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use testbed::Part;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::faults::Plan;
use crate::findings::Findings;
use crate::observers::Observers;
use crate::publishers::Publishers;
use crate::stage::Stage;
use crate::verdict::Verdict;

/// The hub is back within a second of being killed; without a single accepted update for so long
/// something is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Options {
    /// Kill workerd, agents and OPA so many times in all
    #[arg(long, default_value_t = 24)]
    kills: u64,
    /// Publish at least so many updates
    #[arg(long, default_value_t = 4_000)]
    updates: u64,
    /// Where randomness begins; printed, so that a run can be repeated with the same faults
    #[arg(long)]
    seed: Option<u64>,
    /// Publishers at work at one time
    #[arg(long, default_value_t = 32)]
    publishers: usize,
    /// Keep the folder of a run that went well, too
    #[arg(long)]
    keep: bool,
    /// Run only if this is part of the name `chaos`, as other test programs do
    filter: Option<String>,
    /// For `cargo test`, which gives it to every test program
    #[arg(long, hide = true)]
    nocapture: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.filter.as_ref().is_some_and(|filter| !"chaos".contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    let done = tokio::select! {
        done = run(&options) => done,
        // A signal would end us before we end the parts.
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        () = terminated() => Err(anyhow!("terminated")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for SIGTERM.
async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => std::future::pending().await,
    }
}

/// One run. `false`: a promise was broken.
async fn run(options: &Options) -> Result<bool> {
    if !testbed::require(&[Part::Workerd, Part::WorkerConfig, Part::Agent])? {
        return Ok(true);
    }
    let with_opa = testbed::require(&[Part::Opa])?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!(
        "chaos: {} kills, {} updates, seed {seed}; again with: cargo xtask test chaos -- --kills {} \
         --updates {} --seed {seed}",
        options.kills, options.updates, options.kills, options.updates
    );
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::Builder::new().prefix("girasol-chaos-").tempdir()?;
    let outcome = play(options, seed, &mut random, with_opa, folder.path()).await;
    let fine = outcome.as_ref().is_ok_and(Verdict::is_fine);
    if !fine || options.keep {
        eprintln!("chaos: storage, plan and logs are kept in {}", folder.keep().display());
    }
    outcome.map(|verdict| verdict.is_fine())
}

async fn play(
    options: &Options,
    seed: u64,
    random: &mut fastrand::Rng,
    with_opa: bool,
    folder: &std::path::Path,
) -> Result<Verdict> {
    let began = Instant::now();
    let findings = Findings::new(folder)?;
    let stage = Stage::start(folder, with_opa).await?;
    let plan = Plan::new(random, options.kills, options.updates, &stage);
    plan.write(&folder.join("plan.txt"))?;

    let publishers = Publishers::start(&stage, &findings, options.publishers, random).await?;
    let observers = Observers::start(&stage, &findings);
    let mut faults = plan.start(&stage, publishers.ledger());
    let ledger = publishers.ledger().clone();
    let mut seen = (0, Instant::now());
    while !(faults.are_over() && ledger.accepted() >= options.updates) {
        sleep(LOOK_EVERY).await;
        faults.check()?;
        let accepted = ledger.accepted();
        if accepted > seen.0 {
            seen = (accepted, Instant::now());
        } else if seen.1.elapsed() > STUCK_AFTER {
            bail!("no update was accepted for {STUCK_AFTER:?}; so far {accepted}");
        }
        progress(&format!(
            "{accepted}/{} updates, {}/{} kills, {} faults found",
            options.updates,
            faults.kills(),
            options.kills,
            findings.count()
        ));
    }
    let done = faults.done();
    publishers.finish().await?;
    progress("everything is published; waiting until every agent has it");
    let verdict = Verdict::reach(seed, &stage, &ledger, observers, &findings, done, began).await?;
    progress("");
    verdict.print();
    Ok(verdict)
}

/// Says how far it is, on a terminal only.
fn progress(text: &str) {
    let mut err = stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
    }
}
