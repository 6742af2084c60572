//! A real server that speaks MongoDB's protocol: FerretDB, which keeps its data in SQLite.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::authority::Authority;
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(5);
const USER: &str = "ferret";
const PASSWORD: &str = "a password of FerretDB's";

/// FerretDB on a port of 127.0.0.1, empty. Killed when dropped.
#[derive(Debug)]
pub struct Ferretdb {
    process: Process,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

// === impl Ferretdb ===

impl Ferretdb {
    /// A server that lets everybody in.
    ///
    /// # Errors
    /// FerretDB is missing, or did not get ready; the message has what it wrote.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_, _| Ok(vec![])).await
    }

    /// A server that lets in only who has its user's password ([`Ferretdb::password`]).
    ///
    /// # Errors
    /// Those of [`Ferretdb::start`].
    pub async fn start_with_login() -> Result<Self> {
        Self::start_with(|_, _| {
            Ok([
                "--test-enable-new-auth=true",
                "--setup-database=admin",
                &format!("--setup-username={USER}"),
                &format!("--setup-password={PASSWORD}"),
            ]
            .map(str::to_owned)
            .into())
        })
        .await
    }

    /// A server with a certificate of this authority for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// Those of [`Ferretdb::start`].
    pub async fn start_with_tls(authority: &Authority) -> Result<Self> {
        Self::start_with(|folder, port| {
            let names = ["localhost", "127.0.0.1"];
            let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
            Ok(vec![
                "--listen-addr=".to_owned(),
                format!("--listen-tls=127.0.0.1:{port}"),
                format!("--listen-tls-cert-file={}", certificate.display()),
                format!("--listen-tls-key-file={}", key.display()),
            ])
        })
        .await
    }

    async fn start_with(more: impl FnOnce(&TempDir, u16) -> Result<Vec<String>>) -> Result<Self> {
        let folder = own_folder("ferretdb")?;
        let port = free_port()?;
        let mut arguments = vec![
            "--handler=sqlite".to_owned(),
            format!("--sqlite-url=file:{}/", folder.path().display()),
            format!("--state-dir={}", folder.path().display()),
            format!("--listen-addr=127.0.0.1:{port}"),
            "--debug-addr=-".to_owned(),
            "--telemetry=disable".to_owned(),
        ];
        arguments.extend(more(&folder, port)?);
        let process = spawn(&arguments)?;
        let mut server = Self { process, port, arguments, folder };
        server.ready().await?;
        Ok(server)
    }

    /// `mongodb://127.0.0.1:PORT/app`.
    pub fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/app", self.port)
    }

    /// The same with the user and this password.
    pub fn url_with(&self, password: &str) -> String {
        let password = password.replace(' ', "%20");
        let port = self.port;
        format!("mongodb://{USER}:{password}@127.0.0.1:{port}/app?authSource=admin")
    }

    /// The user's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server wrote since it was started last.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Ends the server.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_WITHIN).await.map(drop)
    }

    /// Starts it again with what it had, on the same port, after stopping it if need be.
    ///
    /// # Errors
    /// Those of [`Ferretdb::start`].
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.is_running() {
            self.stop().await?;
        }
        // What it knows is in this folder still.
        debug_assert!(self.folder.path().exists());
        self.process = spawn(&self.arguments)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let port = format!(":{}", self.port);
        let ready =
            |line: &str| (line.contains("Listening on") && line.contains(&port)).then_some(());
        self.process.wait_for_line(START_WITHIN, ready).await
    }
}

fn spawn(arguments: &[String]) -> Result<Process> {
    let mut ferretdb = command(Part::Ferretdb.find()?);
    ferretdb.args(arguments);
    Process::spawn("ferretdb", ferretdb).context("starting FerretDB")
}
