//! A real edge agent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::http::{Answer, http_client};
use crate::parts::Part;
use crate::process::{Logs, Process, command};

const START_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The agent does not push its status, so it is asked.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// `edge-agent run`, listening on free ports of 127.0.0.1. Killed when dropped.
#[derive(Debug)]
pub struct Agent {
    plan: AgentBuilder,
    process: Process,
    local_url: String,
    decision_url: String,
    data_plane_url: Option<String>,
    http: reqwest::Client,
    data_dir: PathBuf,
    // Declared after the process: the folder goes when nobody writes to it any more.
    _own_data_dir: Option<TempDir>,
}

/// The policy engine beside an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Inside the agent.
    Regorus,
    /// An OPA at this URL (without `/v1`).
    Opa(String),
}

/// What to start; see [`Agent::builder`].
#[derive(Debug, Clone)]
pub struct AgentBuilder {
    server: String,
    token: String,
    topics: Vec<String>,
    engine: Engine,
    policy_dir: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    log_level: String,
    log_file: Option<PathBuf>,
    data_plane: bool,
    args: Vec<OsString>,
    vars: Vec<(String, String)>,
}

/// Where an agent listens.
#[derive(Debug)]
struct Listening {
    local_url: String,
    decision_url: String,
    data_plane_url: Option<String>,
}

// === impl AgentBuilder ===

impl AgentBuilder {
    /// Subscribes to these topics.
    #[must_use]
    pub fn topics<'a>(mut self, topics: impl IntoIterator<Item = &'a str>) -> Self {
        self.topics = topics.into_iter().map(str::to_owned).collect();
        self
    }

    /// Uses this engine; the embedded one by default.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Loads the policy in `folder`.
    #[must_use]
    pub fn policy_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.policy_dir = Some(folder.into());
        self
    }

    /// Keeps the agent's state in `folder`, which outlives the agent. By default it lives in a
    /// temporary folder that is there until the handle is dropped, so also over a restart.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// `error`, `warn`, `info` (the default), `debug` or `trace`. The agent must log at `info` for
    /// its ports to be known.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Appends what the agent logs to `file`, over restarts too; the handle keeps the last lines only.
    #[must_use]
    pub fn log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log_file = Some(file.into());
        self
    }

    /// Serves the data plane, too, for the bearers of grants.
    #[must_use]
    pub fn data_plane(mut self) -> Self {
        self.data_plane = true;
        self
    }

    /// One more argument of `edge-agent run`, after the others.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the agent and waits until it listens; it may not be connected yet.
    ///
    /// # Errors
    /// The agent is missing, or ended before it listened; the message has what it wrote.
    pub async fn start(self) -> Result<Agent> {
        let (data_dir, own_data_dir) = match &self.data_dir {
            Some(folder) => (folder.clone(), None),
            None => {
                let own = tempfile::Builder::new().prefix("girasol-agent-").tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        let (process, listening) = self.spawn(&data_dir).await?;
        let Listening { local_url, decision_url, data_plane_url } = listening;
        Ok(Agent {
            plan: self,
            process,
            local_url,
            decision_url,
            data_plane_url,
            http: http_client()?,
            data_dir,
            _own_data_dir: own_data_dir,
        })
    }

    async fn spawn(&self, data_dir: &Path) -> Result<(Process, Listening)> {
        let mut agent = command(Part::Agent.find()?);
        agent.args(["run", "--log-format", "json", "--log-level", &self.log_level]);
        // A command line can be read by everybody on the machine, an environment cannot.
        agent.args(["--server", &self.server]).env("GIRASOL_TOKEN", &self.token);
        agent.args(["--topics", &self.topics.join(",")]).args(["--listen", "127.0.0.1:0"]);
        agent.arg("--data-dir").arg(data_dir);
        match &self.engine {
            Engine::Regorus => {
                agent.args(["--engine", "regorus", "--decision-listen", "127.0.0.1:0"])
            }
            Engine::Opa(url) => agent.args(["--engine", "opa", "--opa-url", url]),
        };
        if let Some(folder) = &self.policy_dir {
            agent.arg("--policy-dir").arg(folder);
        }
        if self.data_plane {
            agent.args(["--data-plane-listen", "127.0.0.1:0"]);
        }
        agent.args(&self.args).envs(self.vars.iter().map(|(name, value)| (name, value)));
        let mut process = Process::spawn_logging("edge-agent", agent, self.log_file.as_deref())?;
        let (local, decisions) = process.wait_for_line(START_WITHIN, listening).await?;
        let decision_url = match (&self.engine, decisions) {
            (Engine::Opa(url), _) => url.trim_end_matches('/').to_owned(),
            (Engine::Regorus, Some(decisions)) => format!("http://{decisions}"),
            (Engine::Regorus, None) => {
                bail!("edge-agent did not say where it decides; it wrote:\n{}", process.logs())
            }
        };
        let mut data_plane_url = None;
        if self.data_plane {
            let address = process.wait_for_line(START_WITHIN, serving).await?;
            data_plane_url = Some(format!("http://{address}"));
        }
        let local_url = format!("http://{local}");
        Ok((process, Listening { local_url, decision_url, data_plane_url }))
    }
}

/// The address in the agent's log line `{"message":"serving the data plane","data_plane":…}`.
fn serving(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("data_plane").and_then(Value::as_str).map(str::to_owned)
}

/// The addresses in the agent's log line `{"message":"listening","local":…,"decisions":…}`.
fn listening(line: &str) -> Option<(String, Option<String>)> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line.get("message")? != "listening" {
        return None;
    }
    let address = |name| line.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((address("local")?, address("decisions")))
}

