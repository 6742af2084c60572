//! The standard library for `wasm32-unknown-unknown`: from rustup, else built from Debian's source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{debian_std, install_if};
use crate::process;
use crate::workspace::Workspace;

/// The target of everything that runs at the edge.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// Names the compiler that a library built here belongs to. rustup does not know this library and
/// leaves it behind when it updates the toolchain in place.
const BUILT_FOR: &str = "girasol-built-for";

/// The compiler in use.
pub(super) struct Rustc {
    /// Such as `1.95.0`.
    pub(super) version: String,
    /// The compiler's own folder of targets and their libraries.
    pub(super) rustlib: PathBuf,
}

impl Rustc {
    fn in_use() -> Result<Self> {
        let version = process::read_text(process::command("rustc").arg("--version"))?;
        let number = version.split(' ').nth(1);
        let number = number.with_context(|| format!("rustc calls itself `{version}`"))?;
        Ok(Self { version: number.to_owned(), rustlib: rustlib()? })
    }
}

/// Installs the target's standard library, if it is missing or belongs to an earlier compiler.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = rustlib()?.join(TARGET);
    let missing = || Ok(!has_library(&folder) || is_of_another_compiler(&folder)?);
    install_if(workspace, missing, &format!("installing the Rust target {TARGET}"), || {
        if folder.join(BUILT_FOR).exists() {
            remove(&folder)?;
        }
        install(workspace, &folder)?;
        // Crates compiled with an earlier library do not fit this one, and cargo cannot tell.
        remove(&workspace.built(TARGET))
    })
}

fn install(workspace: &Workspace, folder: &Path) -> Result<()> {
    let rustup = process::run_silently(process::command("rustup").args(["target", "add", TARGET]));
    let Err(rustup) = rustup else { return Ok(()) };
    let rustc = Rustc::in_use()?;
    eprintln!("xtask: rustup could not; building it from Debian's rust-src {}", rustc.version);
    if let Err(debian) = debian_std::build(workspace, &rustc, folder) {
        bail!(
            "install it with `rustup target add {TARGET}` ({rustup:#}), or, on Debian, make \
             rust-src {} available to apt ({debian:#})",
            rustc.version
        );
    }
    fs::write(folder.join(BUILT_FOR), &rustc.version)?;
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn rustlib() -> Result<PathBuf> {
    let sysroot = process::read_text(process::command("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("lib/rustlib"))
}

fn has_library(folder: &Path) -> bool {
    let files = fs::read_dir(folder.join("lib"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| file.path().extension().is_some_and(|extension| extension == "rlib"))
}

fn is_of_another_compiler(folder: &Path) -> Result<bool> {
    match fs::read_to_string(folder.join(BUILT_FOR)) {
        Ok(version) => Ok(version != Rustc::in_use()?.version),
        Err(_) => Ok(false),
    }
}
