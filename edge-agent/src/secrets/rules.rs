//! Which hosts a secret may go to.
//!
//! Whoever may publish an update may write `"url": "http://elsewhere/"` beside
//! `"${secret:DB}"`. A rule for a secret names the hosts that it is meant for, and it goes to no
//! other: neither by the address, nor by a member of the settings that says where to connect.
//! A secret without a rule goes wherever a fetch may go.
//!
//! An own fetcher is a host by the name `exec:NAME`: it does with a secret what it was written for.
//! In `s3://BUCKET/KEY` there is no host: it is the endpoint's, or `s3.amazonaws.com`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use super::reference;
use crate::fetch::{FetchError, Source};
use crate::net::confined::Hosts;

/// The rule of every secret that has none of its own.
const OTHERS: &str = "*";
/// How the addresses of objects begin, and where they are if nobody says so.
const OBJECTS: &str = "s3://";
const AWS: &str = "s3.amazonaws.com";
/// How the names of own fetchers begin.
const OWN: &str = "exec:";

/// Parts of names of members and parameters that say where to connect.
const LEADING: [&str; 11] = [
    "host",
    "addr",
    "endpoint",
    "server",
    "proxy",
    "url",
    "uri",
    "dsn",
    "connectionstring",
    "socket",
    "seed",
];
/// Members with texts that a source is asked with, and that lead nowhere.
const QUESTIONS: [&str; 4] = ["query", "data", "search", "transform"];

/// Hosts by the names of the secrets that may go there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    hosts: Vec<String>,
}

impl Rules {
    /// Reads `{"NAME":{"hosts":["db.internal","*.example.com","exec:NAME"]}}`; the name `*` is
    /// for secrets that have no rule of their own.
    ///
    /// # Errors
    /// Names the member that is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let rules: BTreeMap<String, Rule> =
            serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path() {
                path if path.iter().len() == 0 || !error.inner().is_data() => {
                    "give {\"NAME\":{\"hosts\":[…]}}, or tables in the file".to_owned()
                }
                path => format!("{path}: give hosts, a list of strings, and nothing else"),
            })?;
        let rules = rules.into_iter().map(|(name, Rule { hosts })| {
            if name != OTHERS && !reference::is_name(&name) {
                return Err(format!("`{name}` is no name of a secret"));
            }
            let hosts: Result<Vec<_>, _> = hosts.iter().map(|host| pattern(&name, host)).collect();
            Ok((name, hosts?))
        });
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    /// True if every secret has a rule.
    #[must_use]
    pub fn are_for_all(&self) -> bool {
        self.0.contains_key(OTHERS)
    }

    /// Where these secrets may go together, if that is limited. What a source of objects connects to
    /// is made from its endpoint, which [`Self::check`] has looked at.
    pub(super) fn hosts<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
        source: &Source,
    ) -> Option<Hosts> {
        let all: Vec<Vec<String>> = names
            .filter_map(|name| self.0.get(name).or_else(|| self.0.get(OTHERS)))
            .cloned()
            .collect();
        if all.is_empty() || is_object(source) {
            return None;
        }
        Some(Arc::new(move |host: &str| {
            plain(host).is_some_and(|host| {
                all.iter().all(|hosts| hosts.iter().any(|pattern| matches(pattern, &host)))
            })
        }))
    }

    /// Checks that a secret may go where a source leads.
    pub(super) fn check(&self, name: &str, source: &Source) -> Result<(), FetchError> {
        let Some(hosts) = self.0.get(name).or_else(|| self.0.get(OTHERS)) else { return Ok(()) };
        let is_allowed = |host: &String| hosts.iter().any(|pattern| matches(pattern, host));
        // No host is named here: of an address that is not written as it should be, it may be
        // a piece of the password.
        match destinations(source) {
            Some(found) if !found.is_empty() && found.iter().all(is_allowed) => Ok(()),
            _ => Err(FetchError::permanent(format!(
                "secret `{name}` may not go where this source leads; the agent's setting \
                 secrets.{name}.hosts says where it may"
            ))),
        }
    }
}

/// A host of a rule, as [`matches`] compares it.
fn pattern(name: &str, host: &str) -> Result<String, String> {
    let own = host.strip_prefix(OWN);
    if host == OTHERS || own.is_some_and(|name| !name.is_empty()) {
        return Ok(host.to_owned());
    }
    let (below, bare) = host.strip_prefix("*.").map_or(("", host), |bare| ("*.", bare));
    let is_address = bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_name = !bare.contains(|it: char| it.is_whitespace() || ":/@,*?#%".contains(it));
    let known = plain(bare).filter(|_| is_address || is_name);
    known.map(|plain| format!("{below}{plain}")).ok_or_else(|| {
        format!(
            "{name}.hosts: give a host or an address without scheme and port, *.example.com for \
             all below it, exec:NAME for an own fetcher, or *"
        )
    })
}

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(end) => host.ends_with(end) && host.parse::<IpAddr>().is_err(),
        None => pattern == host,
    }
}

