//! What `cargo xtask demo`, `dev` and `bench` hand over to, once everything is built.
//!
//! | command | file |
//! |---|---|
//! | `demo` | `demo.rs`: the billing example, step by step |
//! | `dev` | `dev.rs`: the functions on a local workerd, with kept state and keys |
//! | `bench` | `bench/`: one file per benchmark, `report.rs` for what they print |

mod bench;
mod demo;
mod dev;
mod ui;

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Error, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// A terminal sends Ctrl-C to the parts too; one that ends by it has not failed.
const SAME_KEYSTROKE: Duration = Duration::from_millis(300);

#[derive(Debug, Parser)]
#[command(name = "testbed", about = "Starts the real parts of Girasol on loopback")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the billing example: publish, and watch a decision change
    Demo(demo::Options),
    /// Run the functions on a local workerd
    Dev(dev::Options),
    /// Measure, and print a table (standard error) and JSON lines (standard output)
    Bench(bench::Options),
    /// The demo's billing service
    #[command(hide = true)]
    Billing {
        /// The port to listen on
        port: u16,
    },
}

/// How a command ended that did not fail.
enum End {
    Done,
    /// By Ctrl-C or SIGTERM, before its work was done.
    Interrupted,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Demo(options) => demo::run(options).await,
        Command::Dev(options) => dev::run(options).await,
        Command::Bench(options) => bench::run(options).await,
        Command::Billing { port } => {
            billing::serve(port).await.map(|()| End::Done).map_err(Error::msg)
        }
    };
    match ended {
        Ok(End::Done) => ExitCode::SUCCESS,
        // What a shell says of a program that Ctrl-C ended.
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for Ctrl-C, SIGTERM or the terminal's end. Without this, a signal would end us before we
/// end the children.
async fn interrupt() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => ctrl_c?,
        _ = terminate.recv() => (),
        _ = hang_up.recv() => (),
    }
    Ok(())
}

/// Runs on until a signal comes, or a part fails, which `failure` waits for.
async fn until_interrupt(failure: impl Future<Output = Error>) -> Result<()> {
    let mut interrupted = pin!(interrupt());
    tokio::select! {
        biased;
        signal = &mut interrupted => signal,
        error = failure => match timeout(SAME_KEYSTROKE, interrupted).await {
            Ok(signal) => signal,
            Err(_) => Err(error),
        },
    }
}