// === impl Agent ===

impl Agent {
    /// An agent of the functions at `server` (`http://…`), with a client token, the embedded
    /// engine and the topic `policy_data`.
    pub fn builder(server: impl Into<String>, token: impl Into<String>) -> AgentBuilder {
        AgentBuilder {
            server: server.into(),
            token: token.into(),
            topics: vec!["policy_data".to_owned()],
            engine: Engine::Regorus,
            policy_dir: None,
            data_dir: None,
            log_level: "info".to_owned(),
            log_file: None,
            data_plane: false,
            args: Vec::new(),
            vars: Vec::new(),
        }
    }

    /// The agent's local API, `http://127.0.0.1:PORT`. Another one after a restart.
    pub fn local_url(&self) -> &str {
        &self.local_url
    }

    /// Where decisions are asked for: the agent's own listener, or OPA's URL.
    pub fn decision_url(&self) -> &str {
        &self.decision_url
    }

    /// Its data plane, `http://127.0.0.1:PORT`, if it serves one. Another one after a restart.
    pub fn data_plane_url(&self) -> Option<&str> {
        self.data_plane_url.as_deref()
    }

    /// The folder of the agent's state.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The agent's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// When the agent was last started.
    pub fn started(&self) -> Instant {
        self.process.started()
    }

    /// What the agent logged: one JSON object per line.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// `GET path` on the local API.
    ///
    /// # Errors
    /// The agent did not answer. An answer that is an error by its status is not one here.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let answer = Answer::of(self.http.get(format!("{}{path}", self.local_url))).await;
        answer.with_context(|| format!("asking the agent for {path}"))
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// The agent did not answer, or not with 2xx.
    pub async fn status(&self) -> Result<Value> {
        self.get("/status").await?.ok()
    }

    /// `GET /healthz`: 200 or 503 with its reasons.
    ///
    /// # Errors
    /// The agent did not answer.
    pub async fn healthz(&self) -> Result<(u16, Value)> {
        let answer = self.get("/healthz").await?;
        Ok((answer.status, answer.body))
    }

