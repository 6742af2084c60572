//! What a git host says when somebody pushes (`spec/opal-protocol.md` §2.3).
//!
//! A webhook is a hint and never more: it says that a look is worth while, and the look finds what
//! is there. So one that is sent twice, late or by a stranger costs a look that finds nothing, and
//! there is no list of deliveries that were seen. With a secret a stranger's is refused.

mod payload;

use std::collections::BTreeSet;

use hmac::{Hmac, Mac as _};
use protocol::repository::Place;
use protocol::{Problem, hex};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Where the hosts' webhooks have what: the presets, by the names that the setting takes.
const PRESETS: [(&str, Preset); 4] = [
    (
        "github",
        Preset {
            secret_header: "x-hub-signature-256",
            kind: SecretKind::Signature,
            secret_pattern: "sha256=(.*)",
            event_header: Some("X-GitHub-Event"),
            event_key: None,
            push: "push",
        },
    ),
    (
        "gitlab",
        Preset {
            secret_header: "X-Gitlab-Token",
            kind: SecretKind::Token,
            secret_pattern: "(.*)",
            event_header: Some("X-Gitlab-Event"),
            event_key: None,
            push: "Push Hook",
        },
    ),
    (
        "azure",
        Preset {
            secret_header: "x-api-key",
            kind: SecretKind::Token,
            secret_pattern: "(.*)",
            event_header: None,
            event_key: Some("eventType"),
            push: "git.push",
        },
    ),
    (
        "bitbucket",
        Preset {
            secret_header: "x-hook-uuid",
            kind: SecretKind::Token,
            secret_pattern: "(.*)",
            event_header: Some("x-event-key"),
            event_key: None,
            push: "repo:push",
        },
    ),
];
/// The event of a webhook that names none.
const NO_EVENT: &str = "ping";
/// Where a payload has addresses of the repository.
/// The members of a body that are looked into, by whichever host.
const MEMBERS: [&str; 5] = ["repository", "project", "resource", "ref", "push"];
const URLS: [&str; 9] = [
    "/repository/git_url",
    "/repository/ssh_url",
    "/repository/clone_url",
    "/repository/url",
    "/repository/git_ssh_url",
    "/repository/git_http_url",
    "/project/git_http_url",
    "/project/git_ssh_url",
    "/resource/repository/remoteUrl",
];
/// Where it has names of the repository.
const NAMES: [&str; 2] = ["/repository/full_name", "/project/path_with_namespace"];

struct Preset {
    secret_header: &'static str,
    kind: SecretKind,
    secret_pattern: &'static str,
    event_header: Option<&'static str>,
    event_key: Option<&'static str>,
    push: &'static str,
}

/// How a secret shows that the sender has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecretKind {
    /// It has signed the body.
    Signature,
    /// It is sent.
    Token,
}

/// The setting `POLICY_REPO_WEBHOOK_PARAMS`, in OPAL's names.
#[derive(Clone, Debug, Deserialize)]
struct Params {
    secret_header_name: String,
    secret_type: SecretKind,
    secret_parsing_regex: String,
    #[serde(default)]
    event_header_name: Option<String>,
    #[serde(default)]
    event_request_key: Option<String>,
    push_event_value: String,
    #[serde(default = "yes")]
    match_sender_url: bool,
}

fn yes() -> bool {
    true
}

/// What is expected of webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    params: Params,
    pattern: Regex,
    secret: Option<Vec<u8>>,
    enforce_branch: bool,
}

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    urls: BTreeSet<String>,
    names: BTreeSet<String>,
    branches: BTreeSet<String>,
    /// The event, in the host's words.
    pub event: String,
}

/// What is to be done about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is of another branch.
    OtherBranch,
    /// It is of another repository.
    Ignored,
    /// It is of these, by their places in the list.
    Of(Vec<usize>),
}

impl Webhooks {
    /// What the settings expect: `POLICY_REPO_WEBHOOK_SECRET`, `_PARAMS` as JSON or the name of a
    /// preset (`github`, `gitlab`, `azure`, `bitbucket`), `_ENFORCE_BRANCH`.
    ///
    /// # Errors
    /// 503 that names the setting.
    pub fn new(
        secret: Option<String>,
        params: Option<&str>,
        enforce_branch: bool,
    ) -> Result<Self, Problem> {
        let wrong = |why: &str| {
            Problem::unavailable(format!("the setting POLICY_REPO_WEBHOOK_PARAMS: {why}"))
        };
        let params = params.map_or("github", str::trim);
        let preset = PRESETS.iter().find(|(name, _)| params.eq_ignore_ascii_case(name));
        let params = match preset {
            Some((_, preset)) => preset.params(),
            None => serde_json::from_str(params).map_err(|error| {
                wrong(&format!("give github, gitlab, azure, bitbucket or an object: {error}"))
            })?,
        };
        let pattern = Regex::new(&params.secret_parsing_regex)
            .map_err(|_| wrong("secret_parsing_regex is not a regular expression"))?;
        Ok(Self { params, pattern, secret: secret.map(String::into_bytes), enforce_branch })
    }