/// Every host that a source may lead to; none if that cannot be told.
fn destinations(source: &Source) -> Option<Vec<String>> {
    let config: Value = match &source.config {
        Some(text) => serde_json::from_str(text.get()).ok()?,
        None => Value::Null,
    };
    if let Some(own) =
        config.get("fetcher").and_then(Value::as_str).filter(|it| it.starts_with(OWN))
    {
        return Some(vec![own.to_owned()]);
    }
    let mut found = vec![];
    let is_object = is_object(source);
    match config.get("endpoint") {
        None | Some(Value::Null) if is_object => found.push(AWS.to_owned()),
        Some(_) if is_object => {}
        _ if source.url.is_empty() => {}
        _ => found.extend(hosts_of_address(&source.url)?),
    }
    collect("", &config, &mut found)?;
    Some(found)
}

fn is_object(source: &Source) -> bool {
    source.url.get(..OBJECTS.len()).is_some_and(|it| it.eq_ignore_ascii_case(OBJECTS))
}

fn collect(name: &str, value: &Value, found: &mut Vec<String>) -> Option<()> {
    match value {
        Value::Object(members) => {
            let mut members =
                members.iter().filter(|(name, _)| !QUESTIONS.contains(&name.as_str()));
            members.try_for_each(|(name, value)| collect(name, value, found))
        }
        // By its place a member has no name.
        Value::Array(_) if name == "connection_params" => None,
        Value::Array(items) => items.iter().try_for_each(|item| collect(name, item, found)),
        Value::String(text) if text.contains("://") => {
            found.extend(hosts_of_address(text)?);
            Some(())
        }
        Value::String(text) if leads(name) => {
            found.extend(hosts(text)?);
            Some(())
        }
        _ => Some(()),
    }
}

fn leads(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    LEADING.iter().any(|part| name.contains(part))
}

/// The hosts of an address, if it is written so that everybody reads the same out of it. What
/// fetches reads it once more, and not always by the same rules.
fn hosts_of_address(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = |it: char| it.is_ascii_alphanumeric() || "+-.".contains(it);
    if !scheme.chars().all(is_scheme)
        || url.contains(|it: char| it.is_control() || it.is_whitespace() || it == '\\')
    {
        return None;
    }
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let mut found = if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        if authority.is_empty() {
            return None;
        }
        vec![Url::parse(url).ok()?.host_str().and_then(plain)?]
    } else {
        if authority.matches('@').count() > 1 || behind.contains(['@', '#']) {
            return None;
        }
        hosts(authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts))?
    };
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if leads(&name) {
            found.extend(hosts(&value)?);
        }
    }
    Some(found)
}

/// The hosts of `a,b:5432,[::1]:5432`.
fn hosts(list: &str) -> Option<Vec<String>> {
    let list = list.split(',').map(str::trim).filter(|host| !host.is_empty());
    list.map(|host| {
        let bare = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((v6, _)) => v6,
            None if host.parse::<IpAddr>().is_ok() => host,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        plain(bare)
    })
    .collect()
}

