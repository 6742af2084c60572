//! What in an update is a credential: a password, a token, a key.
//!
//! Two questions are asked of an update, and their answers err to different sides. *Which
//! credentials are in it?* is for telling its publisher ([`warnings`]) and for keeping their
//! values out of messages ([`find`]): it names what looks like one by its member's name or by
//! its form. *What of it may a stranger see?* is for the log's listing and for reports
//! ([`show`]): fetchers are anybody's programs, so it hides whatever may be one.
//!
//! Neither is asked of inline data: who may read a topic may read its data.
//!
//! | question | file |
//! |---|---|
//! | Which credentials are in it? | this one |
//! | Which names and forms are those of credentials? | `names` |
//! | What of it may a stranger see? | [`show`] |

use serde_json::Value;
use serde_json::value::RawValue;

use crate::Update;

mod names;
pub mod show;

use names::Place;

/// What stands in the place of what is hidden.
pub const HIDDEN: &str = "****";

/// Warnings that a publisher gets at most, of one update.
const MAX_WARNINGS: usize = 20;
/// Bytes of a path that are shown: members' names are the publisher's own, and may be long.
const MAX_PATH: usize = 200;

/// A credential that stands in an update in so many words.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Where, below the entry: `config.headers.authorization`. Never what it holds.
    pub path: String,
    /// The credential, as it is written there. In addresses it may be percent-encoded.
    pub value: String,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The credentials in a source's address and settings. What is named there in place of a
/// credential, as `${secret:NAME}`, is none.
#[must_use]
pub fn find(url: &str, config: Option<&RawValue>) -> Vec<Found> {
    let mut search = Search::default();
    search.address("url", url);
    // What is too deep to be read is no fetcher's settings either.
    if let Some(config) = config.and_then(|text| serde_json::from_str(text.get()).ok()) {
        search.value("config", "", &config, Place::Member, false);
    }
    search.found
}

/// The credentials in an update's `callback`, or in the settings of one that is registered.
#[must_use]
pub fn find_in_callback(callback: &RawValue) -> Vec<Found> {
    let mut search = Search::default();
    if let Ok(callback) = serde_json::from_str(callback.get()) {
        search.value("callback", "", &callback, Place::Member, false);
    }
    search.found
}

/// What a publisher is told of the credentials in an update: where they are, and what to write
/// there instead.
#[must_use]
pub fn warnings(update: &Update) -> Vec<String> {
    let entries = update.entries.iter().enumerate().flat_map(|(at, entry)| {
        let found = find(&entry.url, entry.config.as_deref());
        found.into_iter().map(move |found| format!("entries[{at}].{}", found.path))
    });
    let callbacks = update.callback.as_deref().map(find_in_callback).unwrap_or_default();
    let paths: Vec<String> = entries.chain(callbacks.into_iter().map(|it| it.path)).collect();
    let more = paths.len().saturating_sub(MAX_WARNINGS);
    let mut warnings: Vec<String> =
        paths.into_iter().take(MAX_WARNINGS).map(|path| warning(&path)).collect();
    if more > 0 {
        warnings.push(format!("{more} more credentials are in the update"));
    }
    warnings
}

fn warning(path: &str) -> String {
    format!(
        "{path} is a credential in the update, which is kept in the log and sent to every \
         subscriber; name it: \"${{secret:NAME}}\", and give NAME to the agents"
    )
}

/// True for the name of an address's parameter that is a credential.
#[must_use]
pub fn is_parameter(name: &str) -> bool {
    Place::Query.is_credential(name)
}

/// True if the text names a secret in place of holding one.
#[must_use]
pub fn is_named(text: &str) -> bool {
    text.match_indices("${secret:").any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let rest = text.get(at..).unwrap_or_default();
        !before.ends_with('$') && rest.contains('}')
    })
}

/// The text without its percent-encoding; as it is if that hides no text.
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let decoded = match (byte, ahead.next(), ahead.next()) {
            (b'%', Some(high), Some(low)) => hex_digit(high).zip(hex_digit(low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Where user and password end behind a scheme; 0 if there are none. Passwords are not always
/// written as an address demands: what follows a colon and is no port is one up to the last `@`.
fn user_end(rest: &str) -> usize {
    let path_end = rest.find(['?', '#', ' ']).unwrap_or(rest.len());
    let before_query = rest.get(..path_end).unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    let port = authority.split_once(':').map(|(_, port)| port);
    match authority.rfind('@') {
        Some(at) => at,
        None if port.is_some_and(|port| !port.bytes().all(|it| it.is_ascii_digit())) => {
            before_query.rfind('@').unwrap_or(0)
        }
        None => 0,
    }
}

#[derive(Default)]
struct Search {
    found: Vec<Found>,
}

impl Search {
    fn add(&mut self, path: &str, value: &str) {
        if value.is_empty() || is_named(value) {
            return;
        }
        let mut path = path.to_owned();
        if let Some(end) = path.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_PATH) {
            path.truncate(end);
            path.push('…');
        }
        self.found.push(Found { path, value: value.to_owned() });
    }

    /// `within` says that a member above is a credential by its name, and `name` is the
    /// nearest member's.
    fn value(&mut self, path: &str, name: &str, value: &Value, place: Place, within: bool) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let within = within && !names::is_plain(name) || place.is_credential(name);
                    let path = format!("{path}.{name}");
                    self.value(&path, name, value, place.below(name), within);
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{at}]"), name, item, place, within);
                }
            }
            Value::String(text) if within => self.add(path, text),
            Value::String(text) => self.text(path, name, text),
            Value::Number(number) if within => self.add(path, &number.to_string()),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// A text whose name says nothing: it may have the form of a credential, or hold one.
    fn text(&mut self, path: &str, name: &str, text: &str) {
        if names::has_form_of_credential(text) {
            self.add(path, text);
        } else if names::is_program(name) {
            // `token='x'` there is a comparison.
        } else if name == "data" && text.trim_start().starts_with(['{', '[']) {
            if let Ok(value) = serde_json::from_str(text) {
                self.value(path, "", &value, Place::Member, false);
            }
        } else if text.contains("://") {
            self.address(path, text);
        } else if name == "data" && text.contains('=') {
            self.pairs(path, text.split('&'));
        } else {
            self.pairs(path, text.split_whitespace());
        }
    }

    fn address(&mut self, path: &str, url: &str) {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = user_end(rest);
        let user = rest.get(..end).unwrap_or_default();
        match user.split_once(':') {
            Some((_, password)) => self.add(&format!("{path}: the password"), password),
            // Hosts of git and the like take a token for a user.
            None if scheme.starts_with("http") => self.add(&format!("{path}: the user"), user),
            None => {}
        }
        let rest = rest.get(end..).unwrap_or_default();
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        if let Some((_, query)) = rest.split_once('?') {
            self.pairs(&format!("{path}: the parameter"), query.split('&'));
        }
    }

    /// `name=value` pairs: a query, a form, or what PostgreSQL takes in place of an address.
    fn pairs<'t>(&mut self, path: &str, pairs: impl Iterator<Item = &'t str>) {
        for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            if Place::Query.is_credential(&percent_decoded(name)) {
                self.add(&format!("{path} `{name}`"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
