//! Command-line tools from crates.io, each in a folder of its own name and version in the cache,
//! so that checkouts with other versions do not disturb each other.

use std::path::PathBuf;

use anyhow::Result;

use super::install_if;
use crate::process;
use crate::workspace::Workspace;

/// A tool that `cargo install` builds.
pub(crate) struct Tool {
    package: &'static str,
    binary: &'static str,
    features: &'static [&'static str],
    version: fn(&Workspace, &Tool) -> Result<String>,
}

/// `wasm-bindgen` and `wasm-bindgen-test-runner`. They read what the crate of the same version
/// wrote into the wasm, and no other version can.
pub(crate) const WASM_BINDGEN: Tool = Tool {
    package: "wasm-bindgen-cli",
    binary: "wasm-bindgen",
    features: &["--no-default-features"],
    version: |workspace, _| workspace.locked_version("wasm-bindgen"),
};

/// Turns the router crate into a Worker's modules.
pub(crate) const WORKER_BUILD: Tool =
    Tool { package: "worker-build", binary: "worker-build", features: &[], version: pinned };

/// Finds dependencies that nothing uses.
pub(crate) const CARGO_MACHETE: Tool =
    Tool { package: "cargo-machete", binary: "cargo-machete", features: &[], version: pinned };

/// Checks licences, sources and advisories (`deny.toml`).
pub(crate) const CARGO_DENY: Tool = Tool {
    package: "cargo-deny",
    binary: "cargo-deny",
    features: &["--no-default-features"],
    version: pinned,
};

/// Builds and runs the fuzz targets (`fuzz/`).
pub(crate) const CARGO_FUZZ: Tool =
    Tool { package: "cargo-fuzz", binary: "cargo-fuzz", features: &[], version: pinned };

fn pinned(workspace: &Workspace, tool: &Tool) -> Result<String> {
    workspace.pinned_version(tool.package)
}

impl Tool {
    /// Installs the tool if it is missing; returns the folder its programs are in.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let version = (self.version)(workspace, self)?;
        let name = format!("{}-{version}", self.package);
        let root = workspace.cached("tools").join(&name);
        let folder = root.join("bin");
        let program = folder.join(self.binary);
        let missing = || Ok(!program.is_file());
        install_if(workspace, missing, &format!("installing {name} (once)"), || {
            let mut cargo = workspace.cargo("install --version");
            cargo.arg(&version).args([self.package, "--root"]).arg(&root).args(self.features);
            // Quick to build rather than quick to run, and one build folder for all: they share
            // many dependencies. Not `--locked`: some of their lock files hold yanked packages.
            cargo.env("CARGO_TARGET_DIR", workspace.cached("tools/target"));
            cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
            cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
            cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
            process::run_quietly(&mut cargo)
        })?;
        Ok(folder)
    }
}
