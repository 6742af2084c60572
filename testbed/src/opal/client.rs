//! A real opal-client.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::time::sleep;

use super::opal_program;
use crate::http::{Answer, http_client};
use crate::process::{Logs, Process, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// An opal-client tells nobody that its state changed, so it is asked.
/// It writes a line for each time.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// `opal-client run` beside an OPA that somebody else started. Killed when dropped.
#[derive(Debug)]
pub struct OpalClient {
    process: Process,
    url: String,
    http: reqwest::Client,
    _folder: TempDir,
}

/// What to start; see [`OpalClient::builder`].
#[derive(Debug, Clone)]
pub struct OpalClientBuilder {
    vars: Vec<(String, String)>,
}

// === impl OpalClientBuilder ===

impl OpalClientBuilder {
    /// One more environment variable, over what was set before.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.vars.retain(|(set, _)| set != name);
        self.vars.push((name.to_owned(), value.into()));
        self
    }

    /// Subscribes to these data topics.
    #[must_use]
    pub fn topics(self, topics: &[&str]) -> Self {
        self.var("OPAL_DATA_TOPICS", topics.join(","))
    }

    /// Starts the client and does not wait for anything.
    ///
    /// # Errors
    /// OPAL is missing.
    pub fn spawn(self) -> Result<OpalClient> {
        let (folder, port) = (own_folder("opal-client")?, free_port()?);
        let mut client = opal_program("opal-client")?;
        client
            .args(["run", "--engine-type", "uvicorn"])
            .current_dir(&folder)
            .env("OPAL_CLIENT_API_SERVER_HOST", "127.0.0.1")
            .env("OPAL_CLIENT_API_SERVER_PORT", port.to_string())
            .env("OPAL_CLIENT_API_SERVER_WORKER_COUNT", "1")
            .env("OPAL_STORE_BACKUP_PATH", folder.path().join("backup.json"))
            .env("OPAL_INLINE_OPA_ENABLED", "false")
            .envs(self.vars);
        Ok(OpalClient {
            process: Process::spawn("opal-client", client)?,
            url: format!("http://127.0.0.1:{port}"),
            http: http_client()?,
            _folder: folder,
        })
    }

    /// Starts the client and waits until it says that policy and data are loaded. Without base data
    /// there is nothing to load, and it never says so.
    ///
    /// # Errors
    /// OPAL is missing, or the client ended or did not get ready; the message has what it wrote.
    pub async fn start(self) -> Result<OpalClient> {
        let mut client = self.spawn()?;
        client.wait_ready().await?;
        Ok(client)
    }
}

// === impl OpalClient ===

impl OpalClient {
    /// A client of the server at `server` (`http://…`) with an OPA at `opa` (without `/v1`), on
    /// the topic `policy_data`.
    pub fn builder(server: &str, token: &str, opa: &str) -> OpalClientBuilder {
        OpalClientBuilder { vars: Vec::new() }
            .var("OPAL_SERVER_URL", server)
            .var("OPAL_CLIENT_TOKEN", token)
            .var("OPAL_POLICY_STORE_URL", opa)
    }

    /// Its own API, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.process.started()
    }

    /// What it wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// `GET path` of its own API.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let answer = Answer::of(self.http.get(format!("{}{path}", self.url))).await;
        answer.with_context(|| format!("asking the opal-client for {path}"))
    }

    /// Waits until it has loaded policy and data once.
    ///
    /// # Errors
    /// It ended, or did not get ready; the message has what it wrote.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let answer = self.get("/ready").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if !self.process.is_running() {
                return Err(self.process.ended().await);
            }
            if Instant::now() > deadline {
                bail!("the opal-client was not ready in {START_WITHIN:?}:\n{}", self.logs());
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_WITHIN).await.map(drop)
    }

    /// Stops it where it is (SIGSTOP): it keeps its sockets and does nothing.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn freeze(&mut self) -> Result<()> {
        self.process.signal("STOP").await
    }

    /// Lets a frozen client go on (SIGCONT).
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn thaw(&mut self) -> Result<()> {
        self.process.signal("CONT").await
    }
}
