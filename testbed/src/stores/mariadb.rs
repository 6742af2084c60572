//! A real MariaDB server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::authority::Authority;
use super::user::User;
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(60);
/// The name of the database, and of the user.
const NAME: &str = "helloopal";
const PASSWORD: &str = "a password of MariaDB's";

/// What each server is told, so that it starts quickly and keeps nothing for good.
const OPTIONS: [&str; 10] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--skip-log-bin",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--performance-schema=OFF",
    "--default-time-zone=+02:00",
];

/// A MariaDB server of its own on a port of 127.0.0.1, with the database `helloopal`, all of
/// which belongs to a user of that name with a password. Killed when dropped.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    port: u16,
    folder: TempDir,
    options: Vec<String>,
}

/// A server that is not started yet.
#[derive(Debug, Default)]
pub struct MariaDbBuilder<'a> {
    authority: Option<&'a Authority>,
    options: Vec<String>,
}

// === impl MariaDbBuilder ===

impl<'a> MariaDbBuilder<'a> {
    /// Speaks TLS too, with a certificate of this authority for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn tls(mut self, authority: &'a Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// One more option, as on the command line of `mariadbd`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Makes the tables, starts the server and waits until it answers.
    ///
    /// # Errors
    /// MariaDB is missing, or did not get ready; the message has what it wrote.
    pub async fn start(self) -> Result<MariaDb> {
        let folder = own_folder("mariadb")?;
        make_tables(folder.path()).await?;
        let port = free_port()?;
        let mut options: Vec<String> = OPTIONS.map(str::to_owned).into();
        options.extend(own(folder.path())?);
        options.push(format!("--socket={}", folder.path().join("socket").display()));
        options.push(format!("--port={port}"));
        if let Some(authority) = self.authority {
            let names = ["localhost", "127.0.0.1"];
            let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
            options.push(format!("--ssl-cert={}", certificate.display()));
            options.push(format!("--ssl-key={}", key.display()));
        }
        options.extend(self.options);
        let process = spawn(&options)?;
        let mut server = MariaDb { process, port, folder, options };
        server.ready().await?;
        let quoted = PASSWORD.replace('\'', "''");
        let begin = format!(
            "CREATE DATABASE {NAME}; CREATE USER {NAME} IDENTIFIED BY '{quoted}'; \
             GRANT ALL ON {NAME}.* TO {NAME}"
        );
        server.client("mysql", &begin).await?;
        Ok(server)
    }
}

// === impl MariaDb ===

impl MariaDb {
    /// A server without TLS.
    ///
    /// # Errors
    /// Those of [`MariaDbBuilder::start`].
    pub async fn start() -> Result<Self> {
        MariaDbBuilder::default().start().await
    }

    /// A server to be told more.
    pub fn builder<'a>() -> MariaDbBuilder<'a> {
        MariaDbBuilder::default()
    }

    /// `mysql://helloopal@127.0.0.1:PORT/helloopal`, without the password.
    pub fn url(&self) -> String {
        format!("mysql://{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What the server wrote since it was started last.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Runs statements as the administrator; answers with what they gave: a row a line, columns
    /// parted by tabs.
    ///
    /// # Errors
    /// A statement failed; the message has the server's.
    pub async fn execute(&self, sql: &str) -> Result<String> {
        self.client(NAME, sql).await
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Holds it, as a machine without time for it would, or lets it go on.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn hold(&mut self, held: bool) -> Result<()> {
        self.process.hold(held).await
    }

    /// Starts it again with what it had, on the same port.
    ///
    /// # Errors
    /// Those of [`MariaDbBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.process = spawn(&self.options)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let ready = |line: &str| line.contains("ready for connections").then_some(());
        self.process.wait_for_line(START_WITHIN, ready).await
    }

    async fn client(&self, database: &str, sql: &str) -> Result<String> {
        let server = Part::MariaDb.find()?;
        let mut client = command(beside(&server, "mariadb")?);
        client.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"]);
        client.arg(format!("--socket={}", self.folder.path().join("socket").display()));
        client.arg("--default-character-set=utf8mb4").arg(database).kill_on_drop(true);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = client.spawn().context("starting mariadb")?;
        let mut stdin = child.stdin.take().context("mariadb's input")?;
        let written = async move {
            stdin.write_all(sql.as_bytes()).await?;
            drop(stdin);
            anyhow::Ok(())
        };
        let (written, output) = tokio::join!(written, child.wait_with_output());
        let output = output.context("running mariadb")?;
        if !output.status.success() {
            bail!("mariadb: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        written.context("writing to mariadb")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

/// Debian has the server in `sbin`, and what goes with it in `bin`.
fn beside(server: &Path, name: &str) -> Result<PathBuf> {
    let folder = server.parent().unwrap_or(Path::new("/"));
    let near = [folder.join(name), folder.with_file_name("bin").join(name)];
    near.into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("no {name} beside {}", server.display()))
}

/// The options that every program of the server needs: where its files are, and who it may be.
fn own(folder: &Path) -> Result<Vec<String>> {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary)?;
    let mut options = vec![
        format!("--datadir={}", folder.join("data").display()),
        // Each start clears it of what others may be using.
        format!("--tmpdir={}", temporary.display()),
    ];
    if User::for_servers()?.is_some() {
        // It asks for that to be said.
        options.push("--user=root".to_owned());
    }
    Ok(options)
}

async fn make_tables(folder: &Path) -> Result<()> {
    let server = Part::MariaDb.find()?;
    let mut install: Command = command(beside(&server, "mariadb-install-db")?);
    install.arg("--no-defaults").args(own(folder)?).current_dir(folder);
    install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.args(["--skip-name-resolve", "--innodb-log-file-size=4M"]);
    install.arg("--innodb-flush-method=nosync").kill_on_drop(true);
    let output = install.output().await.context("starting mariadb-install-db")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("mariadb-install-db: {said}{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn spawn(options: &[String]) -> Result<Process> {
    let mut mariadb = command(Part::MariaDb.find()?);
    mariadb.arg("--no-defaults").args(options);
    Process::spawn("mariadbd", mariadb).context("starting MariaDB")
}
