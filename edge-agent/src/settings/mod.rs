//! Settings: one table that flags, environment, file and `print-config` are made from.
//!
//! Defaults < file (TOML) < environment < flags. A setting `opa_url` is the flag
//! `--opa-url`, the variable `GIRASOL_OPA_URL`, else OPAL's or Permit's variable for the
//! same thing, and the key `opa_url` of the file.
//!
//! | question | file |
//! |---|---|
//! | Which settings are there, what are their defaults? | `table.rs` |
//! | What may a value look like? | `kind.rs` |
//! | Where does a value come from? | `resolve.rs` |
//! | How are they shown? | `print.rs` |
//! | Which are about sources? | `fetch.rs` |
//! | Which are about decisions and their logs? | `decisions.rs` |

use std::{fmt, net::SocketAddr, path::PathBuf};

use tracing::Level;
use url::Url;

use crate::engine::regorus::Language;
use crate::facts::{Hold, TimeoutPolicy};
use crate::fetch::exec::{self, Program};

mod decisions;
mod fetch;
mod kind;
mod print;
mod resolve;
mod table;

pub use crate::decision_log::{DecisionLogSettings, ServiceSettings};
pub use crate::decisions::DecisionSettings;
pub use fetch::{FetchSettings, SecretSettings};
pub use print::PrintFormat;
pub use resolve::{Resolved, Sources};
pub use table::{SETTINGS, Setting};

use kind::Value;
pub(crate) use kind::{callbacks, http_address};

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// A setting is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// What is wrong, and where it was set.
    pub message: String,
    /// What to do about it, if the message does not say.
    pub hint: Option<String>,
}

impl ConfigError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

/// Which engine decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// The embedded one.
    Regorus,
    /// An OPA beside the agent, over REST.
    Opa,
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// To be found out at each connection.
    Auto,
    /// Our functions' own.
    Girasol,
    /// OPAL's.
    Opal,
}

/// What only an opal-server is asked for (`spec/opal-protocol.md` §5, §7.2).
#[derive(Clone, Debug)]
pub struct OpalSettings {
    /// Folders of the policy; of a hub of ours, too.
    pub policy_dirs: Vec<String>,
    /// Patterns of policies to leave out.
    pub policies_to_ignore: Vec<String>,
    /// False for no policies from the server, or from a hub of ours.
    pub policy_updates: bool,
    /// False for no data from the server.
    pub data_updates: bool,
    /// Where the base sources are, if not at the server.
    pub data_sources_url: Option<Url>,
    /// The socket, if it is not the one below the server's address.
    pub socket_url: Option<Url>,
    /// True if registered callbacks hear of every update.
    pub reports: bool,
    /// Callbacks in place of the server's own, as OPAL writes them: their headers may be credentials.
    pub default_callbacks: Option<Secret>,
    /// True to appear in the server's statistics.
    pub statistics: bool,
    /// Seconds between two pings.
    pub keep_alive_seconds: Option<u64>,
}

/// How facts are written through the agent (`spec/critical-updates.md` §6.1).
#[derive(Clone, Debug)]
pub struct FactsSettings {
    /// What they are written with; none for what each caller shows.
    pub token: Option<Secret>,
    /// For how long an answer is held, if its caller does not say.
    pub hold: Hold,
    /// What is answered after that, if its caller does not say.
    pub policy: TimeoutPolicy,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What `edge-agent run` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the functions, or of an opal-server; `http` or `https`.
    pub server: Url,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What only an opal-server is asked for.
    pub opal: OpalSettings,
    /// The agent's token.
    pub token: Secret,
    /// What to subscribe to.
    pub topics: Vec<String>,
    /// Whose updates.
    pub scope: String,
    /// The agent's name in statistics and receipts.
    pub agent_name: String,
    /// Which engine decides.
    pub engine: EngineKind,
    /// What the embedded engine takes policies for.
    pub language: Language,
    /// Seconds that one decision of the embedded engine may take.
    pub decision_timeout_seconds: u64,
    /// Bytes by which the agent may grow during a decision of the embedded engine.
    pub decision_memory_limit: usize,
    /// OPA's address, for [`EngineKind::Opa`].
    pub opa_url: Url,
    /// OPA's bearer token.
    pub opa_token: Option<Secret>,
    /// Whether OPA is given the built-in policy.
    pub permit_policy: bool,
    /// Policies from a folder.
    pub policy_dir: Option<PathBuf>,
    /// Where state is kept.
    pub data_dir: Option<PathBuf>,
    /// The local API.
    pub listen: SocketAddr,
    /// What its callers show; none if only this machine may call.
    pub api_key: Option<Secret>,
    /// How facts are written through the agent.
    pub facts: FactsSettings,
    /// The decisions of the embedded engine.
    pub decision_listen: SocketAddr,
    /// How they are served.
    pub decisions: DecisionSettings,
    /// Where its decisions are logged.
    pub decision_log: DecisionLogSettings,
    /// Where the data plane is served, if it is.
    pub data_plane_listen: Option<SocketAddr>,
    /// Seconds for which it goes by its grants without the hub; none for ever.
    pub grants_offline_seconds: Option<u64>,
    /// From here up, log lines are written.
    pub log_level: Level,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Seconds that one fetch may take.
    pub fetch_timeout_seconds: u64,
    /// Where sources may be, and how they are connected to.
    pub fetch: FetchSettings,
    /// Where the secrets come from that updates name.
    pub secrets: SecretSettings,
    /// Programs that may be run to fetch data.
    pub exec_fetchers: Vec<Program>,
}

