//! A real OPA server.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::http::{Answer, http_client};
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port};

const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// OPA does not say when it listens, so it is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// `opa run --server` on a port of 127.0.0.1, empty. Killed when dropped.
#[derive(Debug)]
pub struct Opa {
    process: Process,
    port: u16,
    url: String,
    http: reqwest::Client,
    /// What it reads when it starts.
    config: Option<NamedTempFile>,
    guarded: bool,
}

impl Opa {
    /// Starts OPA on a free port and waits until it answers.
    ///
    /// # Errors
    /// OPA is missing, or did not get ready; the message has what it wrote.
    pub async fn start() -> Result<Self> {
        Self::start_on(free_port()?).await
    }

    /// Starts OPA on a port that was chosen before, so that something can look for it there first.
    ///
    /// # Errors
    /// Those of [`Opa::start`].
    pub async fn start_on(port: u16) -> Result<Self> {
        Self::start_as(port, None, false).await
    }

    /// Starts OPA on a free port with this configuration and nothing else, and waits until it
    /// answers; whether it has what the configuration speaks of is another question.
    ///
    /// # Errors
    /// Those of [`Opa::start`].
    pub async fn start_with(config: &Value) -> Result<Self> {
        Self::start_by(config, false).await
    }

    /// The same, with tokens for identities, and `data.system.authz.allow` to be asked first. That
    /// policy has to be in the configuration's bundles, and to let everybody ask for health.
    ///
    /// # Errors
    /// Those of [`Opa::start`].
    pub async fn start_guarded(config: &Value) -> Result<Self> {
        Self::start_by(config, true).await
    }

    async fn start_by(config: &Value, guarded: bool) -> Result<Self> {
        // OPA tells the notation by the name.
        let file = tempfile::Builder::new().prefix("girasol-opa-").suffix(".json").tempfile()?;
        fs::write(file.path(), config.to_string()).context("writing OPA's configuration")?;
        Self::start_as(free_port()?, Some(file), guarded).await
    }

    async fn start_as(port: u16, config: Option<NamedTempFile>, guarded: bool) -> Result<Self> {
        let process = spawn(port, config.as_ref(), guarded)?;
        let url = format!("http://127.0.0.1:{port}");
        let mut opa = Self { process, port, url, http: http_client()?, config, guarded };
        opa.ready().await?;
        Ok(opa)
    }

    /// `http://127.0.0.1:PORT`, without `/v1`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// OPA's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What OPA wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// `GET /v1/data/{path}`: the document there, `null` where nothing is.
    ///
    /// # Errors
    /// OPA did not answer, or answered with an error.
    pub async fn data(&self, path: &str) -> Result<Value> {
        let url = format!("{}/v1/data/{}", self.url, path.trim_start_matches('/'));
        let body = Answer::of(self.http.get(url)).await?.ok()?;
        Ok(body.get("result").cloned().unwrap_or(Value::Null))
    }

    /// `POST /v1/data/{path}` with `input`: OPA's whole answer.
    ///
    /// # Errors
    /// OPA did not answer, or answered with an error.
    pub async fn decide(&self, path: &str, input: &Value) -> Result<Value> {
        let url = format!("{}/v1/data/{}", self.url, path.trim_start_matches('/'));
        Answer::of(self.http.post(url).json(&json!({ "input": input }))).await?.ok()
    }

    /// Ends OPA with SIGTERM.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_WITHIN).await.map(drop)
    }

    /// Kills OPA (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// The process could not be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts OPA again, without what it had, on the same port, after stopping it if need be.
    ///
    /// # Errors
    /// Those of [`Opa::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.process = spawn(self.port, self.config.as_ref(), self.guarded)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let health = format!("{}/health", self.url);
        loop {
            let answer = Answer::of(self.http.get(&health)).await;
            if !self.process.is_running() {
                bail!("OPA ended; it wrote:\n{}", self.process.logs());
            }
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if Instant::now() > deadline => {
                    bail!("OPA was not ready in {START_WITHIN:?}:\n{}", self.process.logs())
                }
                _ => sleep(ASK_EVERY).await,
            }
        }
    }
}

fn spawn(port: u16, config: Option<&NamedTempFile>, guarded: bool) -> Result<Process> {
    let mut opa = command(Part::Opa.find()?);
    // The version check asks GitHub; nothing here leaves the machine.
    opa.args(["run", "--server", "--log-level", "error", "--skip-version-check"]);
    opa.arg("--addr").arg(format!("127.0.0.1:{port}"));
    if let Some(config) = config {
        opa.arg("--config-file").arg(config.path());
    }
    if guarded {
        opa.args(["--authentication=token", "--authorization=basic"]);
    }
    Process::spawn("opa", opa).context("starting OPA")
}
