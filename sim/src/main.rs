//! Runs seeds on all cores, until one breaks a promise.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use clap::Parser;

/// Deterministic simulation of the hub and its agents, with faults.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print what happens, line by line; with --seed
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(arguments.from, arguments.seeds),
    }
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let outcome = sim::run(seed, trace);
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("seed {seed}: {} updates in {} ms of its own time", outcome.accepted, outcome.took);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let (next, updates, simulated) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let begun = Instant::now();
    let threads = thread::available_parallelism().map_or(1, Into::into);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Relaxed) {
                    let at = next.fetch_add(1, Relaxed);
                    if at >= seeds {
                        break;
                    }
                    let seed = from.wrapping_add(at);
                    let outcome = sim::run(seed, false);
                    updates.fetch_add(outcome.accepted, Relaxed);
                    simulated.fetch_add(outcome.took, Relaxed);
                    if let Some(violation) = outcome.violation {
                        failed.store(true, Relaxed);
                        println!("seed {seed} {violation}\nto see how it comes to this:");
                        println!("  cargo xtask test sim -- --seed {seed} --trace");
                    }
                    if at > 0 && at.is_multiple_of(10_000) {
                        println!("{at} of {seeds} seeds in {} s", begun.elapsed().as_secs());
                    }
                }
            });
        }
    });
    let hours = simulated.load(Relaxed) / 3_600_000;
    let (done, seconds) = (next.load(Relaxed).min(seeds), begun.elapsed().as_secs_f64());
    let updates = updates.load(Relaxed);
    println!("{done} seeds, {updates} updates, {hours} h of their own time, in {seconds:.1} s");
    if failed.load(Relaxed) {
        return ExitCode::FAILURE;
    }
    println!("0 violations");
    ExitCode::SUCCESS
}
