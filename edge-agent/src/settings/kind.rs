//! What values look like: how they are read from text and from TOML.

use std::{net::SocketAddr, path::PathBuf};

use protocol::{limits, topic::TopicSet};
use serde_json::value::RawValue;
use url::Url;

use crate::facts::Hold;
use crate::net::rule::Rule;
use crate::secrets::Rules;

/// What a setting's values look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// An address as [`http_address`] has it.
    Url,
    /// Topics, separated by commas; in the file a list of strings.
    Topics,
    /// A name that fits into a `hello`.
    AgentName,
    /// A file or folder.
    Path,
    /// An address and a port.
    Address,
    /// A number of seconds, at least 1.
    Seconds,
    /// A number of seconds, 0 for never.
    Interval,
    /// Seconds as [`Hold::read`] reads them: a fraction, 0, or less for no limit.
    Wait,
    /// A port.
    Port,
    /// A whole number, at least 1.
    Count,
    /// A `ws` or `wss` address, or an `http` or `https` one in its place.
    SocketUrl,
    /// Folders of a repository, separated by colons; in the file a list of strings.
    Dirs,
    /// Patterns of paths, separated by commas; in the file a list of strings.
    Patterns,
    /// The name of a tenant.
    Scope,
    /// A file.
    File,
    /// A number of bytes, alone or in KiB, MiB or GiB.
    Bytes,
    /// Rules of reach, separated by commas; in the file a list of strings.
    Rules,
    /// A proxy's address, which may have a password.
    Proxy,
    /// OPAL's `{"callbacks":[…]}`, or the list alone.
    Callbacks,
    /// A program with its first arguments, separated by spaces; in the file a list of strings.
    Command,
    /// Which hosts secrets may go to, as [`Rules::read`] reads it; in the file a table each.
    Secrets,
    /// Programs that fetch data, as [`exec::programs`](crate::fetch::exec::programs) reads them;
    /// in the file a table each.
    Programs,
    /// One of some words, in any case; `also` are other names of some of them.
    Choice { of: &'static [&'static str], also: &'static [(&'static str, &'static str)] },
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    Url(Url),
    Path(PathBuf),
    Address(SocketAddr),
    /// Seconds, or how many.
    Number(u64),
    Bytes(usize),
    Port(u16),
}