/// A host as all its spellings are written.
fn plain(host: &str) -> Option<String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let text = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => bare.to_owned(),
    };
    let host = match Host::parse(&text).ok()? {
        Host::Ipv6(v6) => v6.to_canonical().to_string(),
        host => host.to_string(),
    };
    let host = host.strip_suffix('.').map_or(host.clone(), str::to_owned);
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-._:".contains(it);
    Some(host).filter(|host| !host.is_empty() && host.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    const RULES: &str = r#"{
        "DB":{"hosts":["db.internal","*.Example.com","10.0.0.7","2001:db8::1"]},
        "OWN":{"hosts":["exec:billing"]},
        "AWS":{"hosts":["s3.amazonaws.com"]},
        "NONE":{"hosts":[]},
        "ALL":{"hosts":["*"]}}"#;

    fn check(name: &str, url: &str, config: &str) -> Result<(), FetchError> {
        let config = Some(RawValue::from_string(config.to_owned()).unwrap());
        let source = Source { url: url.to_owned(), config };
        Rules::read(RULES).unwrap().check(name, &source)
    }

    #[test]
    fn a_secret_goes_to_its_hosts() {
        for (url, config) in [
            ("http://db.internal/x", "null"),
            ("https://u:${secret:DB}@DB.internal.:8443/x?q=http", "{}"),
            ("postgresql://u:${secret:DB}@db.internal:5432/d", r#"{"query":"SELECT 'http://x'"}"#),
            ("mongodb://a.example.com,b.example.com:27017/d", "{}"),
            ("redis://[2001:db8:0::1]:6379", "{}"),
            ("http://0x0a000007/", "{}"),
            ("mysql://db.internal/", r#"{"connection_params":{"host":"10.0.0.7","port":1}}"#),
            ("s3://bucket/k", r#"{"endpoint":"https://x.example.com:9000"}"#),
            ("postgresql:///d?host=db.internal", "{}"),
            ("http://db.internal/", r#"{"data":"http://elsewhere/","headers":{"x":"y"}}"#),
        ] {
            assert_eq!(check("DB", url, config), Ok(()), "{url} {config}");
        }
        assert_eq!(check("OWN", "x://anything", r#"{"fetcher":"exec:billing"}"#), Ok(()));
        assert_eq!(check("ALL", "http://evil/", "{}"), Ok(()));
        assert_eq!(check("AWS", "s3://bucket/k", r#"{"endpoint":null}"#), Ok(()));
        assert_eq!(check("UNRULED", "http://evil/", "{}"), Ok(()));
    }

    #[test]
    fn a_secret_goes_to_no_other_host_however_it_is_written() {
        for (url, config) in [
            ("http://evil/x", "{}"),
            ("http://db.internal.evil/x", "{}"),
            ("http://example.com/x", "{}"),
            ("http://evilexample.com/x", "{}"),
            ("http://db.internal@evil/x", "{}"),
            ("http://evil\\@db.internal/x", "{}"),
            ("http://evil#@db.internal/", "{}"),
            ("http://evil?@db.internal/", "{}"),
            ("postgresql://u@db.internal@evil/d", "{}"),
            ("postgresql://u@evil@db.internal/d", "{}"),
            ("postgresql://u@evil/d?x=@db.internal", "{}"),
            ("postgresql://db.internal,evil/d", "{}"),
            ("postgresql://db.internal/d?host=evil", "{}"),
            ("postgresql://db.internal/d?hostaddr=1.2.3.4", "{}"),
            ("mysql://db.internal/", r#"{"connection_params":{"host":"evil"}}"#),
            ("ldap://db.internal/", r#"{"connection_params":{"url":"ldap://evil"}}"#),
            ("s3://db.internal/k", r#"{"endpoint":"http://evil"}"#),
            ("s3://db.internal/k", r#"{"endpoint":""}"#),
            ("s3://db.internal/k", r#"{"endpoint_url":"http://db.internal"}"#),
            ("S3://db.internal/k", "{}"),
            ("postgresql://evil%2C.example.com/d", "{}"),
            ("http://db.internal/", r#"{"deep":[{"proxy":"evil:3128"}]}"#),
            ("http://db.internal/", r#"{"anything":"socks5://evil"}"#),
            ("http://db.internal/", r#"{"host":"${secret:DB}"}"#),
            (" http:///evil/x", r#"{"headers":{"x":"http://db.internal/"}}"#),
            ("http:///evil/x", r#"{"headers":{"x":"http://db.internal/"}}"#),
            ("s3://b/k", r#"{"endpoint":" https:///evil","x":"http://db.internal/"}"#),
            ("postgresql://u:p@db.internal/d?application_name=a#&host=evil", "{}"),
            ("postgresql://db.internal/@evil/d", "{}"),
            ("postgresql://db.internal/", r#"{"connection_params":["d","u","p","evil",1]}"#),
            ("mongodb://u:p@db.internal#,evil/d?authMechanism=PLAIN", "{}"),
            ("db.internal", "{}"),
            ("", "{}"),
            ("http://", "{}"),
            ("x://anything", r#"{"fetcher":"exec:billing"}"#),
            ("http://db.internal/", r#"{"fetcher":"exec:billing"}"#),
        ] {
            let error = check("DB", url, config).expect_err(url);
            assert!(error.is_permanent());
            let error = error.to_string();
            assert!(error.contains("`DB`") && !error.contains("evil"), "{error}");
        }
        assert!(check("NONE", "http://db.internal", "{}").is_err());
        assert!(check("OWN", "x://y", r#"{"fetcher":"exec:billing2"}"#).is_err());
    }

    #[test]
    fn one_rule_is_for_all_that_have_none() {
        let rules = Rules::read(r#"{"*":{"hosts":["a"]},"B":{"hosts":["b"]}}"#).unwrap();
        assert!(rules.are_for_all() && !Rules::read(RULES).unwrap().are_for_all());
        let source = |url: &str| Source { url: url.to_owned(), config: None };
        for (name, url, is_allowed) in [
            ("X", "http://a", true),
            ("X", "http://b", false),
            ("B", "http://b", true),
            ("B", "http://a", false),
        ] {
            assert_eq!(rules.check(name, &source(url)).is_ok(), is_allowed, "{name} {url}");
        }
    }

    #[test]
    fn a_rule_that_is_none_is_told_how_to_write_one() {
        for (text, words) in [
            ("7", "give {"),
            ("{", "give {"),
            (r#"{"A":{"host":["a"]}}"#, "A"),
            (r#"{"A":{"hosts":"a"}}"#, "A.hosts"),
            (r#"{"a b":{"hosts":[]}}"#, "`a b` is no name"),
            (r#"{"A":{"hosts":["http://h"]}}"#, "A.hosts: give a host"),
            (r#"{"A":{"hosts":["h:80"]}}"#, "A.hosts: give a host"),
            (r#"{"A":{"hosts":["a*"]}}"#, "A.hosts: give a host"),
            (r#"{"A":{"hosts":[""]}}"#, "A.hosts: give a host"),
            (r#"{"A":{"hosts":["exec:"]}}"#, "A.hosts: give a host"),
        ] {
            let error = Rules::read(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