/// OPAL's variables among `names` that the agent does not follow.
pub fn unfollowed<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let is_known = |name: &str| SETTINGS.iter().filter_map(|it| it.opal).any(|it| it == name);
    let opals = |name: &&str| name.strip_prefix("OPAL_").is_some_and(|name| !is_known(name));
    let mut names: Vec<&str> = names.filter(opals).collect();
    names.sort_unstable();
    names
}

impl Settings {
    /// The typed settings.
    ///
    /// # Errors
    /// Names the setting that is missing, or that this version cannot follow, and what to
    /// do about it.
    pub fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let protocol = match resolved.text("protocol")?.as_str() {
            "girasol" => Protocol::Girasol,
            "opal" => Protocol::Opal,
            _ => Protocol::Auto,
        };
        let token = match (resolved.secret("token"), protocol) {
            (Some(token), _) => token,
            // What OPAL's client shows to a server without keys.
            (None, Protocol::Opal) => Secret::new("THIS_IS_A_DEV_SECRET".to_owned()),
            (None, _) => {
                return Err(ConfigError {
                    message: "no token: give --token, or set GIRASOL_TOKEN".to_owned(),
                    hint: Some(
                        "get one with `edge-agent obtain-token MASTER_TOKEN --type client`; an \
                         opal-server without keys needs none with --protocol opal"
                            .to_owned(),
                    ),
                });
            }
        };
        let scope = resolved.text("scope")?;
        let listen = resolved.listen()?;
        let api_key = resolved.secret("api_key");
        if api_key.is_none() && !listen.ip().to_canonical().is_loopback() {
            // Whoever reaches it may ask it everything.
            let reason = "without an api_key the agent's own API is for its own machine only; set \
                          GIRASOL_API_KEY, or give a loopback address, such as 127.0.0.1:7766";
            let host = resolved.get("listen_host").map_or("listen", |_| "listen_host");
            return Err(resolved.refuse(host, reason));
        }
        let facts = FactsSettings::new(resolved)?;
        if facts.token.is_some() && api_key.is_none() {
            // Whoever reaches the agent would write with it.
            let reason = "only who shows an api_key may write with it; set GIRASOL_API_KEY, too, or \
                          leave it out and have callers show a datasource token of their own";
            return Err(resolved.refuse("facts_token", reason));
        }
        let log_level = resolved.text("log_level")?;
        Ok(Self {
            server: resolved.url("server")?,
            protocol,
            opal: OpalSettings::new(resolved)?,
            token,
            topics: resolved.list("topics")?,
            scope,
            agent_name: resolved.text("agent_name").unwrap_or_else(|_| host_name()),
            engine: match resolved.text("engine")?.as_str() {
                "opa" => EngineKind::Opa,
                _ => EngineKind::Regorus,
            },
            decision_timeout_seconds: resolved.seconds("decision_timeout_seconds")?,
            decision_memory_limit: resolved.bytes("decision_memory_limit")?,
            language: if resolved.is_on("rego_v0")? { Language::V0 } else { Language::V1 },
            opa_url: resolved.url("opa_url")?,
            opa_token: resolved.secret("opa_token"),
            permit_policy: resolved.is_on("permit_policy")?,
            policy_dir: resolved.path("policy_dir"),
            data_dir: resolved.path("data_dir"),
            listen,
            api_key,
            facts,
            decision_listen: resolved.address("decision_listen")?,
            decisions: DecisionSettings::new(resolved)?,
            decision_log: DecisionLogSettings::new(resolved)?,
            data_plane_listen: resolved.address("data_plane_listen").ok(),
            grants_offline_seconds: Some(resolved.seconds("grants_offline_seconds")?)
                .filter(|seconds| *seconds > 0),
            log_level: log_level.parse().map_err(|_| missing("log_level"))?,
            log_format: match resolved.text("log_format")?.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            fetch_timeout_seconds: resolved.seconds("fetch_timeout_seconds")?,
            fetch: FetchSettings::new(resolved)?,
            secrets: SecretSettings::new(resolved)?,
            exec_fetchers: match resolved.text("exec_fetchers") {
                Ok(text) => {
                    exec::programs(&text).map_err(|it| resolved.refuse("exec_fetchers", &it))?
                }
                Err(_) => vec![],
            },
        })
    }
}

