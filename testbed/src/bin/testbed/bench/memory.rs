//! The memory of a process.

use std::fs;

use anyhow::{Context as _, Result};

/// `VmRSS` of a process.
pub(super) fn resident_mib(pid: u32) -> Result<f64> {
    of(pid, "VmRSS")
}

/// The most that `VmRSS` was since the process began.
pub(super) fn peak_mib(pid: u32) -> Result<f64> {
    of(pid, "VmHWM")
}

/// From now on the most counts anew.
pub(super) fn forget_peak(pid: u32) -> Result<()> {
    let file = format!("/proc/{pid}/clear_refs");
    fs::write(&file, "5").with_context(|| format!("writing {file}"))
}

fn of(pid: u32, name: &str) -> Result<f64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).with_context(|| {
        format!("reading {file}: resident memory is measured where /proc is, which is on Linux")
    })?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{file} has no {name}"))? / 1024.0)
}
