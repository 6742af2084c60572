//! A real `edge-agent proxy`, in front of an application.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::parts::Part;
use crate::process::{Logs, Process, command};

const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// `edge-agent proxy`, on a free port of 127.0.0.1. Killed when dropped.
#[derive(Debug)]
pub struct Guard {
    process: Process,
    url: String,
    // Declared after the process, which has read it.
    _config: NamedTempFile,
}

impl Guard {
    /// Starts a proxy with this configuration, but for the address that it listens on, and waits
    /// until it is deployed.
    ///
    /// # Errors
    /// The agent is missing, or the proxy ended before; the message has what it wrote.
    pub async fn start(config: &str, token: &str) -> Result<Self> {
        let (mut process, config) = Self::spawn(config, token)?;
        let address = process.wait_for_line(START_WITHIN, listening).await?;
        Ok(Self { process, url: format!("http://{address}"), _config: config })
    }

    /// Starts a proxy that is expected to end by itself; the error that it
    /// ends with.
    ///
    /// # Errors
    /// The agent is missing, or it ended without one.
    pub async fn ends(config: &str, token: &str) -> Result<String> {
        let (mut process, _config) = Self::spawn(config, token)?;
        // Its last line, which may be read after it has ended.
        let last = |line: &str| line.starts_with("error: ").then(|| line.to_owned());
        process.wait_for_line(START_WITHIN, last).await
    }

    fn spawn(config: &str, token: &str) -> Result<(Process, NamedTempFile)> {
        let mut file = NamedTempFile::new()?;
        write!(file, "listen = \"127.0.0.1:0\"\n{config}")?;
        let mut agent = command(Part::Agent.find()?);
        agent.args(["proxy", "--log-format", "json", "--config"]).arg(file.path());
        agent.env("GIRASOL_GRANT_TOKEN", token);
        Ok((Process::spawn("edge-agent proxy", agent)?, file))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Asks it to end (SIGTERM); true if it did.
    ///
    /// # Errors
    /// It could not be signalled.
    pub async fn terminate(&mut self) -> Result<bool> {
        Ok(self.process.terminate(STOP_WITHIN).await?.is_some())
    }
}

/// The address in the line `{"message":"the proxy is deployed","listen":…}`.
fn listening(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line.get("message")? != "the proxy is deployed" {
        return None;
    }
    line.get("listen").and_then(Value::as_str).map(str::to_owned)
}
