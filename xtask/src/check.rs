//! Checks that need no running system.

use anyhow::Result;

use crate::process;
use crate::progress::{self, Job};
use crate::setup::cargo_tools::{CARGO_DENY, CARGO_MACHETE};
use crate::setup::{npm, wasm_target};
use crate::workspace::Workspace;

struct Check {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check { name: "format", about: "cargo fmt; `cargo fmt --all` repairs", run: format },
    Check { name: "lint", about: "clippy on the whole workspace, native", run: lint },
    Check { name: "lint-wasm", about: "clippy on the functions as WebAssembly", run: lint_wasm },
    Check { name: "unused", about: "dependencies that nothing uses", run: unused },
    Check { name: "licences", about: "licences and sources, as deny.toml allows", run: licences },
    Check { name: "advisories", about: "known vulnerabilities of dependencies", run: advisories },
];

/// Runs all checks.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let job = |check: &'static Check| Job {
        name: check.name,
        about: check.about,
        work: Box::new(move || (check.run)(workspace)),
    };
    progress::run_all(CHECKS.iter().map(job).collect())
}

/// Bundles the Worker as a deployment would. Needs no account; wrangler builds the Worker itself.
pub(crate) fn dry_run(workspace: &Workspace) -> Result<()> {
    npm::ensure(workspace)?;
    let mut wrangler = workspace.command(npm::program(workspace, "wrangler")?);
    process::run(wrangler.args(["deploy", "--dry-run"]))
}

fn format(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo("fmt --all --check"))
}

fn lint(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo("clippy --workspace --all-targets -- -D warnings"))
}

/// Without their tests: clippy does not know `#[wasm_bindgen_test]`, so it would hold those
/// functions to the rules against panics.
fn lint_wasm(workspace: &Workspace) -> Result<()> {
    wasm_target::ensure(workspace)?;
    process::run(&mut workspace.cargo(
        "clippy --target wasm32-unknown-unknown \
         --package token --package publish --package hub --package git \
         --package router -- -D warnings",
    ))
}

fn unused(workspace: &Workspace) -> Result<()> {
    let machete = CARGO_MACHETE.ensure(workspace)?.join("cargo-machete");
    process::run(&mut workspace.command(machete))
}

fn licences(workspace: &Workspace) -> Result<()> {
    let deny = CARGO_DENY.ensure(workspace)?.join("cargo-deny");
    process::run(workspace.command(deny).args(["check", "bans", "licenses", "sources"]))
}

/// The database is fetched first, so that a machine that cannot reach it is told apart from a
/// dependency with a vulnerability.
fn advisories(workspace: &Workspace) -> Result<()> {
    let deny = CARGO_DENY.ensure(workspace)?.join("cargo-deny");
    if let Err(error) = process::run_silently(workspace.command(&deny).args(["fetch", "db"])) {
        eprintln!("warning: skipped, the advisory database cannot be had: {error:#}");
        return Ok(());
    }
    process::run(workspace.command(deny).args(["check", "--disable-fetch", "advisories"]))
}
