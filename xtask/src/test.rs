//! The test suites. To add one, add a row to [`SUITES`].

use std::ffi::OsString;

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser};

use crate::progress::{self, Job};
use crate::setup::cargo_tools::WASM_BINDGEN;
use crate::setup::{go, wasm_target};
use crate::testbed::Others;
use crate::workspace::Workspace;
use crate::{process, testbed};

struct Suite {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[OsString]) -> Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { name: "unit", about: "unit and documentation tests, native", run: unit },
    Suite { name: "wasm", about: "the functions' tests as WebAssembly, in Node", run: wasm },
    Suite {
        name: "sim",
        about: "hub and agents in a simulation of all faults; `-- --seeds 100000` for more",
        run: sim,
    },
    Suite {
        name: "conformance",
        about: "OPA's own cases on the embedded engine; `-- --bless` lists what passes in passing.txt",
        run: conformance,
    },
    Suite {
        name: "fetch",
        about: "the agent's fetchers against the real servers that data lives in",
        run: |workspace, arguments| black_box(workspace, "edge-agent", "fetch", arguments),
    },
    Suite {
        name: "watch",
        about: "change capture against a real PostgreSQL",
        run: |workspace, arguments| black_box(workspace, "edge-agent", "watch", arguments),
    },
    Suite {
        name: "edge",
        about: "black-box tests on workerd with the agent and OPA",
        run: |workspace, arguments| black_box(workspace, "tests", "edge", arguments),
    },
    Suite {
        name: "decide",
        about: "the embedded decision point held against a real OPA",
        run: |workspace, arguments| black_box(workspace, "tests", "decide", arguments),
    },
    Suite {
        name: "opal",
        about: "the real OPAL against Girasol; `-- --bless` lists what passes in passing.txt",
        run: |workspace, arguments| black_box(workspace, "tests", "opal", arguments),
    },
    Suite {
        name: "permit",
        about: "Permit's real SDK against an agent: writes that are held until they are enforced",
        run: |workspace, arguments| black_box(workspace, "tests", "permit", arguments),
    },
    Suite {
        name: "chaos",
        about: "parts are killed under load; a small run, `-- --kills 200 --updates 100000` for all",
        run: |workspace, arguments| black_box(workspace, "tests", "chaos", arguments),
    },
    Suite {
        name: "testbed",
        about: "what starts the parts for the other suites, by itself",
        run: |workspace, arguments| black_box(workspace, "testbed", "parts", arguments),
    },
];

/// The names a person may give, for the command line.
pub(crate) fn suite_names() -> PossibleValuesParser {
    let values = SUITES.iter().map(|suite| PossibleValue::new(suite.name).help(suite.about));
    PossibleValuesParser::new(values)
}

/// Runs the suites named, or all, in the table's order; `arguments` go to the test programs.
pub(crate) fn run(workspace: &Workspace, names: &[String], arguments: &[OsString]) -> Result<()> {
    let wanted = |suite: &&Suite| names.is_empty() || names.iter().any(|name| name == suite.name);
    let job = |suite: &'static Suite| Job {
        name: suite.name,
        about: suite.about,
        work: Box::new(move || (suite.run)(workspace, arguments)),
    };
    progress::run_all(SUITES.iter().filter(wanted).map(job).collect())
}

/// Without `tests`, which needs all parts, and `sim`, which takes too long without optimization.
/// With OPA, which the built-in policy is held against.
fn unit(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let opa = go::OPA.ensure(workspace)?;
    let mut cargo =
        workspace.cargo("test --workspace --exclude tests --exclude sim --no-fail-fast --");
    cargo.args(arguments).envs(opa.map(|path| (go::OPA.variable, path)));
    process::run(&mut cargo)
}

/// The planted bugs, then seeds; with arguments only what they say.
fn sim(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    if arguments.is_empty() {
        process::run(&mut workspace.cargo("test --release --package sim"))?;
    }
    let mut cargo = workspace.cargo("run --release --package sim --");
    process::run(cargo.args(arguments))
}

/// The cases are in OPA's sources.
fn conformance(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut cargo =
        workspace.cargo("test --release --package rego --features std --test conformance --");
    if std::env::var_os("OPA_CASES").is_none() {
        let sources = go::OPA.sources(workspace)?;
        cargo.env("OPA_CASES", sources.join("v1/test/cases/testdata"));
    }
    process::run(cargo.args(arguments))
}

fn wasm(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    wasm_target::ensure(workspace)?;
    let runner = WASM_BINDGEN.ensure(workspace)?.join("wasm-bindgen-test-runner");
    let mut cargo = workspace.cargo(
        "test --target wasm32-unknown-unknown --lib --no-fail-fast \
         --package token --package publish --package platform --package hub --package git \
         --package repository --package router --",
    );
    cargo.args(arguments).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    process::run(&mut cargo)
}

/// A test program that finds the parts by environment variables.
fn black_box(
    workspace: &Workspace,
    package: &str,
    test: &str,
    arguments: &[OsString],
) -> Result<()> {
    let others = Others {
        opa: true,
        opal: ["opal", "parts"].contains(&test),
        permit: test == "permit",
        stores: ["edge", "fetch", "parts", "watch"].contains(&test),
    };
    let variables = testbed::environment(workspace, others)?;
    let mut cargo = workspace.cargo("test --release --package");
    cargo.args([package, "--test", test, "--"]).args(arguments).envs(variables);
    process::run(&mut cargo)
}