impl FactsSettings {
    fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let hold = resolved.text("local_facts_wait_timeout")?;
        let policy = resolved.text("local_facts_timeout_policy")?;
        Ok(Self {
            token: resolved.secret("facts_token"),
            hold: Hold::read(&hold).ok_or_else(|| missing("local_facts_wait_timeout"))?,
            policy: TimeoutPolicy::read(&policy)
                .ok_or_else(|| missing("local_facts_timeout_policy"))?,
        })
    }
}

impl OpalSettings {
    fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let below = |url: Url| {
            let mut url = url;
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().push("ws");
            }
            url
        };
        let socket_url = resolved.url("socket_url").ok();
        let keep_alive = resolved.seconds("keep_alive_seconds")?;
        Ok(Self {
            policy_dirs: resolved.list("policy_dirs")?,
            policies_to_ignore: resolved.list("policies_to_ignore").unwrap_or_default(),
            policy_updates: resolved.is_on("policy_updates")?,
            data_updates: resolved.is_on("data_updates")?,
            data_sources_url: resolved.url("data_sources_url").ok(),
            socket_url: socket_url.or_else(|| resolved.url("socket_base_url").ok().map(below)),
            reports: resolved.is_on("report_updates")?,
            default_callbacks: resolved.secret("update_callbacks"),
            statistics: resolved.is_on("statistics")?,
            keep_alive_seconds: Some(keep_alive).filter(|seconds| *seconds > 0),
        })
    }
}

/// The machine's name, which is the agent's where nobody gave it another one.
fn host_name() -> String {
    let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    std::env::var("HOSTNAME")
        .ok()
        .or_else(from_kernel)
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty() && name.len() <= protocol::limits::MAX_AGENT_NAME_BYTES)
        .unwrap_or_else(|| "edge-agent".to_owned())
}

fn missing(name: &str) -> ConfigError {
    ConfigError::new(format!("{name} has no value"))
}

impl Resolved {
    fn text(&self, name: &str) -> Result<String, ConfigError> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(missing(name)),
        }
    }

    fn is_on(&self, name: &str) -> Result<bool, ConfigError> {
        self.text(name).map(|text| text == "true")
    }

    /// `listen`, with OPAL's host and port in place of its own where they are given.
    fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let mut listen = self.address("listen")?;
        if let Ok(host) = self.text("listen_host") {
            let host = if host == "localhost" { "127.0.0.1" } else { host.as_str() };
            let ip = host.parse();
            listen.set_ip(ip.map_err(|_| {
                self.refuse("listen_host", "give an IP address, such as 127.0.0.1")
            })?);
        }
        if let Some(Value::Port(port)) = self.get("listen_port") {
            listen.set_port(*port);
        }
        Ok(listen)
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.text(name).ok().map(Secret::new)
    }

    fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        match self.get(name) {
            Some(Value::List(list)) => Ok(list.clone()),
            _ => Err(missing(name)),
        }
    }

    fn url(&self, name: &str) -> Result<Url, ConfigError> {
        match self.get(name) {
            Some(Value::Url(url)) => Ok(url.clone()),
            _ => Err(missing(name)),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name) {
            Some(Value::Path(path)) => Some(path.clone()),
            _ => None,
        }
    }

    fn address(&self, name: &str) -> Result<SocketAddr, ConfigError> {
        match self.get(name) {
            Some(Value::Address(address)) => Ok(*address),
            _ => Err(missing(name)),
        }
    }

    fn bytes(&self, name: &str) -> Result<usize, ConfigError> {
        match self.get(name) {
            Some(Value::Bytes(bytes)) => Ok(*bytes),
            _ => Err(missing(name)),
        }
    }

    fn count(&self, name: &str) -> Result<u64, ConfigError> {
        match self.get(name) {
            Some(Value::Number(count)) => Ok(*count),
            _ => Err(missing(name)),
        }
    }

    fn seconds(&self, name: &str) -> Result<u64, ConfigError> {
        match self.get(name) {
            Some(Value::Number(seconds)) => Ok(*seconds),
            _ => Err(missing(name)),
        }
    }
}

#[cfg(test)]
mod tests;
