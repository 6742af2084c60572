//! The fuzz targets of `fuzz/`, run by libFuzzer. To add one, add a row to [`TARGETS`].

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context, Result};
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::process;
use crate::progress::{self, Job};
use crate::setup::cargo_tools::CARGO_FUZZ;
use crate::workspace::Workspace;

/// Executions of each target, if nobody says.
pub(crate) const RUNS: u64 = 1_000_000;

/// Names, and what they ask.
const TARGETS: &[(&str, &str)] = &[
    ("packet_lines", "are git's lines the same however the bytes are cut?"),
    ("pack", "does any pack break its reader?"),
    ("made_pack", "does any pack whose checksums are good?"),
    ("look", "does any git server break a look at it?"),
    ("checkout", "does any commit make a path that leads elsewhere?"),
    ("bundle", "does any archive break its reader?"),
    ("made_bundle", "does any archive whose checksum is good?"),
];

/// The names a person may give, for the command line.
pub(crate) fn target_names() -> PossibleValuesParser {
    let values = TARGETS.iter().map(|(name, about)| PossibleValue::new(*name).help(*about));
    PossibleValuesParser::new(values)
}

/// Runs the targets named, or all. libFuzzer prints what it does, and in the end `Done … runs`.
pub(crate) fn run(workspace: &Workspace, names: &[String], runs: u64) -> Result<()> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let targets = TARGETS.iter().filter(|(name, _)| wanted(name));
    let job = |(name, about): &(&'static str, &'static str)| {
        let name = *name;
        Job { name, about, work: Box::new(move || one(workspace, name, runs)) }
    };
    progress::run_all(targets.map(job).collect())
}

/// Without the address sanitizer, which needs a nightly compiler: there is no unsafe code to find
/// mistakes of.
fn one(workspace: &Workspace, name: &str, runs: u64) -> Result<()> {
    let cargo_fuzz = CARGO_FUZZ.ensure(workspace)?.join("cargo-fuzz");
    let corpus = workspace.path(&format!("fuzz/corpus/{name}"));
    fs::create_dir_all(&corpus).with_context(|| format!("creating {}", corpus.display()))?;
    let seeds = workspace.path(&format!("fuzz/seeds/{name}"));
    let mut fuzz = workspace.command(cargo_fuzz);
    // A folder of its own: instrumented code is of no use to others.
    fuzz.env("CARGO_TARGET_DIR", workspace.built("fuzz"));
    fuzz.args(["fuzz", "run", "--sanitizer", "none", name].map(OsStr::new));
    fuzz.args([&corpus, &seeds]).arg("--");
    fuzz.args([format!("-runs={runs}"), "-print_final_stats=1".to_owned()]);
    process::run(&mut fuzz)
}