    /// Checks the sender's secret, and reads what it says.
    ///
    /// # Errors
    /// 401 for a secret that is missing or wrong, 400 for what is not JSON or names no repository.
    pub fn read(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<Said, Problem> {
        self.verify(header(&self.params.secret_header_name), body)?;
        let by_key = self.params.event_request_key.as_deref();
        let payload = payload::read(body, &[MEMBERS.as_slice(), by_key.as_slice()].concat())?;
        let texts = |places: &[&str]| -> BTreeSet<String> {
            let found = places.iter().filter_map(|place| payload.pointer(place)?.as_str());
            found.map(str::to_owned).collect()
        };
        let urls = texts(&URLS).iter().map(|url| plain(url)).collect::<BTreeSet<_>>();
        let names = texts(&NAMES);
        if self.params.match_sender_url && urls.is_empty() && names.is_empty() {
            return Err(Problem::new(400, "repo url or full name not found in payload!"));
        }
        let by_header = self.params.event_header_name.as_deref().and_then(header);
        let event = by_header
            .or_else(|| payload.get(by_key?)?.as_str().map(str::to_owned))
            .unwrap_or_else(|| NO_EVENT.to_owned());
        Ok(Said { urls, names, branches: branches(&payload), event })
    }

    fn verify(&self, sent: Option<String>, body: &[u8]) -> Result<(), Problem> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let sent = sent.unwrap_or_default();
        let found = self.pattern.captures(&sent).and_then(|it| it.get(1).or_else(|| it.get(0)));
        let found = found.map(|it| it.as_str()).filter(|found| !found.is_empty());
        let Some(found) = found else {
            return Err(Problem::unauthorized("No secret was provided!"));
        };
        let (expected, words) = match self.params.secret_type {
            SecretKind::Token => (secret.clone(), "secret-tokens didn't match!"),
            SecretKind::Signature => {
                let mac = Hmac::<Sha256>::new_from_slice(secret);
                let mut mac = mac.map_err(|error| Problem::internal(error.to_string()))?;
                mac.update(body);
                (hex(&mac.finalize().into_bytes()).into_bytes(), "signatures didn't match!")
            }
        };
        // How long it is may be seen, and nothing else of it.
        if bool::from(expected.ct_eq(found.as_bytes())) {
            Ok(())
        } else {
            Err(Problem::unauthorized(words))
        }
    }

    /// Which of these places it is about.
    #[must_use]
    pub fn judge(&self, said: &Said, places: &[&Place]) -> Verdict {
        let is_branch = |place: &Place| {
            let is_said = |branch| said.branches.contains(branch);
            !self.enforce_branch || said.branches.is_empty() || place.branch().is_some_and(is_said)
        };
        if !places.is_empty() && !places.iter().any(|place| is_branch(place)) {
            return Verdict::OtherBranch;
        }
        let is_of = |place: &Place| !self.params.match_sender_url || said.is_of(place.url());
        let all = places.iter().enumerate();
        let of = all.filter(|(_, place)| is_branch(place) && is_of(place)).map(|(at, _)| at);
        let of: Vec<usize> = of.collect();
        if of.is_empty() { Verdict::Ignored } else { Verdict::Of(of) }
    }

    /// True if it says that somebody has pushed.
    #[must_use]
    pub fn is_push(&self, said: &Said) -> bool {
        said.event == self.params.push_event_value
    }
}

impl Preset {
    fn params(&self) -> Params {
        Params {
            secret_header_name: self.secret_header.to_owned(),
            secret_type: self.kind,
            secret_parsing_regex: self.secret_pattern.to_owned(),
            event_header_name: self.event_header.map(str::to_owned),
            event_request_key: self.event_key.map(str::to_owned),
            push_event_value: self.push.to_owned(),
            match_sender_url: true,
        }
    }
}

impl Said {
    fn is_of(&self, url: &str) -> bool {
        let url = plain(url);
        if !self.urls.is_empty() {
            return self.urls.contains(&url);
        }
        let after_scheme = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
        self.names.iter().any(|name| name == path)
    }
}

/// An address as it is compared: no user, query, `/` or `.git` at its end.
fn plain(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
}

/// The branches that a push changed: hosts differ in where they say it.
fn branches(payload: &Value) -> BTreeSet<String> {
    let each = |place: &str, name: &'static str| {
        let items = payload.pointer(place).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(move |item| item.pointer(name)?.as_str())
    };
    let said = payload.get("ref").and_then(Value::as_str);
    let said = said.into_iter().chain(each("/resource/refUpdates", "/name"));
    let said = said.chain(each("/push/changes", "/new/name"));
    let said = said.chain(each("/push/changes", "/old/name"));
    said.map(|name| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()).collect()
}

#[cfg(test)]
mod tests;
