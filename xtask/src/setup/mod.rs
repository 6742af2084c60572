//! Installing what the tasks need, where it is missing.
//!
//! Each part looks first whether it is there, which costs milliseconds, so tasks ask for their
//! parts every time. Whatever is installed goes into the cache, the checkout's `node_modules` or,
//! for the WebAssembly target, into the Rust toolchain itself; Debian's packages into the system.

pub(crate) mod cargo_tools;
mod debian;
mod debian_std;
pub(crate) mod go;
pub(crate) mod npm;
pub(crate) mod python;
pub(crate) mod wasm_target;

use std::path::PathBuf;

use anyhow::Result;

use self::cargo_tools::{WASM_BINDGEN, WORKER_BUILD};
use crate::progress;
use crate::workspace::{self, Workspace};

/// All parts that building, running and testing need.
pub(crate) fn everything(workspace: &Workspace) -> Result<()> {
    worker(workspace)?;
    go::OPA.ensure(workspace)?;
    python::OPAL.ensure(workspace)?;
    permit(workspace)?;
    servers(workspace)?;
    Ok(())
}

/// Permit's SDK, each version by its variable.
pub(crate) fn permit(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = vec![];
    for packages in &python::PERMIT {
        found.extend(packages.ensure(workspace)?);
    }
    Ok(found)
}

/// The servers that data lives in, by the variables that tell the tests where each is.
pub(crate) fn servers(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = debian::ensure_all(workspace)?;
    found.extend(go::ensure_servers(workspace)?);
    Ok(found)
}

/// What building the Worker needs.
pub(crate) fn worker(workspace: &Workspace) -> Result<()> {
    wasm_target::ensure(workspace)?;
    WASM_BINDGEN.ensure(workspace)?;
    WORKER_BUILD.ensure(workspace)?;
    npm::ensure(workspace)
}

/// Installs a part that is missing. Two tasks at the same time install it once: the second waits
/// and then finds it there.
fn install_if(
    workspace: &Workspace,
    missing: impl Fn() -> Result<bool>,
    what: &str,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if missing()? {
        let _lock = workspace::lock(&workspace.cached("setup.lock"))?;
        if missing()? {
            progress::step(what, install)?;
        }
    }
    Ok(())
}