    /// `POST /v1/data/{path}` with `input`, at the agent or, with `--engine opa`, at OPA: the
    /// whole answer, such as `{"result": true}`.
    ///
    /// # Errors
    /// There was no answer, or not with 2xx.
    pub async fn decide(&self, path: &str, input: &Value) -> Result<Value> {
        let url = format!("{}/v1/data/{}", self.decision_url, path.trim_start_matches('/'));
        let request = self.http.post(url).json(&json!({ "input": input }));
        Answer::of(request).await?.ok().with_context(|| format!("asking for the decision {path}"))
    }

    /// Asks for a decision again and again until its `result` is `wanted`.
    ///
    /// # Errors
    /// `within` passed first; the message has the last answer and what the agent logged.
    pub async fn wait_decision(
        &self,
        path: &str,
        input: &Value,
        wanted: &Value,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let answer = self.decide(path, input).await;
            if let Ok(answer) = &answer
                && answer.get("result") == Some(wanted)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the decision {path} did not become {wanted} in {within:?}, it was {answer:?}; \
                     the agent wrote:\n{}",
                    self.logs()
                );
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks for the status until it is as `wanted`, and gives it. The agent has no way yet to say
    /// that its status changed, so this polls.
    ///
    /// # Errors
    /// `within` passed first, or the agent ended; the message has the last status and what the
    /// agent logged.
    pub async fn wait_status(
        &self,
        mut wanted: impl FnMut(&Value) -> bool,
        within: Duration,
    ) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status().await;
            match status {
                Ok(status) if wanted(&status) => return Ok(status),
                status if Instant::now() > deadline => {
                    let status = status
                        .map_or_else(|error| format!("{error:#}"), |status| format!("{status:#}"));
                    return Err(anyhow!(
                        "the agent's status did not become what was waited for in {within:?}; it \
                         is {status}\nand it wrote:\n{}",
                        self.logs()
                    ));
                }
                _ => sleep(ASK_EVERY).await,
            }
        }
    }

    /// Waits until the agent is connected and has replayed what it missed.
    ///
    /// # Errors
    /// Those of [`Agent::wait_status`].
    pub async fn wait_live(&self, within: Duration) -> Result<Value> {
        let live = |status: &Value| status.pointer("/connection/state") == Some(&json!("live"));
        self.wait_status(live, within).await
    }

    /// Waits until everything up to `seq` is applied.
    ///
    /// # Errors
    /// Those of [`Agent::wait_status`].
    pub async fn wait_cursor(&self, seq: u64, within: Duration) -> Result<Value> {
        let there = |status: &Value| {
            status.get("cursor").and_then(Value::as_u64).is_some_and(|cursor| cursor >= seq)
        };
        self.wait_status(there, within).await
    }

    /// Kills the agent (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// The process could not be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Ends the agent with SIGTERM and gives its exit code.
    ///
    /// # Errors
    /// It did not end in ten seconds, or by another signal.
    pub async fn stop(&mut self) -> Result<i32> {
        let status = self.process.terminate(STOP_WITHIN).await?.ok_or_else(|| {
            anyhow!("edge-agent did not end on SIGTERM; it wrote:\n{}", self.logs())
        })?;
        status.code().ok_or_else(|| anyhow!("edge-agent ended with {status}, not with a code"))
    }

    /// Stops the agent where it is (SIGSTOP): it keeps its sockets and does nothing, until
    /// [`Agent::thaw`].
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn freeze(&mut self) -> Result<()> {
        self.process.signal("STOP").await
    }

    /// Lets a frozen agent go on (SIGCONT).
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn thaw(&mut self) -> Result<()> {
        self.process.signal("CONT").await
    }

    /// Starts the agent again with the same arguments and state, killing it first if it runs.
    ///
    /// # Errors
    /// Those of [`AgentBuilder::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let listening;
        (self.process, listening) = self.plan.spawn(&self.data_dir).await?;
        let Listening { local_url, decision_url, data_plane_url } = listening;
        (self.local_url, self.decision_url) = (local_url, decision_url);
        self.data_plane_url = data_plane_url;
        Ok(())
    }

    /// Waits until the agent ends, which it does not do by itself, and says how it did.
    pub async fn ended(&mut self) -> Error {
        self.process.ended().await
    }
}
