//! The project's tasks: `cargo xtask <task>`.
//!
//! A fresh machine needs Rust, Node.js and this crate; each task installs what else it needs, once,
//! into a cache outside the checkout. Nothing here is part of what runs in production.
//!
//! | to learn | open |
//! |---|---|
//! | where things are, which tool has which version | `workspace.rs`, `versions.rs` |
//! | what gets installed, and how | `setup/` |
//! | how `build/` and the agent are made | `build.rs` |
//! | the test suites | `test.rs` |
//! | formatting, lints, dependencies | `check.rs` |
//! | the fuzz targets | `fuzz.rs` |
//! | what the demo, the benchmarks and the black-box tests are told | `testbed.rs` |
//! | how a program is started and its failure reported | `process.rs`, `progress.rs` |

mod build;
mod check;
mod fuzz;
mod process;
mod progress;
mod setup;
mod test;
mod testbed;
mod versions;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Girasol's tasks")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other tasks need (each of them also does so by itself)
    Setup,
    /// Build the Worker into build/ and the agent into target/release/edge-agent
    Build {
        /// Only this part
        #[arg(value_enum)]
        part: Option<build::Part>,
    },
    /// From nothing to a working system: publish an update, see a decision change
    Demo(Arguments),
    /// Run the functions on a local workerd
    Dev(Arguments),
    /// Run the benchmarks
    Bench(Arguments),
    /// Run all test suites, or those named
    Test {
        #[arg(value_parser = test::suite_names())]
        suites: Vec<String>,
        /// A filter and options for the test programs
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Feed the readers of what strangers send with what nobody would send
    Fuzz {
        /// Only these; all if none is named
        #[arg(value_parser = fuzz::target_names())]
        targets: Vec<String>,
        /// Executions of each
        #[arg(long, default_value_t = fuzz::RUNS)]
        runs: u64,
    },
    /// Formatting, lints, unused dependencies, licences and advisories
    Check,
    /// Bundle the Worker as `wrangler deploy` would, without an account
    DryRun,
}

/// Passed on as they are; `--help` too, so that it shows the real options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Setup => setup::everything(&workspace),
        Task::Build { part } => build::run(&workspace, part),
        Task::Demo(Arguments { arguments }) => testbed::run(&workspace, "demo", &arguments),
        Task::Dev(Arguments { arguments }) => testbed::run(&workspace, "dev", &arguments),
        Task::Bench(Arguments { arguments }) => testbed::run(&workspace, "bench", &arguments),
        Task::Test { suites, arguments } => test::run(&workspace, &suites, &arguments),
        Task::Fuzz { targets, runs } => fuzz::run(&workspace, &targets, runs),
        Task::Check => check::run(&workspace),
        Task::DryRun => check::dry_run(&workspace),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_the_demo_are_passed_on_unread() {
        let cli = Cli::parse_from(["xtask", "demo", "--once", "--help"]);
        let Task::Demo(Arguments { arguments }) = cli.task else { panic!("not the demo") };
        assert_eq!(arguments, ["--once", "--help"]);
    }

    #[test]
    fn a_test_filter_follows_two_dashes() {
        let cli = Cli::parse_from(["xtask", "test", "edge", "--", "resume"]);
        let Task::Test { suites, arguments } = cli.task else { panic!("not the tests") };
        assert_eq!((suites, arguments), (vec!["edge".into()], vec!["resume".into()]));
    }
}
