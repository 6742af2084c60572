//! The Worker's size as Cloudflare counts it, and how soon a fresh workerd answers with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use testbed::{Functions, checkout, command};

use super::report::{Figure, Report, Times};

pub(crate) async fn measure(report: &mut Report, starts: u64) -> Result<()> {
    let (mut raw, mut zipped) = (0.0, 0.0);
    for file in modules()? {
        raw += kib(fs::metadata(&file)?.len());
        zipped += kib(gzipped(&file).await?);
    }
    report.add(Figure::new("wasm, gzipped", zipped, "KiB").target(600.0));
    report.add(Figure::new("wasm", raw, "KiB"));

    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for start in 0..starts {
        bare.push(first_answer(Functions::bare().start().await?).await?);
        cold.push(first_answer(Functions::start().await?).await?);
        report.progress(start + 1, starts, "starts");
    }
    let (cold, bare) = (Times::new(cold), Times::new(bare));
    let floor = Figure::milliseconds("floor: an empty JavaScript Worker, median", bare.median());
    let median = Figure::milliseconds("cold start on workerd, median", cold.median());
    report.add(median.target(150.0).beside(&floor));
    report.add(Figure::milliseconds("cold start on workerd, max", cold.max()));
    report.add(floor);
    Ok(())
}

/// From the start of workerd to the end of its first answer.
async fn first_answer(worker: Functions) -> Result<Duration> {
    worker.get("/healthcheck").await?.ok()?;
    Ok(worker.started().elapsed())
}

/// Bytes of a file as Cloudflare counts them.
pub(super) async fn gzipped(file: &Path) -> Result<u64> {
    let gzip = command("gzip").arg("-c").arg(file).output().await.context("running gzip")?;
    if !gzip.status.success() {
        bail!("gzip ended with {}", gzip.status);
    }
    Ok(gzip.stdout.len() as u64)
}

/// The built WebAssembly modules.
pub(super) fn modules() -> Result<Vec<PathBuf>> {
    let build = checkout().join("build");
    let missing = || format!("no Worker in {}: run `cargo xtask build`", build.display());
    let entries = fs::read_dir(&build).with_context(missing)?;
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    if files.is_empty() {
        bail!(missing());
    }
    Ok(files)
}

pub(super) fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
