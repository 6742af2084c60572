//! The real parts: which file each one is, and how to get it when it is not there.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// A file that something else builds or installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The `workerd` binary, `GIRASOL_WORKERD`.
    Workerd,
    /// The workerd configuration of the built Worker, `GIRASOL_WORKER_CONFIG`.
    WorkerConfig,
    /// The `edge-agent` binary, `GIRASOL_AGENT`.
    Agent,
    /// The `opa` binary, `OPA_BIN`, else on `PATH`.
    Opa,
    /// OPAL's `opal-client`, with `opal-server` beside it, `OPAL_CLIENT_BIN`, else on `PATH`.
    Opal,
    /// The `python` of an environment with Permit's SDK 3, `GIRASOL_PERMIT_3_PYTHON`.
    Permit3,
    /// The same with its SDK 2, `GIRASOL_PERMIT_2_PYTHON`.
    Permit2,
    /// PostgreSQL's `postgres`, with `initdb` and `psql` beside it, `GIRASOL_POSTGRES_BIN`, else
    /// where Debian has it, else on `PATH`.
    Postgres,
    /// MariaDB's `mariadbd`, `GIRASOL_MARIADB_BIN`, else where Debian has it, else on `PATH`; with
    /// `mariadb` and `mariadb-install-db` beside it, or in the `bin` beside its `sbin`.
    MariaDb,
    /// Redis's server, with `redis-cli` beside it, `GIRASOL_REDIS_BIN`, else on `PATH`.
    Redis,
    /// FerretDB's `ferretdb`, which speaks MongoDB's protocol, `GIRASOL_FERRETDB_BIN`, else on
    /// `PATH`.
    Ferretdb,
    /// `versitygw`, which speaks S3's protocol, `GIRASOL_VERSITYGW_BIN`, else on `PATH`.
    Versitygw,
    /// OpenLDAP's `slapd`, `GIRASOL_SLAPD_BIN`, else where Debian has it, else on `PATH`.
    Slapd,
    /// A Chromium without windows, `chromium-headless-shell`, `GIRASOL_BROWSER_BIN`, else on `PATH`.
    Browser,
}

/// The checkout that this crate was built in.
pub fn checkout() -> &'static Path {
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
    testbed.parent().unwrap_or(testbed)
}

/// Whether a test that needs `parts` can run. When one is missing this prints, once per call, what
/// it is and how to get it, and answers `false`; with `CI=true` it is an error, so that nothing is
/// skipped where it must not be.
///
/// # Errors
/// A part is missing and `CI` is `true`.
pub fn require(parts: &[Part]) -> Result<bool> {
    for part in parts {
        if let Err(missing) = part.find() {
            if env::var("CI").is_ok_and(|ci| ci == "true") {
                return Err(missing);
            }
            // Not by `eprintln!`, which the test harness keeps to itself where a test passes.
            let _ = writeln!(std::io::stderr(), "skipped: {missing}");
            return Ok(false);
        }
    }
    Ok(true)
}

// === impl Part ===

