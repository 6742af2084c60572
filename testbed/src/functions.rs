//! The functions: the built Worker on real workerd, with its Durable Objects on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::Api;
use crate::http::Answer;
use crate::keys::{Keys, random_secret};
use crate::parts::{Part, checkout};
use crate::process::{Logs, Process, command};

/// How long workerd may take to listen. It takes a tenth of a second; a loaded machine takes longer.
const START_WITHIN: Duration = Duration::from_secs(30);
/// workerd lets open websockets finish after SIGTERM, and an agent's socket never does.
const STOP_WITHIN: Duration = Duration::from_millis(300);

const MASTER_TOKEN: &str = "GIRASOL_AUTH_MASTER_TOKEN";
const PRIVATE_KEY: &str = "GIRASOL_AUTH_PRIVATE_KEY";

/// The Worker, running on workerd. Killed when dropped.
#[derive(Debug)]
pub struct Functions {
    plan: FunctionsBuilder,
    process: Process,
    port: u16,
    api: Api,
    data_dir: PathBuf,
    // Declared after the process: the folder goes when nobody writes to it any more.
    _own_data_dir: Option<TempDir>,
}

/// What to start; see [`Functions::builder`].
#[derive(Debug, Clone, Default)]
pub struct FunctionsBuilder {
    data_dir: Option<PathBuf>,
    config: Option<PathBuf>,
    port: u16,
    vars: Vec<(String, String)>,
    log_file: Option<PathBuf>,
}

// === impl FunctionsBuilder ===

impl FunctionsBuilder {
    /// Keeps the Durable Objects in `folder`, which outlives the functions. By default they live in
    /// a temporary folder and end with it.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Listens on this port of 127.0.0.1; 0, the default, takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets a variable of the Worker, over what was set before.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self = self.without_var(&name);
        self.vars.push((name, value.into()));
        self
    }

    /// Leaves a variable unset that has a value by default, such as the master token.
    #[must_use]
    pub fn without_var(mut self, name: &str) -> Self {
        self.vars.retain(|(set, _)| set != name);
        self
    }

    /// Signs tokens with these keys.
    #[must_use]
    pub fn keys(self, keys: &Keys) -> Self {
        self.var(PRIVATE_KEY, keys.private_pem())
    }

    /// Appends what workerd writes to `file`, over restarts too; the handle keeps the last lines
    /// only.
    #[must_use]
    pub fn log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log_file = Some(file.into());
        self
    }

    /// Runs another workerd configuration than the built Worker's. Its socket must be named `http`
    /// and its disk, if it has one, `disk`.
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// Starts workerd and waits until it listens.
    ///
    /// # Errors
    /// workerd or the Worker is missing, the port is in use, a variable is not one of the Worker's,
    /// or workerd refused the Worker; the message has what workerd said.
    pub async fn start(self) -> Result<Functions> {
        let (data_dir, own_data_dir) = match &self.data_dir {
            Some(folder) => (folder.clone(), None),
            None => {
                let own = tempfile::Builder::new().prefix("girasol-functions-").tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        fs::create_dir_all(&data_dir)
            .with_context(|| format!("creating {}: make it writable", data_dir.display()))?;
        let (process, port) = self.spawn(&data_dir, self.port).await?;
        let api = Api::new(format!("http://127.0.0.1:{port}"), self.master_token().to_owned())?;
        Ok(Functions { plan: self, process, port, api, data_dir, _own_data_dir: own_data_dir })
    }

    fn master_token(&self) -> &str {
        let mut vars = self.vars.iter();
        vars.find(|(name, _)| name == MASTER_TOKEN).map_or("", |(_, token)| token)
    }

    async fn spawn(&self, data_dir: &Path, port: u16) -> Result<(Process, u16)> {
        let config = match &self.config {
            Some(config) => config.clone(),
            None => Part::WorkerConfig.find()?,
        };
        self.check_vars(&config)?;
        let disk = data_dir.canonicalize()?;
        let mut workerd = command(Part::Workerd.find()?);
        workerd
            .arg("serve")
            .arg(&config)
            .arg(format!("--socket-addr=http=127.0.0.1:{port}"))
            .arg(format!("--directory-path=disk={}", disk.display()))
            .arg("--control-fd=1")
            .envs(self.vars.iter().map(|(name, value)| (name, value)));
        let mut process = Process::spawn_logging("workerd", workerd, self.log_file.as_deref())?;
        match process.wait_for_line(START_WITHIN, listening_port).await {
            Ok(port) => Ok((process, port)),
            Err(_) if process.logs().to_string().contains("Address already in use") => {
                bail!(
                    "port {port} is in use: stop what listens there, or choose another with --port"
                )
            }
            Err(error) => Err(error.context("if the Worker is not built, run `cargo xtask build`")),
        }
    }

    /// workerd ignores variables that its configuration does not bind. A misspelt one would look
    /// like a setting without effect.
    fn check_vars(&self, config: &Path) -> Result<()> {
        let text =
            fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
        for (name, _) in &self.vars {
            if !text.contains(&format!("\"{name}\"")) {
                bail!(
                    "{name} is not a variable of the Worker: bind it in {} with \
                     `(name = \"{name}\", fromEnvironment = \"{name}\")`",
                    config.display()
                );
            }
        }
        Ok(())
    }
}

/// The port in workerd's control message `{"event":"listen","socket":"http","port":7002}`.
fn listening_port(line: &str) -> Option<u16> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is = |name: &str, value: &str| message.get(name).and_then(Value::as_str) == Some(value);
    if !is("event", "listen") || !is("socket", "http") {
        return None;
    }
    message.get("port")?.as_u64()?.try_into().ok()
}

