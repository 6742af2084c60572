//! A real watcher: `edge-agent watch postgres`.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use crate::parts::Part;
use crate::process::{Logs, Process, command};
use crate::stores::Postgres;

const FOLLOW_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// `edge-agent watch postgres`, publishing what changes in a [`Postgres`]. Killed when dropped.
#[derive(Debug)]
pub struct Watcher {
    plan: WatcherBuilder,
    process: Process,
}

/// What to start; see [`Watcher::builder`].
#[derive(Debug, Clone)]
pub struct WatcherBuilder {
    source: String,
    server: String,
    token: String,
    args: Vec<OsString>,
}

// === impl WatcherBuilder ===

impl WatcherBuilder {
    /// One more table.
    #[must_use]
    pub fn table(self, name: &str) -> Self {
        self.arg("--table").arg(name)
    }

    /// One more argument of `edge-agent watch postgres`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts the watcher, which copies the tables if it has not, and waits until it follows
    /// changes.
    ///
    /// # Errors
    /// The agent is missing, or the watcher ended; the message has what it wrote.
    pub async fn start(self) -> Result<Watcher> {
        let mut watcher = self.spawn()?;
        watcher.wait_following().await?;
        Ok(watcher)
    }

    /// Starts the watcher and waits for nothing.
    ///
    /// # Errors
    /// The agent is missing.
    pub fn spawn(self) -> Result<Watcher> {
        let mut agent = command(Part::Agent.find()?);
        agent.args(["watch", "postgres", "--install", "--server-url", &self.server]);
        agent.env("GIRASOL_SOURCE_URL", &self.source).env("GIRASOL_TOKEN", &self.token);
        agent.args(&self.args);
        Ok(Watcher { process: Process::spawn("edge-agent watch", agent)?, plan: self })
    }
}

// === impl Watcher ===

impl Watcher {
    /// A watcher that publishes to the functions at `server` (`http://…`), with a token of type
    /// datasource, and may make in the database what it needs.
    pub fn builder(
        source: &Postgres,
        server: impl Into<String>,
        token: impl Into<String>,
    ) -> WatcherBuilder {
        WatcherBuilder {
            source: source.url_with_password(),
            server: server.into(),
            token: token.into(),
            args: Vec::new(),
        }
    }

    /// Waits until it follows changes: what was there has been copied.
    ///
    /// # Errors
    /// It ended; the message has what it wrote.
    pub async fn wait_following(&mut self) -> Result<()> {
        let follows = |line: &str| line.contains("following postgresql://").then_some(());
        self.process.wait_for_line(FOLLOW_WITHIN, follows).await
    }

    /// Kills it at once (SIGKILL) and starts another one, which is not waited for.
    ///
    /// # Errors
    /// It could not be killed or started.
    pub async fn crash(&mut self) -> Result<()> {
        self.process.kill().await?;
        *self = self.plan.clone().spawn()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM); `None`: it did not and was killed.
    ///
    /// # Errors
    /// It could not be signalled.
    pub async fn terminate(&mut self) -> Result<Option<ExitStatus>> {
        self.process.terminate(STOP_WITHIN).await
    }

    /// What it wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }
}
