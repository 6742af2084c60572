//! Settings: one table that flags, environment, file and `print-config` are made from.
//!
//! Defaults < file (TOML) < environment < flags. A setting `opa_url` is the flag
//! `--opa-url`, the variable `GIRASOL_OPA_URL`, else OPAL's variable for the same thing,
//! and the key `opa_url` of the file.
//!
//! | question | file |
//! |---|---|
//! | Which settings are there, what are their defaults? | `table.rs` |
//! | What may a value look like? | `kind.rs` |
//! | Where does a value come from? | `resolve.rs` |
//! | How are they shown? | `print.rs` |

use std::{fmt, net::SocketAddr, path::PathBuf};

use tracing::Level;
use url::Url;

mod kind;
mod print;
mod resolve;
mod table;

pub use print::PrintFormat;
pub use resolve::{Resolved, Sources};
pub use table::{SETTINGS, Setting};

use kind::Value;
pub(crate) use kind::http_address;

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
    /// The functions' address, `http` or `https`.
    pub server: Url,
    /// The agent's token.
    pub token: Secret,
    /// What to subscribe to.
    pub topics: Vec<String>,
    /// Whose updates; only the default scope for now.
    pub scope: String,
    /// The agent's name in statistics and receipts.
    pub agent_name: String,
    /// Which engine decides.
    pub engine: EngineKind,
    /// OPA's address, for [`EngineKind::Opa`].
    pub opa_url: Url,
    /// OPA's bearer token.
    pub opa_token: Option<Secret>,
    /// Policies from a folder.
    pub policy_dir: Option<PathBuf>,
    /// Where state is kept.
    pub data_dir: Option<PathBuf>,
    /// The local API, on loopback.
    pub listen: SocketAddr,
    /// The decisions of the embedded engine.
    pub decision_listen: SocketAddr,
    /// From here up, log lines are written.
    pub log_level: Level,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Seconds that one fetch may take.
    pub fetch_timeout_seconds: u64,
}

impl Settings {
    /// The typed settings.
    ///
    /// # Errors
    /// Names the setting that is missing, or that this version cannot follow, and what to
    /// do about it.
    pub fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let Some(token) = resolved.secret("token") else {
            return Err(ConfigError {
                message: "no token: give --token, or set GIRASOL_TOKEN".to_owned(),
                hint: Some(
                    "get one with `edge-agent obtain-token MASTER_TOKEN --type client`".to_owned(),
                ),
            });
        };
        let scope = resolved.text("scope")?;
        if scope != protocol::DEFAULT_SCOPE {
            // The hub would subscribe the agent to the default scope, without a word.
            let only = protocol::DEFAULT_SCOPE;
            let reason = format!("there are no scopes yet but `{only}`; leave it out");
            return Err(resolved.refuse("scope", &reason));
        }
        let listen = resolved.address("listen")?;
        if !listen.ip().to_canonical().is_loopback() {
            // Whoever reaches it may ask it everything: it has no key yet.
            let reason = "the agent's own API is for its own machine only; give a loopback \
                          address, such as 127.0.0.1:7766";
            return Err(resolved.refuse("listen", reason));
        }
        let log_level = resolved.text("log_level")?;
        Ok(Self {
            server: resolved.url("server")?,
            token,
            topics: resolved.list("topics")?,
            scope,
            agent_name: resolved.text("agent_name").unwrap_or_else(|_| host_name()),
            engine: match resolved.text("engine")?.as_str() {
                "opa" => EngineKind::Opa,
                _ => EngineKind::Regorus,
            },
            opa_url: resolved.url("opa_url")?,
            opa_token: resolved.secret("opa_token"),
            policy_dir: resolved.path("policy_dir"),
            data_dir: resolved.path("data_dir"),
            listen,
            decision_listen: resolved.address("decision_listen")?,
            log_level: log_level.parse().map_err(|_| missing("log_level"))?,
            log_format: match resolved.text("log_format")?.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            fetch_timeout_seconds: resolved.seconds("fetch_timeout_seconds")?,
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

    fn seconds(&self, name: &str) -> Result<u64, ConfigError> {
        match self.get(name) {
            Some(Value::Seconds(seconds)) => Ok(*seconds),
            _ => Err(missing(name)),
        }
    }
}

#[cfg(test)]
mod tests;