impl Kind {
    /// Reads a flag, a variable or a default. The error does not repeat the text, which may
    /// be a secret in the wrong place; only a topic that breaks a rule is named.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        match self {
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Url => http_address(text).map(Value::Url),
            Self::Topics => {
                let topics = text.split(',').map(|topic| topic.trim().to_owned());
                topics_of(topics.collect())
            }
            Self::AgentName => {
                let limit = limits::MAX_AGENT_NAME_BYTES;
                if text.len() > limit || text.chars().any(char::is_control) {
                    return Err(format!("give at most {limit} bytes of plain text"));
                }
                Ok(Value::Text(text.to_owned()))
            }
            Self::Path | Self::File => Ok(Value::Path(text.into())),
            Self::Address => text.parse().map(Value::Address).map_err(|_| {
                "give an IP address and a port, such as 127.0.0.1:7766 or [::1]:7766".to_owned()
            }),
            Self::Seconds => match text.parse() {
                Ok(seconds) if seconds > 0 => Ok(Value::Number(seconds)),
                _ => Err("give a whole number of seconds, at least 1".to_owned()),
            },
            Self::Interval => match text.parse() {
                Ok(seconds) => Ok(Value::Number(seconds)),
                _ => Err("give a whole number of seconds, 0 for never".to_owned()),
            },
            Self::Wait => match Hold::read(text) {
                Some(_) => Ok(Value::Text(text.to_owned())),
                None => {
                    Err("give a number of seconds, such as 10 or 0.5; -1 for no limit".to_owned())
                }
            },
            Self::Port => match text.parse::<u16>() {
                Ok(port) => Ok(Value::Port(port)),
                _ => Err("give a port, from 0 to 65535".to_owned()),
            },
            Self::Count => match text.parse() {
                Ok(count) if count > 0 => Ok(Value::Number(count)),
                _ => Err("give a whole number, at least 1".to_owned()),
            },
            Self::SocketUrl => socket_address(text).map(Value::Url),
            Self::Dirs => Ok(Value::List(parts(text, ':'))),
            Self::Patterns => Ok(Value::List(parts(text, ','))),
            Self::Rules => rules_of(parts(text, ',')),
            Self::Bytes => bytes(text).map(Value::Bytes).ok_or_else(|| {
                "give a number of bytes, at least 1, such as 65536 or 64MiB".to_owned()
            }),
            Self::Proxy => proxy(text).map(|()| Value::Text(text.to_owned())),
            Self::Scope => {
                let is_plain = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_' | '.');
                if text.chars().all(is_plain) && !matches!(text, "." | "..") {
                    Ok(Value::Text(text.to_owned()))
                } else {
                    Err("give a name of letters, digits, `-`, `_` and `.`".to_owned())
                }
            }
            Self::Callbacks => callbacks(text).map(|_| Value::Text(text.to_owned())),
            Self::Command => Ok(Value::List(text.split_whitespace().map(str::to_owned).collect())),
            Self::Secrets => Rules::read(text).map(|_| Value::Text(text.to_owned())),
            Self::Programs => {
                crate::fetch::exec::programs(text).map(|_| Value::Text(text.to_owned()))
            }
            Self::Choice { of, also } => {
                let found = also.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                let meant = found.map_or(text, |(_, meant)| meant);
                let known = of.iter().find(|word| word.eq_ignore_ascii_case(meant));
                known
                    .map(|word| Value::Text((*word).to_owned()))
                    .ok_or_else(|| format!("give one of {}", of.join(", ")))
            }
        }
    }

    /// Reads a value of the file, which has the type that it should have.
    pub(super) fn read_toml(self, value: &toml::Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Topics, toml::Value::Array(items)) => {
                let topics = items.iter().map(|item| item.as_str().map(str::to_owned));
                topics_of(topics.collect::<Option<_>>().ok_or("give a list of strings")?)
            }
            (Self::Dirs | Self::Patterns | Self::Command, toml::Value::Array(items)) => {
                let dirs = items.iter().map(|item| item.as_str().map(str::to_owned));
                let dirs = dirs.collect::<Option<_>>().ok_or("give a list of strings")?;
                Ok(Value::List(dirs))
            }
            (Self::Secrets, toml::Value::Table(table)) => {
                let text = serde_json::to_string(table).map_err(|error| error.to_string())?;
                self.read(&text)
            }
            (Self::Dirs | Self::Patterns, _) => {
                Err("give a list of strings, such as [\"app\"]".to_owned())
            }
            (Self::Rules, toml::Value::Array(items)) => {
                let rules = items.iter().map(|item| item.as_str().map(str::to_owned));
                rules_of(rules.collect::<Option<_>>().ok_or("give a list of strings")?)
            }
            (Self::Rules, _) => Err("give a list of strings, such as [\"db.internal\"]".to_owned()),
            (Self::Bytes, toml::Value::Integer(number)) => self.read(&number.to_string()),
            (Self::Topics, _) => Err("give a list of strings, such as [\"users\"]".to_owned()),
            (
                Self::Seconds | Self::Interval | Self::Port | Self::Wait | Self::Count,
                toml::Value::Integer(number),
            ) => self.read(&number.to_string()),
            (Self::Wait, toml::Value::Float(number)) => self.read(&number.to_string()),
            (Self::Choice { .. }, toml::Value::Boolean(on)) => self.read(&on.to_string()),
            (Self::Programs, toml::Value::Table(table)) => {
                let text = serde_json::to_string(table).map_err(|error| error.to_string())?;
                self.read(&text)
            }
            (Self::Seconds | Self::Interval | Self::Port | Self::Count, _) => {
                Err("give a number, without quotes".to_owned())
            }
            (_, toml::Value::String(text)) => self.read(text),
            _ => Err("give a string, in quotes".to_owned()),
        }
    }

    /// What stands for a value in help texts.
    pub(super) fn placeholder(self) -> String {
        let word = match self {
            Self::Text | Self::AgentName => "TEXT",
            Self::Url => "URL",
            Self::Topics => "TOPICS",
            Self::Path => "DIR",
            Self::File => "FILE",
            Self::Bytes => "BYTES",
            Self::Rules => "RULES",
            Self::Address => "ADDR",
            Self::Seconds | Self::Interval | Self::Wait => "SECONDS",
            Self::Port => "PORT",
            Self::Count => "NUMBER",
            Self::SocketUrl | Self::Proxy => "URL",
            Self::Dirs => "DIRS",
            Self::Patterns => "PATTERNS",
            Self::Scope => "SCOPE",
            Self::Command => "COMMAND",
            Self::Callbacks | Self::Programs | Self::Secrets => "JSON",
            Self::Choice { of, .. } => return of.join("|"),
        };
        word.to_owned()
    }
}

