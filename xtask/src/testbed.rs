//! Handing over to the `testbed` crate, which starts the real parts and plays with them.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::setup::cargo_tools::WASM_BINDGEN;
use crate::setup::go::OPA;
use crate::setup::{self, npm, python};
use crate::workspace::Workspace;
use crate::{build, process};

/// Becomes `testbed <subcommand> <arguments>`, with all it needs built; it stays in the folder of
/// the person who called, to which paths in the arguments are relative.
pub(crate) fn run(workspace: &Workspace, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    process::run_quietly(&mut workspace.cargo("build --release --package testbed"))?;
    let mut testbed = process::command(workspace.built("release/testbed"));
    testbed.arg(subcommand).args(arguments);
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        // The demo decides with the embedded engine; nobody should have to wait for another.
        let others = subcommand == "bench";
        testbed.envs(environment(
            workspace,
            Others { opa: others, opal: others, stores: others, ..Others::default() },
        )?);
        if others {
            // `bench grants` measures as WebAssembly too.
            let runner = WASM_BINDGEN.ensure(workspace)?.join("wasm-bindgen-test-runner");
            testbed.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
        }
    }
    Err(process::become_program(&mut testbed))
}

/// Which parts that are not Girasol's own are needed too.
#[derive(Clone, Copy, Default)]
pub(crate) struct Others {
    pub(crate) opa: bool,
    pub(crate) opal: bool,
    /// Permit's SDK, all versions of it.
    pub(crate) permit: bool,
    /// The servers that data lives in.
    pub(crate) stores: bool,
}

/// Builds the Worker and the agent, and tells where all parts are, as the testbed crate reads it.
pub(crate) fn environment(
    workspace: &Workspace,
    others: Others,
) -> Result<Vec<(&'static str, PathBuf)>> {
    build::worker(workspace)?;
    let mut variables = vec![
        ("GIRASOL_WORKERD", npm::workerd(workspace)?),
        ("GIRASOL_WORKER_CONFIG", workspace.path("deploy/workerd.capnp")),
        ("GIRASOL_AGENT", build::agent(workspace)?),
    ];
    let opa = if others.opa { OPA.ensure(workspace)? } else { None };
    variables.extend(opa.map(|path| (OPA.variable, path)));
    variables.extend(if others.opal { python::OPAL.ensure(workspace)? } else { None });
    if others.permit {
        variables.extend(setup::permit(workspace)?);
    }
    if others.stores {
        variables.extend(setup::servers(workspace)?);
    }
    Ok(variables)
}
