//! A real PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::authority::Authority;
use super::user::User;
use crate::keys::write_private;
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The name of the user and of the database, as in OPAL's example.
const NAME: &str = "helloopal";
const PASSWORD: &str = "a password of PostgreSQL's";

/// What each server is told, so that it starts quickly, keeps nothing for good, and lets its
/// changes be followed.
const OPTIONS: [(&str, &str); 10] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("wal_level", "logical"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("shared_buffers", "32MB"),
    ("timezone", "Europe/Berlin"),
];

/// A PostgreSQL cluster of its own on a port of 127.0.0.1, with the superuser and the database
/// `helloopal`, password authentication, and logical decoding. Killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    port: u16,
    folder: TempDir,
    user: Option<User>,
    options: Vec<(String, String)>,
}

/// A server that is not started yet.
#[derive(Debug, Default)]
pub struct PostgresBuilder<'a> {
    authority: Option<&'a Authority>,
    options: Vec<(String, String)>,
}

// === impl PostgresBuilder ===

impl<'a> PostgresBuilder<'a> {
    /// Speaks TLS too, with a certificate of this authority for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn tls(mut self, authority: &'a Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// One more setting, as in `postgresql.conf`.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the cluster, starts the server and waits until it answers.
    ///
    /// # Errors
    /// PostgreSQL is missing, or did not get ready; the message has what it wrote.
    pub async fn start(self) -> Result<Postgres> {
        let postgres = Part::Postgres.find()?;
        let programs = postgres.parent().unwrap_or(Path::new("/")).to_owned();
        let user = User::for_servers()?;
        let folder = own_folder("postgres")?;
        if let Some(user) = user {
            user.own(folder.path())?;
        }
        make_cluster(&programs, folder.path(), user).await?;
        let mut options: Vec<_> =
            OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        if let Some(authority) = self.authority {
            let names = ["localhost", "127.0.0.1"];
            let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
            if let Some(user) = user {
                user.own(&certificate)?;
                user.own(&key)?;
            }
            options.push(("ssl".to_owned(), "on".to_owned()));
            options.push(("ssl_cert_file".to_owned(), certificate.display().to_string()));
            options.push(("ssl_key_file".to_owned(), key.display().to_string()));
        }
        options.extend(self.options);
        let port = free_port()?;
        let process = spawn(&programs, folder.path(), user, port, &options)?;
        let mut server = Postgres { process, programs, port, folder, user, options };
        server.ready().await?;
        server.psql("postgres", &format!("CREATE DATABASE {NAME}")).await?;
        Ok(server)
    }
}

// === impl Postgres ===

impl Postgres {
    /// A server without TLS.
    ///
    /// # Errors
    /// Those of [`PostgresBuilder::start`].
    pub async fn start() -> Result<Self> {
        PostgresBuilder::default().start().await
    }

    /// A server to be told more.
    pub fn builder<'a>() -> PostgresBuilder<'a> {
        PostgresBuilder::default()
    }

    /// `postgresql://helloopal@127.0.0.1:PORT/helloopal`, without the password.
    pub fn url(&self) -> String {
        format!("postgresql://{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }

    /// The same with the password.
    pub fn url_with_password(&self) -> String {
        let password = PASSWORD.replace(' ', "%20");
        format!("postgresql://{NAME}:{password}@127.0.0.1:{}/{NAME}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The main process's id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the server wrote since it was started last.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Runs statements, each in a transaction of its own unless they say otherwise; answers with
    /// what they gave: a row a line, columns parted by `|`.
    ///
    /// # Errors
    /// A statement failed; the message has the server's.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        self.psql(NAME, sql).await
    }

    /// Ends the server and its connections, as an administrator would (`fast`).
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("INT").await?;
        let ended = tokio::time::timeout(STOP_WITHIN, self.process.ended()).await;
        if ended.is_err() { self.process.kill().await } else { Ok(()) }
    }

    /// Ends it at once, as a crash would (`immediate`).
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn crash(&mut self) -> Result<()> {
        self.process.signal("QUIT").await?;
        let ended = tokio::time::timeout(STOP_WITHIN, self.process.ended()).await;
        if ended.is_err() { self.process.kill().await } else { Ok(()) }
    }

    /// Starts it again with what it had, on the same port, after stopping it if need be.
    ///
    /// # Errors
    /// Those of [`PostgresBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.is_running() {
            self.stop().await?;
        }
        let folder = self.folder.path();
        self.process = spawn(&self.programs, folder, self.user, self.port, &self.options)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let ready = |line: &str| line.contains("database system is ready to accept").then_some(());
        self.process.wait_for_line(START_WITHIN, ready).await
    }

    async fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = command(self.programs.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p"]);
        psql.arg(self.port.to_string()).args(["-U", NAME, "-d", database, "-f", "-"]);
        psql.env("PGPASSWORD", PASSWORD).env("PGCLIENTENCODING", "UTF8");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = psql.kill_on_drop(true).spawn().context("starting psql")?;
        let mut stdin = child.stdin.take().context("psql's input")?;
        let written = async move {
            stdin.write_all(sql.as_bytes()).await?;
            drop(stdin);
            anyhow::Ok(())
        };
        let (written, output) = tokio::join!(written, child.wait_with_output());
        let output = output.context("running psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        written.context("writing to psql")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

impl Drop for Postgres {
    /// Killed outright it would leave shared memory behind, of which the system has not much.
    fn drop(&mut self) {
        if !self.process.is_running() {
            return;
        }
        let pid = self.process.pid().to_string();
        let _ = std::process::Command::new("kill").args(["-QUIT", &pid]).status();
        let deadline = Instant::now() + STOP_WITHIN;
        while self.process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn make_cluster(programs: &Path, folder: &Path, user: Option<User>) -> Result<()> {
    let password = folder.join("password");
    write_private(&password, PASSWORD)?;
    let mut initdb = command(programs.join("initdb"));
    initdb.arg("--pgdata").arg(folder.join("data")).arg("--pwfile").arg(&password);
    initdb.args(["--username", NAME, "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    initdb.args(["--auth-local", "reject", "--auth-host", "scram-sha-256"]);
    if let Some(user) = user {
        user.own(&password)?;
        user.run(&mut initdb);
    }
    initdb.current_dir(folder);
    let output = initdb.output().await.context("starting initdb")?;
    if !output.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn spawn(
    programs: &Path,
    folder: &Path,
    user: Option<User>,
    port: u16,
    options: &[(String, String)],
) -> Result<Process> {
    let mut postgres: Command = command(programs.join("postgres"));
    postgres.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    for (name, value) in options {
        postgres.arg("-c").arg(format!("{name}={value}"));
    }
    postgres.current_dir(folder);
    if let Some(user) = user {
        user.run(&mut postgres);
    }
    Process::spawn("postgres", postgres).context("starting PostgreSQL")
}
