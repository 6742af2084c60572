//! A real opal-server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{beside, opal_program};
use crate::api::Api;
use crate::git::Repository;
use crate::http::Answer;
use crate::keys::{Keys, RSA_PUBLIC_FOR_TESTS, random_secret};
use crate::parts::Part;
use crate::process::{Logs, Process, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(60);
/// A server with an open socket that does not answer would not end by itself.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// An opal-server does not say when it listens, so it is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// `opal-server run` on a port of 127.0.0.1. Killed when dropped.
#[derive(Debug)]
pub struct OpalServer {
    plan: OpalServerBuilder,
    process: Process,
    port: u16,
    api: Api,
    repository: Repository,
    // Declared after the process: the folder goes when nobody writes to it any more.
    folder: TempDir,
}

/// What to start; see [`OpalServer::builder`].
#[derive(Debug, Clone, Default)]
pub struct OpalServerBuilder {
    master_token: Option<String>,
    files: Vec<(String, String)>,
    vars: Vec<(String, String)>,
}

// === impl OpalServerBuilder ===

impl OpalServerBuilder {
    /// With the tests' RSA keys and a random master token; without, everybody may do everything.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn secure(mut self) -> Result<Self> {
        let master = random_secret()?;
        self.master_token = Some(master.clone());
        Ok(self
            .var("OPAL_AUTH_MASTER_TOKEN", master)
            .var("OPAL_AUTH_PRIVATE_KEY", Keys::rsa_for_tests().private_pem())
            .var("OPAL_AUTH_PUBLIC_KEY", RSA_PUBLIC_FOR_TESTS)
            .var("OPAL_AUTH_PUBLIC_KEY_FORMAT", "pem"))
    }

    /// The first commit of its policy repository also has this file.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// One more environment variable, over what was set before.
    #[must_use]
    pub fn var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.vars.retain(|(set, _)| set != name);
        self.vars.push((name.to_owned(), value.into()));
        self
    }

    /// Starts the server and waits until it serves its policy.
    ///
    /// # Errors
    /// OPAL or git is missing, or the server ended or did not get ready; the message has what it
    /// wrote.
    pub async fn start(self) -> Result<OpalServer> {
        let files: Vec<_> = self.files.iter().map(|(path, text)| (&**path, &**text)).collect();
        let repository = Repository::with(&files).await?;
        let (folder, port) = (own_folder("opal-server")?, free_port()?);
        let master = self.master_token.clone().unwrap_or_default();
        let api = Api::new(format!("http://127.0.0.1:{port}"), master)?;
        let process = self.spawn(&folder, port, &repository)?;
        let mut server = OpalServer { plan: self, process, port, api, repository, folder };
        server.ready().await?;
        Ok(server)
    }

    fn spawn(&self, folder: &TempDir, port: u16, repository: &Repository) -> Result<Process> {
        beside(Part::Opal, "opal-server")?;
        let mut server = opal_program("opal-server")?;
        server
            .args(["run", "--engine-type", "uvicorn"])
            .current_dir(folder)
            .env("OPAL_SERVER_HOST", "127.0.0.1")
            .env("OPAL_SERVER_BIND_PORT", port.to_string())
            .env("OPAL_SERVER_WORKER_COUNT", "1")
            .env("OPAL_LEADER_LOCK_FILE_PATH", folder.path().join("leader.lock"))
            .env("OPAL_AUTH_JWKS_STATIC_DIR", folder.path().join("jwks"))
            .env("OPAL_POLICY_REPO_CLONE_PATH", folder.path().join("clone"))
            .env("OPAL_POLICY_REPO_URL", repository.url())
            .env("OPAL_POLICY_REPO_POLLING_INTERVAL", "1")
            // Its own default writes `{}` over everything an engine has.
            .env("OPAL_DATA_CONFIG_SOURCES", r#"{"config":{"entries":[]}}"#)
            .envs(self.vars.iter().map(|(name, value)| (name, value)));
        Process::spawn("opal-server", server)
    }
}

// === impl OpalServer ===

impl OpalServer {
    /// A server without keys, with one policy file that it looks at once a second.
    pub fn builder() -> OpalServerBuilder {
        OpalServerBuilder::default().file("app/rbac.rego", "package app.rbac\n\nallow := false\n")
    }

    /// How it is asked.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Where its policy is.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Ends it with SIGTERM, or with SIGKILL when it does not end by that. It closes its sockets
    /// with 1012.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_WITHIN).await.map(drop)
    }

    /// Starts it again on the same port, after stopping it if need be.
    ///
    /// # Errors
    /// Those of [`OpalServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.process = self.plan.spawn(&self.folder, self.port, &self.repository)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let http = crate::http::http_client()?;
        let (healthy, policy) =
            (format!("{}/healthcheck", self.api.url()), format!("{}/policy", self.api.url()));
        let mut token = None;
        loop {
            let mut answer = Answer::of(http.get(&healthy)).await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                if token.is_none() && self.plan.master_token.is_some() {
                    token = Some(self.api.mint("client", serde_json::json!({})).await?);
                }
                // Its clone of the repository is later than its first answer.
                answer = self.api.get("/policy", token.as_deref()).await;
            }
            if !self.process.is_running() {
                return Err(self.process.ended().await);
            }
            match answer {
                Ok(answer) if answer.status == 200 && answer.body.get("hash").is_some() => {
                    return Ok(());
                }
                answer if Instant::now() > deadline => bail!(
                    "{policy} was not served in {START_WITHIN:?}, it is {answer:?}; it wrote:\n{}",
                    self.logs()
                ),
                _ => sleep(ASK_EVERY).await,
            }
        }
    }
}
