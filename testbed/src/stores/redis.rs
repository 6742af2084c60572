//! A real Redis server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::authority::Authority;
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(30);
const PASSWORD: &str = "a password of Redis's";

/// What each server is told, so that it keeps nothing and listens nowhere else.
const OPTIONS: [(&str, &str); 4] =
    [("bind", "127.0.0.1"), ("save", ""), ("appendonly", "no"), ("databases", "4")];

/// A Redis server of its own on a port of 127.0.0.1, with a password. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    tls: Option<PathBuf>,
    folder: TempDir,
    options: Vec<(String, String)>,
}

/// A server that is not started yet.
#[derive(Debug, Default)]
pub struct RedisBuilder<'a> {
    authority: Option<&'a Authority>,
    options: Vec<(String, String)>,
}

// === impl RedisBuilder ===

impl<'a> RedisBuilder<'a> {
    /// Speaks TLS alone, with a certificate of this authority for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn tls(mut self, authority: &'a Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// One more setting, as in `redis.conf`.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// Redis is missing, or did not get ready; the message has what it wrote.
    pub async fn start(self) -> Result<Redis> {
        let folder = own_folder("redis")?;
        let port = free_port()?;
        let mut options: Vec<(String, String)> =
            OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        options.push(("dir".to_owned(), folder.path().display().to_string()));
        options.push(("requirepass".to_owned(), PASSWORD.to_owned()));
        let tls = match self.authority {
            None => {
                options.push(("port".to_owned(), port.to_string()));
                None
            }
            Some(authority) => {
                let names = ["localhost", "127.0.0.1"];
                let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
                for (name, value) in [
                    ("port", "0".to_owned()),
                    ("tls-port", port.to_string()),
                    ("tls-cert-file", certificate.display().to_string()),
                    ("tls-key-file", key.display().to_string()),
                    ("tls-ca-cert-file", authority.file().display().to_string()),
                    ("tls-auth-clients", "no".to_owned()),
                ] {
                    options.push((name.to_owned(), value));
                }
                Some(authority.file())
            }
        };
        options.extend(self.options);
        let process = spawn(&options)?;
        let mut server = Redis { process, port, tls, folder, options };
        server.ready().await?;
        Ok(server)
    }
}

// === impl Redis ===

impl Redis {
    /// A server without TLS.
    ///
    /// # Errors
    /// Those of [`RedisBuilder::start`].
    pub async fn start() -> Result<Self> {
        RedisBuilder::default().start().await
    }

    /// A server to be told more.
    pub fn builder<'a>() -> RedisBuilder<'a> {
        RedisBuilder::default()
    }

    /// `redis://127.0.0.1:PORT`, or `rediss://…` with TLS, without the password.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of the user `default`.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What the server wrote since it was started last.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Runs one command; answers with what it gave, as `redis-cli` writes it.
    ///
    /// # Errors
    /// It failed; the message has the server's.
    pub async fn execute(&self, words: &[&str]) -> Result<String> {
        let server = Part::Redis.find()?;
        let mut client = command(server.with_file_name("redis-cli"));
        client.args(["-e", "-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
        if let Some(authority) = &self.tls {
            client.arg("--tls").arg("--cacert").arg(authority);
        }
        client.args(words).env("REDISCLI_AUTH", PASSWORD);
        let output = client.kill_on_drop(true).output().await.context("starting redis-cli")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if !output.status.success() {
            bail!("redis-cli: {}{}", text(&output.stdout), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// Ends it at once, with all it had.
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

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// Those of [`RedisBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.process = spawn(&self.options)?;
        self.ready().await
    }

    /// The folder that it writes into.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    async fn ready(&mut self) -> Result<()> {
        let ready = |line: &str| line.contains("Ready to accept connections").then_some(());
        self.process.wait_for_line(START_WITHIN, ready).await
    }
}

fn spawn(options: &[(String, String)]) -> Result<Process> {
    let mut redis = command(Part::Redis.find()?);
    // One program has several names, and does what it is called.
    redis.arg0("redis-server");
    for (name, value) in options {
        redis.arg(format!("--{name}"));
        // A user's rules are words of their own.
        if name == "user" {
            redis.args(value.split(' '))
        } else {
            redis.arg(value)
        };
    }
    Process::spawn("redis-server", redis).context("starting Redis")
}