// === impl Functions ===

impl Functions {
    /// Functions with a random master token and the tests' signing key, on a free port, with their
    /// own temporary storage.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn builder() -> Result<FunctionsBuilder> {
        let plan = FunctionsBuilder::default().var(MASTER_TOKEN, random_secret()?);
        Ok(plan.keys(&Keys::for_tests()))
    }

    /// A Worker of a few lines of JavaScript instead of the functions, without storage: the least
    /// that workerd can do, for the benchmarks to compare with.
    pub fn bare() -> FunctionsBuilder {
        FunctionsBuilder::default().config(checkout().join("testbed/assets/bare.capnp"))
    }

    /// A hand-written Durable Object in JavaScript that stores and broadcasts what is posted to
    /// it, for the benchmarks to compare with.
    pub fn peer() -> FunctionsBuilder {
        FunctionsBuilder::default().config(checkout().join("testbed/assets/peer.capnp"))
    }

    /// Starts what [`Functions::builder`] describes.
    ///
    /// # Errors
    /// Those of [`FunctionsBuilder::start`].
    pub async fn start() -> Result<Self> {
        Self::builder()?.start().await
    }

    /// How they are asked. The URL is the same after a restart.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub fn url(&self) -> &str {
        self.api.url()
    }

    /// `ws://127.0.0.1:PORT/ws`.
    pub fn ws_url(&self) -> String {
        self.api.ws_url()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Durable Objects.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The master token; empty when it was left unset.
    pub fn master_token(&self) -> &str {
        self.plan.master_token()
    }

    /// What workerd and the Worker wrote.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// When workerd was last started.
    pub fn started(&self) -> Instant {
        self.process.started()
    }

    /// workerd's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends one request; `token` goes into `Authorization: Bearer`.
    ///
    /// # Errors
    /// The functions did not answer. An answer that is an error by its status is not one here.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        self.api.request(method, path, token, body).await
    }

    /// `GET path` without a token.
    ///
    /// # Errors
    /// Those of [`Functions::request`].
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path, None, None).await
    }

    /// Mints a token of `kind` (`client`, `datasource`, `listener`) with the master token. The
    /// members of `extra`, for instance `ttl` and `claims`, are added to the request.
    ///
    /// # Errors
    /// The functions refused; the message has their answer.
    pub async fn mint(&self, kind: &str, extra: Value) -> Result<String> {
        let minted = self.api.mint(kind, extra).await;
        minted.with_context(|| format!("workerd wrote:\n{}", self.logs()))
    }

    /// Publishes `update` (`POST /data/config`).
    ///
    /// # Errors
    /// Those of [`Functions::request`].
    pub async fn publish(&self, token: &str, update: &Value) -> Result<Answer> {
        self.api.publish(token, update).await
    }

    /// Publishes `update` and gives the hub's sequence number of it.
    ///
    /// # Errors
    /// The functions refused, or gave no number.
    pub async fn publish_ok(&self, token: &str, update: &Value) -> Result<u64> {
        let answer = self.publish(token, update).await?;
        let body = self.accepted(answer).context("publishing")?;
        let seq = body.get("seq").and_then(Value::as_u64);
        seq.ok_or_else(|| anyhow!("the answer to POST /data/config has no `seq`: {body}"))
    }

    /// The body of a 2xx answer; where the Worker itself failed, its log says more than its answer.
    fn accepted(&self, answer: Answer) -> Result<Value> {
        let failed = answer.status >= 500;
        let body = answer.ok();
        if failed { body.with_context(|| format!("workerd wrote:\n{}", self.logs())) } else { body }
    }

    /// Ends workerd with SIGTERM; with SIGKILL when an open websocket keeps it from ending.
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(STOP_WITHIN).await.map(drop)
    }

    /// Kills workerd (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// The process could not be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts workerd again on the same port, storage and variables, after stopping it if need be.
    ///
    /// # Errors
    /// Those of [`FunctionsBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        (self.process, self.port) = self.plan.spawn(&self.data_dir, self.port).await?;
        Ok(())
    }

    /// Changes a variable; it counts from the next [`Functions::restart`].
    pub fn set_var(&mut self, name: &str, value: &str) {
        self.plan = std::mem::take(&mut self.plan).var(name, value);
    }

    /// Waits until workerd ends, which it does not do by itself, and says how it did.
    pub async fn ended(&mut self) -> Error {
        self.process.ended().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listen_message_of_our_socket_names_the_port() {
        let port = |line| listening_port(line);
        assert_eq!(port(r#"{"event":"listen","socket":"http","port":34971}"#), Some(34971));
        assert_eq!(port(r#"{"event":"listen","socket":"debug","port":1}"#), None);
        assert_eq!(port(r#"{"event":"listen","socket":"http","port":70000}"#), None);
        assert_eq!(port("console.log says hello"), None);
    }
}
