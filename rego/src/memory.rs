//! The memory that an evaluation may take.
//!
//! What is measured is by how much the process has grown since it began, whoever made it grow:
//! only an evaluation that takes milliseconds is asked, and only one that takes very much is meant.
//! Memory that was used before and is free again is no growth. Where no `/proc` says how large a
//! process is, there is no limit.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the process is measured while it evaluates.
const EVERY: Duration = Duration::from_millis(1);

/// Bytes by which the process may grow while it evaluates.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

thread_local! {
    /// The evaluation of this thread.
    static TAKEN: Cell<Taken> = const { Cell::new(Taken::NotMeasured) };
}

#[derive(Clone, Copy)]
enum Taken {
    /// Nobody has asked yet.
    NotMeasured,
    /// When somebody asked first. Most end before they are measured, which takes as long as they do.
    Begun {
        asked: Instant,
    },
    /// How large the process was, and when it was last measured.
    Little {
        at_first: u64,
        measured: Instant,
    },
    TooMuch,
}

/// From now on evaluations of this process are given up that make it grow by more than so many
/// bytes.
pub fn limit(bytes: u64) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// An evaluation begins on this thread.
pub(crate) fn begin() {
    TAKEN.set(Taken::NotMeasured);
}

/// True if it was given up because it took too much.
pub(crate) fn took_too_much() -> bool {
    matches!(TAKEN.get(), Taken::TooMuch)
}

/// Asked again and again by an evaluation, first when it begins.
pub(crate) fn is_too_much() -> bool {
    let limit = LIMIT.load(Ordering::Relaxed);
    if limit == u64::MAX {
        return false;
    }
    let measured = Instant::now();
    let taken = match TAKEN.get() {
        Taken::NotMeasured => Taken::Begun { asked: measured },
        Taken::Begun { asked } if measured - asked < EVERY => return false,
        Taken::Begun { .. } => match resident() {
            Some(at_first) => Taken::Little { at_first, measured },
            None => Taken::Begun { asked: measured },
        },
        Taken::Little { measured: last, .. } if measured - last < EVERY => return false,
        Taken::Little { at_first, .. } => match resident() {
            Some(bytes) if bytes.saturating_sub(at_first) > limit => Taken::TooMuch,
            _ => Taken::Little { at_first, measured },
        },
        Taken::TooMuch => Taken::TooMuch,
    };
    TAKEN.set(taken);
    took_too_much()
}

/// Bytes of memory that the process has.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    size.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}
