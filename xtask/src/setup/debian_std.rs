//! Building the WebAssembly standard library from Debian's `rust-src` package, for machines whose
//! rustup cannot reach its server.
//!
//! Debian keeps the sources of several compiler versions in the suite below. apt is asked with
//! lists and a cache of our own: the system's package sources stay as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::wasm_target::{Rustc, TARGET};
use crate::process;
use crate::workspace::Workspace;

const SUITE: &str = "trixie-backports";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The crates of the library, with what `cargo test` needs.
const CRATES: &str = "-Zbuild-std=std,panic_abort,proc_macro,test";

/// A crate of nothing: cargo builds the library as its dependency. It must not count as a member
/// of a workspace further up, and must not unwind, which the target cannot.
const MANIFEST: &str = "\
[workspace]
[package]
name = \"nothing\"
edition = \"2024\"
[lib]
path = \"lib.rs\"
[profile.release]
panic = \"abort\"
";

/// Builds the library for `rustc` and puts it into `folder`, whole or not at all.
pub(super) fn build(workspace: &Workspace, rustc: &Rustc, folder: &Path) -> Result<()> {
    let work = workspace.cached("wasm-target");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    // cargo looks for the source in one place only. Where rustup put it there, it is ours to use;
    // where we did, it would outlive an update of the compiler and be wrong for the next one.
    let source = rustc.rustlib.join("src");
    let ours = !source.join("rust/library").exists();
    if ours {
        download(&work, &rustc.version)?;
        place(&work.join("source/usr/src").join(format!("rustc-{}", rustc.version)), &source)?;
    }
    let built = compile(&work);
    if ours {
        fs::remove_dir_all(&source)?;
    }
    built?;
    collect(&work, folder)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Fetches and unpacks the `rust-src` of exactly this compiler into `work/source`.
fn download(work: &Path, rustc: &str) -> Result<()> {
    let indexes = process::read_text(process::command("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
    ]))?;
    let mirror = indexes.lines().find(|uri| uri.ends_with("/debian/"));
    let mirror = mirror.context("apt knows no Debian mirror: add one to its sources")?;
    let sources = format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n");
    fs::write(work.join("sources.list"), sources)?;
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(folder))?;
    }
    process::run_quietly(apt("apt-get", work).arg("update"))?;
    let versions = process::read_text(apt("apt-cache", work).args(["madison", "rust-src"]))?;
    let version = version_for(rustc, &versions)
        .with_context(|| format!("Debian's {SUITE} has no rust-src {rustc}"))?;
    process::run_quietly(apt("apt-get", work).args(["download", &format!("rust-src={version}")]))?;
    let package = fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    let mut unpack = process::command("dpkg-deb");
    process::run_quietly(unpack.arg("--extract").arg(package).arg(work.join("source")))
}

/// apt with sources, lists and cache in `work`.
fn apt(program: &str, work: &Path) -> Command {
    let mut command = process::command(program);
    command.current_dir(work);
    for (setting, value) in [
        ("Dir::Etc::SourceList", work.join("sources.list").as_path()),
        ("Dir::Etc::SourceParts", Path::new("-")),
        ("Dir::State::Lists", &work.join("lists")),
        ("Dir::Cache", &work.join("cache")),
        // As root, apt would go on as a user who may not enter our cache.
        ("APT::Sandbox::User", Path::new("root")),
    ] {
        command.arg("-o").arg(format!("{setting}={}", value.display()));
    }
    command
}

/// The package version of upstream version `rustc` in the output of `apt-cache madison`.
fn version_for<'a>(rustc: &str, madison: &'a str) -> Option<&'a str> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| version.split(['+', '-', '~']).next() == Some(rustc))
}

/// Puts the `library` of an unpacked source where cargo looks for it.
fn place(unpacked: &Path, source: &Path) -> Result<()> {
    let parent = source.join("rust");
    fs::create_dir_all(&parent).with_context(|| format!("cannot write {}", parent.display()))?;
    let mut copy = process::command("cp");
    process::run_quietly(copy.arg("-r").arg(unpacked.join("library")).arg(parent))
}

fn compile(work: &Path) -> Result<()> {
    fs::write(work.join("Cargo.toml"), MANIFEST)?;
    fs::write(work.join("lib.rs"), "")?;
    let mut cargo = process::command("cargo");
    cargo.args(["build", CRATES, "--release", "--target", TARGET]).current_dir(work);
    cargo.env("CARGO_TARGET_DIR", work.join("target"));
    // `-Z` in a stable compiler; and bitcode, without which no later `lto` build can use it.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run_quietly(&mut cargo)
}

/// Moves the built crates into `folder` at once, so that half a library is never found there.
fn collect(work: &Path, folder: &Path) -> Result<()> {
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let library = partial.join("lib");
    fs::create_dir_all(&library).with_context(|| format!("cannot write {}", library.display()))?;
    for file in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let (name, path) = file.map(|file| (file.file_name(), file.path()))?;
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.starts_with("libnothing") {
            fs::copy(path, library.join(&name))?;
        }
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(partial, folder)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADISON: &str = "  rust-src | 1.96.0+dfsg1-1~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
  rust-src | 1.9.0-1 | http://mirror/debian trixie-backports/main amd64 Packages";

    #[test]
    fn the_source_package_is_that_of_exactly_this_compiler() {
        assert_eq!(version_for("1.95.0", MADISON), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(version_for("1.9.0", MADISON), Some("1.9.0-1"));
        assert_eq!(version_for("1.95", MADISON), None);
        assert_eq!(version_for("1.97.0", MADISON), None);
        assert_eq!(version_for("1.95.0", ""), None);
    }
}
