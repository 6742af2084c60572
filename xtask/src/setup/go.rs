//! Programs that Go builds from its modules, each once: OPA, and servers that tests fetch from
//! and that Debian does not have.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// A program and where it comes from. Its version is in the workspace's `Cargo.toml`.
pub(crate) struct GoTool {
    program: &'static str,
    /// What tells others where it is.
    pub(crate) variable: &'static str,
    module: &'static str,
    /// The program's package in the module.
    package: &'static str,
    /// A file that its own build makes, with the version in it, and which the module lacks.
    version_file: Option<&'static str>,
    /// Where people get it.
    home: &'static str,
}

/// The policy engine.
pub(crate) const OPA: GoTool = GoTool {
    program: "opa",
    variable: "OPA_BIN",
    module: "github.com/open-policy-agent/opa",
    package: "",
    version_file: None,
    home: "https://www.openpolicyagent.org",
};

/// Speaks MongoDB's protocol.
const FERRETDB: GoTool = GoTool {
    program: "ferretdb",
    variable: "GIRASOL_FERRETDB_BIN",
    module: "github.com/FerretDB/FerretDB",
    package: "/cmd/ferretdb",
    version_file: Some("build/version/version.txt"),
    home: "https://github.com/FerretDB/FerretDB/releases",
};

/// Speaks S3's protocol.
const VERSITYGW: GoTool = GoTool {
    program: "versitygw",
    variable: "GIRASOL_VERSITYGW_BIN",
    module: "github.com/versity/versitygw",
    package: "/cmd/versitygw",
    version_file: None,
    home: "https://github.com/versity/versitygw/releases",
};

/// Where the servers that data lives in are, by their variables; what cannot be had is left out.
pub(crate) fn ensure_servers(workspace: &Workspace) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = Vec::new();
    for tool in [FERRETDB, VERSITYGW] {
        found.extend(tool.ensure(workspace)?.map(|path| (tool.variable, path)));
    }
    Ok(found)
}

impl GoTool {
    /// Where it is: what its variable names, else on `PATH`, else installed with Go, once.
    /// `None`, after a warning that says how to get it, where none of that is possible.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<Option<PathBuf>> {
        let Self { program, variable, module, home, .. } = self;
        if let Some(path) = env::var_os(variable).map(PathBuf::from) {
            if !path.is_file() {
                bail!("{variable} is {}, which is not a file: correct or unset it", path.display());
            }
            return Ok(Some(path));
        }
        if let Some(path) = process::find(program) {
            return Ok(Some(path));
        }
        let version = workspace.pinned_version(program)?;
        let folder = workspace.cached("tools").join(format!("{program}-{version}/bin"));
        let path = folder.join(program);
        let missing = || Ok(!path.is_file());
        let what = format!("installing {module}@{version} (once)");
        let installed = install_if(workspace, missing, &what, || self.build(&version, &folder));
        if let Err(error) = installed {
            eprintln!(
                "warning: no {program} ({error:#}); get the program from {home}, then put it on \
                 PATH or name it in {variable}"
            );
            return Ok(None);
        }
        Ok(Some(path))
    }

    fn build(&self, version: &str, folder: &Path) -> Result<()> {
        let Self { module, package, .. } = self;
        let mut go = process::command("go");
        let Some(file) = self.version_file else {
            let package = format!("{module}{package}@{version}");
            return process::run_silently(go.args(["install", &package]).env("GOBIN", folder));
        };
        // The module's own folder is read-only and shared by everybody.
        let source = self.downloaded(version)?;
        let own = folder.with_file_name("source");
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        // One that was broken off left something there.
        let _ = fs::remove_dir_all(&own);
        let mut copy = process::command("cp");
        process::run_silently(copy.args(["-R", "--"]).arg(&source).arg(&own))?;
        process::run_silently(process::command("chmod").args(["-R", "u+w", "--"]).arg(&own))?;
        fs::write(own.join(file), format!("{version}\n")).context("writing the version")?;
        go.arg("build").arg("-o").arg(folder.join(self.program)).arg(format!(".{package}"));
        process::run_silently(go.current_dir(&own))?;
        fs::remove_dir_all(&own).with_context(|| format!("removing {}", own.display()))
    }

    /// Its sources, which Go downloads if it does not have them.
    pub(crate) fn sources(&self, workspace: &Workspace) -> Result<PathBuf> {
        self.downloaded(&workspace.pinned_version(self.program)?)
    }

    /// Where Go keeps the module's files.
    fn downloaded(&self, version: &str) -> Result<PathBuf> {
        let module = format!("{}@{version}", self.module);
        let mut go = process::command("go");
        let answer = process::read_text(go.args(["mod", "download", "-json", &module]))?;
        let folder = answer.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \""));
        let folder = folder.and_then(|rest| rest.trim_end_matches(',').strip_suffix('"'));
        folder.map(PathBuf::from).with_context(|| format!("go did not say where {module} is"))
    }
}
