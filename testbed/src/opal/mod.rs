//! The real OPAL: its server, its client, its commands, and a bare peer of its socket.
//!
//! | question | file |
//! |---|---|
//! | how is `opal-server` run? | `server.rs` |
//! | how is `opal-client` run, how do I wait for it? | `client.rs` |
//! | how is one of their commands run? | here |
//! | how do I speak OPAL's socket frame by frame? | `peer.rs` |

mod client;
mod peer;
mod server;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::parts::Part;
use crate::process::command;

pub use client::{OpalClient, OpalClientBuilder};
pub use peer::{Heard, OpalPeer, Upgrade};
pub use server::{OpalServer, OpalServerBuilder};

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, without the last line end.
    pub out: String,
    /// Standard error, without the last line end.
    pub err: String,
}

/// One of OPAL's programs, `opal-client` or `opal-server`, with nothing of our environment that
/// would be a setting of it.
///
/// # Errors
/// OPAL is not installed.
pub fn opal_program(name: &str) -> Result<Command> {
    let client = Part::Opal.find()?;
    let mut program = command(client.with_file_name(name));
    // They would look for a Datadog agent.
    program.env("DD_TRACE_ENABLED", "false").env("OPAL_LOG_COLORIZE", "false");
    Ok(program)
}

/// Runs a command to its end.
///
/// # Errors
/// It could not be started.
pub async fn said(mut command: Command) -> Result<Said> {
    let output = command.output().await.context("running a command")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

/// A program that must be there with another one.
fn beside(part: Part, name: &str) -> Result<PathBuf> {
    let program = part.find()?.with_file_name(name);
    if !program.is_file() {
        bail!("{} is missing: name an opal-client that has it beside it", program.display());
    }
    Ok(program)
}