fn parts(text: &str, separator: char) -> Vec<String> {
    let parts = text.split(separator).map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

fn rules_of(rules: Vec<String>) -> Result<Value, String> {
    for (at, rule) in rules.iter().enumerate() {
        Rule::parse(rule).map_err(|error| format!("rule {}: {error}", at + 1))?;
    }
    Ok(Value::List(rules))
}

/// Units of bytes, the largest first.
pub(super) const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn bytes(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let found = UNITS.iter().find_map(|(unit, size)| {
        Some((lower.strip_suffix(&unit.to_ascii_lowercase())?.trim_end(), *size))
    });
    let (number, size) = found.unwrap_or((&lower, 1));
    number.parse::<usize>().ok()?.checked_mul(size).filter(|bytes| *bytes > 0)
}

fn proxy(text: &str) -> Result<(), String> {
    let url = Url::parse(text).ok();
    let is_proxy = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match url.filter(is_proxy) {
        Some(_) => Ok(()),
        None => Err("give a proxy's address, such as http://proxy.internal:3128".to_owned()),
    }
}

fn topics_of(topics: Vec<String>) -> Result<Value, String> {
    match TopicSet::new(topics.iter().cloned()) {
        Ok(_) => Ok(Value::List(topics)),
        Err(problem) => Err(problem.detail.trim_start_matches("topics: ").to_owned()),
    }
}

/// Addresses that hear of every update, each with its settings.
pub(crate) type Callbacks = Vec<(String, Option<Box<RawValue>>)>;

/// Reads OPAL's `{"callbacks":[…]}`; the list alone will do.
pub(crate) fn callbacks(text: &str) -> Result<Callbacks, String> {
    let wrapped =
        if text.starts_with('[') { format!(r#"{{"callbacks":{text}}}"#) } else { text.to_owned() };
    RawValue::from_string(wrapped).and_then(|text| crate::runtime::callbacks::read(&text)).map_err(
        |_| {
            "give {\"callbacks\": […]} as JSON, each an address or an address with its settings"
                .to_owned()
        },
    )
}

fn socket_address(text: &str) -> Result<Url, String> {
    let http = text.replacen("ws", "http", usize::from(text.starts_with("ws")));
    let mut url = http_address(&http)
        .map_err(|_| "give an address such as ws://localhost:7002/ws".to_owned())?;
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    // Both are schemes of the same kind.
    let _ = url.set_scheme(scheme);
    Ok(url)
}

/// An `http` or `https` address without user, password, query and fragment: it is shown in
/// logs and messages, and paths are added to it.
///
/// # Errors
/// What to give in its place; the text itself is not repeated.
pub(crate) fn http_address(text: &str) -> Result<Url, String> {
    let advice = "give an address such as http://localhost:7002";
    let url = Url::parse(text).map_err(|_| advice.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(advice.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user or password in it ends up in logs; give a token \
                    instead"
            .to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("give the address without what follows the ? or #".to_owned());
    }
    Ok(url)
}