impl Part {
    /// The environment variable that names this part's file.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Workerd => "GIRASOL_WORKERD",
            Self::WorkerConfig => "GIRASOL_WORKER_CONFIG",
            Self::Agent => "GIRASOL_AGENT",
            Self::Opa => "OPA_BIN",
            Self::Opal => "OPAL_CLIENT_BIN",
            Self::Permit3 => "GIRASOL_PERMIT_3_PYTHON",
            Self::Permit2 => "GIRASOL_PERMIT_2_PYTHON",
            Self::Postgres => "GIRASOL_POSTGRES_BIN",
            Self::MariaDb => "GIRASOL_MARIADB_BIN",
            Self::Redis => "GIRASOL_REDIS_BIN",
            Self::Ferretdb => "GIRASOL_FERRETDB_BIN",
            Self::Versitygw => "GIRASOL_VERSITYGW_BIN",
            Self::Slapd => "GIRASOL_SLAPD_BIN",
            Self::Browser => "GIRASOL_BROWSER_BIN",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Workerd => "workerd",
            Self::WorkerConfig => "configuration for workerd",
            Self::Agent => "edge-agent",
            Self::Opa => "opa",
            Self::Opal => "opal-client",
            Self::Permit3 => "python with permit 3",
            Self::Permit2 => "python with permit 2",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadbd",
            Self::Redis => "redis-server",
            Self::Ferretdb => "ferretdb",
            Self::Versitygw => "versitygw",
            Self::Slapd => "slapd",
            Self::Browser => "chromium-headless-shell",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Workerd => "run `npm ci` in the checkout, or `cargo xtask setup`",
            Self::WorkerConfig => "restore deploy/workerd.capnp from git",
            Self::Agent => "run `cargo xtask build`",
            Self::Opa => {
                "run `cargo xtask setup`, or take a release from \
                 https://github.com/open-policy-agent/opa/releases and put it on PATH"
            }
            Self::Opal => {
                "run `cargo xtask setup` where there is a Python 3.11 to 3.13, or install \
                 opal-server and opal-client 0.9.9 from PyPI"
            }
            Self::Permit3 => {
                "run `cargo xtask setup` where there is a Python 3.11 to 3.13, or install permit \
                 3.0.0 from PyPI into a virtual environment"
            }
            Self::Permit2 => {
                "run `cargo xtask setup` where there is a Python 3.11 to 3.13, or install permit \
                 2.6.5 from PyPI into a virtual environment"
            }
            Self::Ferretdb => {
                "run `cargo xtask setup` where there is Go, or take a release 1.24 from \
                 https://github.com/FerretDB/FerretDB/releases and put it on PATH"
            }
            Self::Versitygw => {
                "run `cargo xtask setup` where there is Go, or take a release from \
                 https://github.com/versity/versitygw/releases and put it on PATH"
            }
            Self::Postgres => "run `apt-get install postgresql`, or `cargo xtask setup` as root",
            Self::MariaDb => {
                "run `apt-get install mariadb-server-core mariadb-client-core`, or `cargo xtask \
                 setup` as root"
            }
            Self::Redis => "run `apt-get install redis-tools`, or `cargo xtask setup` as root",
            Self::Slapd => "run `apt-get install slapd`, or `cargo xtask setup` as root",
            Self::Browser => {
                "run `apt-get install chromium-headless-shell`, or `cargo xtask setup` as root"
            }
        }
    }

    fn candidates(self) -> Vec<PathBuf> {
        let root = checkout();
        match self {
            Self::Workerd => vec![root.join(workerd_in_node_modules())],
            Self::WorkerConfig => vec![root.join("deploy/workerd.capnp")],
            Self::Agent => env::var_os("CARGO_TARGET_DIR")
                .map(PathBuf::from)
                .into_iter()
                .chain([root.join("target")])
                .map(|target| target.join("release/edge-agent"))
                .collect(),
            Self::Opa => on_path("opa"),
            Self::Opal => on_path("opal-client"),
            // No Python of the system has it.
            Self::Permit3 | Self::Permit2 => vec![],
            Self::Browser => on_path("chromium-headless-shell"),
            Self::Ferretdb => on_path("ferretdb"),
            Self::Versitygw => on_path("versitygw"),
            Self::Postgres => versions("/usr/lib/postgresql", "bin/postgres")
                .into_iter()
                .chain(on_path("postgres"))
                .collect(),
            Self::MariaDb => std::iter::once(PathBuf::from("/usr/sbin/mariadbd"))
                .chain(on_path("mariadbd"))
                .collect(),
            // Debian's redis-tools has the server by the name of what it can do besides.
            Self::Redis => {
                on_path("redis-server").into_iter().chain(on_path("redis-check-rdb")).collect()
            }
            Self::Slapd => {
                std::iter::once(PathBuf::from("/usr/sbin/slapd")).chain(on_path("slapd")).collect()
            }
        }
    }

    /// The part's file: what its variable names, else the place where the checkout has it.
    ///
    /// # Errors
    /// There is no such file; the message says how to get it.
    pub fn find(self) -> Result<PathBuf> {
        let variable = self.variable();
        if let Some(named) = env::var_os(variable).map(PathBuf::from) {
            if named.is_file() {
                return Ok(named);
            }
            bail!(
                "{variable} names {}, which is not a file: correct or unset it, then {}",
                named.display(),
                self.remedy()
            );
        }
        self.candidates().into_iter().find(|file| file.is_file()).ok_or_else(|| {
            anyhow!("no {}: {}, or name it in {variable}", self.name(), self.remedy())
        })
    }
}

fn on_path(program: &str) -> Vec<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).map(|folder| folder.join(program)).collect()
}

/// `file` in each folder of `parent`, the highest version first.
fn versions(parent: &str, file: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut folders: Vec<_> = folders.map(|folder| folder.path()).collect();
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    folders.into_iter().map(|folder| folder.join(file)).collect()
}

fn workerd_in_node_modules() -> String {
    let system = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "64",
    };
    format!("node_modules/@cloudflare/workerd-{system}-{machine}/bin/workerd")
}
