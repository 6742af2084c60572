//! OPA, the policy engine that black-box tests and benchmarks run against.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// Where OPA is: `OPA_BIN`, else on `PATH`, else installed with Go, once. `None`, after a warning
/// that says how to get it, where none of that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Option<PathBuf>> {
    if let Some(path) = env::var_os("OPA_BIN").map(PathBuf::from) {
        if !path.is_file() {
            bail!("OPA_BIN is {}, which is not a file: correct or unset it", path.display());
        }
        return Ok(Some(path));
    }
    if let Some(path) = process::find("opa") {
        return Ok(Some(path));
    }
    let version = workspace.pinned_version("opa")?;
    let folder = workspace.cached("tools").join(format!("opa-{version}/bin"));
    let program = folder.join("opa");
    let missing = || Ok(!program.is_file());
    let module = format!("github.com/open-policy-agent/opa@{version}");
    let installed = install_if(workspace, missing, &format!("installing {module} (once)"), || {
        let mut go = process::command("go");
        process::run_silently(go.args(["install", &module]).env("GOBIN", &folder))
    });
    if let Err(error) = installed {
        eprintln!(
            "warning: no OPA ({error:#}); get the program from https://www.openpolicyagent.org, \
             then put it on PATH or name it in OPA_BIN"
        );
        return Ok(None);
    }
    Ok(Some(program))
}
