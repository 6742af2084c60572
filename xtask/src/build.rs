//! Making what runs: `build/`, the Worker's modules, and the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::setup::cargo_tools::{WASM_BINDGEN, WORKER_BUILD};
use crate::setup::{self, npm};
use crate::workspace::{self, Workspace};
use crate::{process, progress};

/// What can be built by itself.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The functions, as a Worker, into build/
    Worker,
    /// The edge agent
    Agent,
}

/// Builds one part, or all.
pub(crate) fn run(workspace: &Workspace, part: Option<Part>) -> Result<()> {
    if part != Some(Part::Agent) {
        worker(workspace)?;
    }
    if part != Some(Part::Worker) {
        agent(workspace)?;
    }
    Ok(())
}

/// Builds the Worker's modules, if the compiled functions are other than those they were made of.
pub(crate) fn worker(workspace: &Workspace) -> Result<()> {
    setup::worker(workspace)?;
    let build = workspace.path("build");
    let _lock = workspace::lock(&build.join(".lock"))?;
    let wasm = compile(workspace)?;
    let stamp = build.join(".made-of");
    let made_of = identity(workspace, &wasm)?;
    let modules = ["index.js", "index_bg.wasm"].map(|name| build.join(name));
    if modules.iter().all(|module| module.is_file())
        && fs::read_to_string(&stamp).is_ok_and(|text| text == made_of)
    {
        return Ok(());
    }
    progress::step("making the Worker's modules", || make_modules(workspace, &build))?;
    fs::write(&stamp, made_of)?;
    report_size(&build.join("index_bg.wasm"))
}

/// Builds the agent; returns where it is.
pub(crate) fn agent(workspace: &Workspace) -> Result<PathBuf> {
    process::run_quietly(&mut workspace.cargo("build --release --package edge-agent"))?;
    Ok(workspace.built("release/edge-agent"))
}

/// Compiles the functions with exactly what `worker-build` does first, so that it finds the work
/// done, and we know whether anything changed.
fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace
        .cargo("build --lib --profile edge --target wasm32-unknown-unknown --package router");
    process::run_quietly(cargo.env("WASM_BINDGEN_USE_JS_SYS", "1"))?;
    Ok(workspace.built("wasm32-unknown-unknown/edge/router.wasm"))
}

/// Differs whenever the modules would: by the compiled functions or by the tools that bundle them.
fn identity(workspace: &Workspace, wasm: &Path) -> Result<String> {
    let mut identity = format!("worker-build {}\n", workspace.pinned_version("worker-build")?);
    for path in [wasm, &workspace.path("node_modules/.package-lock.json")] {
        let file = fs::metadata(path).with_context(|| format!("no {}", path.display()))?;
        let changed = file.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
        identity += &format!("{} {} {changed}\n", path.display(), file.len());
    }
    Ok(identity)
}

/// Runs wasm-bindgen, wasm-opt and esbuild by way of `worker-build`.
///
/// Its panic recovery stays on: after a trap the next request gets a fresh instance of the wasm,
/// and Durable Objects are constructed anew from their storage, instead of failing for good.
fn make_modules(workspace: &Workspace, build: &Path) -> Result<()> {
    let mut worker_build = workspace.command(WORKER_BUILD.ensure(workspace)?.join("worker-build"));
    worker_build.current_dir(workspace.path("functions/router"));
    worker_build.args(["--profile", "edge", "--out-dir"]).arg(build);
    for (variable, program) in [
        ("WASM_BINDGEN_BIN", WASM_BINDGEN.ensure(workspace)?.join("wasm-bindgen")),
        ("ESBUILD_BIN", npm::program(workspace, "esbuild")?),
        ("WASM_OPT_BIN", npm::program(workspace, "wasm-opt")?),
    ] {
        // It would only warn about a wrong path, and then download.
        if !program.is_file() {
            bail!("{} is missing: run `cargo xtask setup`", program.display());
        }
        worker_build.env(variable, program);
    }
    process::run_quietly(&mut worker_build)
}

/// Prints what the platform counts: the size after gzip, of which it allows 3 MB on its free plan.
fn report_size(wasm: &Path) -> Result<()> {
    let kilobytes = |bytes: usize| bytes.div_ceil(1024);
    let raw = fs::read(wasm)?.len();
    let gzip = process::read(process::command("gzip").arg("--stdout").arg(wasm))?.len();
    eprintln!("xtask: {} KB of wasm, {} KB gzipped", kilobytes(raw), kilobytes(gzip));
    Ok(())
}
