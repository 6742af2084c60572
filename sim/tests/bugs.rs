//! The simulation finds every bug that is planted, so it would find one like it that is not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Mutex;
use std::thread;

use protocol::planted::{Bug, plant};

/// Seeds in which a bug must show.
const SEEDS: u64 = 20_000;

/// The first seed in which a bug breaks a promise.
fn found(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| Some((seed, sim::run(seed, false).violation?)));
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let (left, missed) = (Mutex::new(Bug::ALL.to_vec()), Mutex::new(vec![]));
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let next = || left.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = next() {
                    match found(bug) {
                        Some((seed, violation)) => {
                            let first = violation.lines().next().unwrap_or_default();
                            println!("{bug:?}: seed {seed}, {first}");
                        }
                        None => missed.lock().unwrap().push(bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}

#[test]
fn a_seed_is_a_run_to_the_last_byte_of_its_trace() {
    for seed in 0..50 {
        let (one, other) = (sim::run(seed, true), sim::run(seed, true));
        assert!(one.trace.len() > 100, "seed {seed}: {}", one.trace.len());
        assert_eq!(one, other, "seed {seed}");
    }
}
