//! Entries as OPAL's clients take them, and the sources that they fetch at first
//! (`spec/opal-protocol.md` §4.1, §4.7).

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::topics;
use crate::update::default_topics;
use crate::{DataPath, Entry, Problem, SaveMethod, commit, json, topic};

/// An entry on the wire to an OPAL client.
///
/// `data` is left out where it is to be fetched: at `null` the client drops a whole update
/// that has a `PATCH` from a URL (§0.1 item 9).
#[derive(Clone, Debug, Serialize)]
pub struct WireEntry<'e> {
    /// Where the client fetches; empty with inline data.
    pub url: Cow<'e, str>,
    /// The fetcher's settings.
    pub config: Option<Cow<'e, RawValue>>,
    /// Every name of every topic that the entry is published to, parents included: the client
    /// skips an entry that has none of the strings it subscribed to.
    pub topics: BTreeSet<Cow<'e, str>>,
    /// Where it goes, as text: these clients know no other form, and an OPA takes `%2F` for a
    /// slash in a segment.
    #[serde(serialize_with = "as_text")]
    pub dst_path: &'e DataPath,
    /// Replace, or patch.
    pub save_method: SaveMethod,
    /// The data itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'e RawValue>,
    /// Seconds between two fetches; the clients see to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periodic_update_interval: Option<f64>,
}

impl<'e> WireEntry<'e> {
    /// An entry of the log of `scope`.
    #[must_use]
    pub fn new(scope: &str, entry: &'e Entry) -> Self {
        let expanded = entry.topics.iter().flat_map(|topic| topic::expand(topic));
        Self {
            url: entry.url.as_str().into(),
            config: entry.config.as_deref().map(Cow::Borrowed),
            topics: expanded.flat_map(|topic| topics::names(scope, topic)).collect(),
            dst_path: &entry.dst_path,
            save_method: entry.save_method,
            data: entry.inline(),
            periodic_update_interval: None,
        }
    }

    /// Bytes of the inline data.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        self.data.map_or(0, |data| data.get().len())
    }

    /// Puts a reference in the place of the inline data: the client fetches it from `url`,
    /// with `key` as the bearer's token.
    pub fn refer(&mut self, url: String, key: &str) {
        let config = serde_json::json!({ "headers": { "Authorization": format!("Bearer {key}") } });
        self.url = url.into();
        self.config = serde_json::value::to_raw_value(&config).ok().map(Cow::Owned);
        self.data = None;
    }
}

fn as_text<S: serde::Serializer>(path: &&DataPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// The path at which an OPAL client fetches inline data that does not fit into a frame.
#[must_use]
pub fn reference_path(scope: &str, seq: crate::Seq, place: u32) -> String {
    if scope == crate::DEFAULT_SCOPE {
        format!("/data/updates/{seq}/{place}")
    } else {
        format!("/scopes/{scope}/data/updates/{seq}/{place}")
    }
}

/// A base source: what a client fetches whenever it connects, with OPAL's members and defaults.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Where the client fetches.
    pub url: String,
    /// The fetcher's settings.
    #[serde(default)]
    pub config: Option<Box<RawValue>>,
    /// Who applies it.
    #[serde(default = "default_topics")]
    pub topics: Vec<String>,
    /// Where it goes.
    #[serde(default)]
    pub dst_path: DataPath,
    /// Replace, or patch.
    #[serde(default)]
    pub save_method: SaveMethod,
    /// The data itself; fetched from `url` if null.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// Seconds between two fetches; none for one fetch a connection.
    #[serde(default)]
    pub periodic_update_interval: Option<f64>,
}

/// Base sources in a list: `{"entries": […]}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SourceList {
    /// In the order in which a client applies them.
    #[serde(default)]
    pub entries: Vec<Source>,
}

/// Where the base sources are: a list, or whoever serves one (§4.7).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// The list itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<SourceList>,
    /// The address of a service that answers with a list; clients are sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_source_url: Option<String>,
}

impl Sources {
    /// What a setting says; an empty list if it is not set.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn of_setting(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else {
            return Ok(Self { config: Some(SourceList::default()), external_source_url: None });
        };
        let sources: Self = json::parse(text.as_bytes())?;
        sources.check()?;
        Ok(sources)
    }

    /// Checks that there is one of the two, and that every entry can be applied.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn check(&self) -> Result<(), Problem> {
        match (&self.config, &self.external_source_url) {
            (Some(list), None) => list.check("config."),
            (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(())
            }
            (None, Some(_)) => Err(Problem::invalid(
                "external_source_url: give an address such as https://host/path",
            )),
            _ => Err(Problem::invalid(
                "give one of `config` (with `entries`) and `external_source_url`",
            )),
        }
    }
}

impl SourceList {
    /// Whom the sources are for: agents get them as what is published.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|source| &source.topics).map(String::as_str)
    }

    /// Checks that every entry can be applied; `at` is where the list is.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn check(&self, at: &str) -> Result<(), Problem> {
        for (number, source) in self.entries.iter().enumerate() {
            source.check().map_err(|problem| {
                Problem::invalid(format!("{at}entries[{number}].{}", problem.detail))
            })?;
        }
        Ok(())
    }
}

impl Source {
    /// Checks that it can be applied.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn check(&self) -> Result<(), Problem> {
        let Self { url, topics, data, .. } = self;
        if self.periodic_update_interval.is_some_and(|seconds| seconds.is_nan() || seconds <= 0.0) {
            return Err(Problem::invalid(
                "periodic_update_interval: give a number of seconds above 0",
            ));
        }
        if topics.is_empty() {
            return Err(Problem::invalid("topics: name at least one topic, or nobody applies it"));
        }
        if url.is_empty() && data.is_none() {
            return Err(Problem::invalid(
                "url: missing; give a `url` to fetch from, or inline `data`",
            ));
        }
        // Agents get it as an entry of an update.
        let entry = self.entry(crate::DEFAULT_SCOPE);
        entry.check()?;
        commit::check_published(&entry)
    }

    /// The source as an entry of an update in the log of `scope`.
    #[must_use]
    pub fn entry(&self, scope: &str) -> Entry {
        let topics: BTreeSet<&str> =
            self.topics.iter().map(|topic| topics::internal(scope, topic)).collect();
        Entry {
            url: self.url.clone(),
            config: self.config.clone(),
            topics: topics.into_iter().map(str::to_owned).collect(),
            dst_path: self.dst_path.clone(),
            save_method: self.save_method,
            data: self.data.clone(),
        }
    }

    /// Adds every name that its topics have in `scope`, so that a client of it takes it.
    pub fn name_topics(&mut self, scope: &str) {
        let named: BTreeSet<String> = self
            .topics
            .iter()
            .flat_map(|topic| topics::names(scope, topics::internal(scope, topic)))
            .map(Cow::into_owned)
            .collect();
        // The first names as they were written, then the others.
        let others = named.into_iter().filter(|name| !self.topics.contains(name));
        let others: Vec<String> = others.collect();
        self.topics.extend(others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: &str) -> Entry {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn an_entry_has_every_name_of_its_topics_and_no_null_data() {
        let entry = entry(r#"{"url":"http://h/x","topics":["users/eu"],"save_method":"PATCH"}"#);
        assert_eq!(
            serde_json::to_string(&WireEntry::new("default", &entry)).unwrap(),
            r#"{"url":"http://h/x","config":null,"topics":["users","users/eu"],"dst_path":"/","save_method":"PATCH"}"#
        );
        let scoped = WireEntry::new("s1", &entry);
        assert!(scoped.topics.contains("s1:data:users") && scoped.topics.contains("data:users/eu"));
    }

    #[test]
    fn a_reference_takes_the_place_of_the_data() {
        let entry = entry(r#"{"data":{"a":1},"dst_path":"/a"}"#);
        let mut wire = WireEntry::new("default", &entry);
        assert_eq!(wire.inline_bytes(), 7);
        wire.refer("http://hub/data/updates/1/0".to_owned(), "k");
        let text = serde_json::to_string(&wire).unwrap();
        assert!(text.contains(r#""config":{"headers":{"Authorization":"Bearer k"}}"#), "{text}");
        assert!(!text.contains("\"data\":{"), "{text}");
    }

    #[test]
    fn sources_are_one_of_two_things() {
        let check = |text: &str| serde_json::from_str::<Sources>(text).unwrap().check();
        assert!(check(r#"{"config":{"entries":[{"url":"http://h"}]}}"#).is_ok());
        assert!(check(r#"{"external_source_url":"https://h/x?a=b"}"#).is_ok());
        for (text, words) in [
            ("{}", "give one of"),
            (r#"{"config":{"entries":[]},"external_source_url":"http://h"}"#, "give one of"),
            (r#"{"external_source_url":"ftp://h"}"#, "external_source_url"),
            (r#"{"config":{"entries":[{"url":""}]}}"#, "config.entries[0].url: missing"),
            (
                r#"{"config":{"entries":[{"url":"http://h","periodic_update_interval":0}]}}"#,
                "entries[0].periodic_update_interval",
            ),
            (
                r#"{"config":{"entries":[{"url":"h/x"}]}}"#,
                "config.entries[0].url: give an absolute",
            ),
            (r#"{"config":{"entries":[{"url":"","data":7}]}}"#, "config.entries[0].data: give"),
            (
                r#"{"config":{"entries":[{"url":"http://h","topics":["policy:."]}]}}"#,
                "config.entries[0].",
            ),
        ] {
            assert!(check(text).unwrap_err().detail.contains(words), "{text}");
        }
    }

    #[test]
    fn a_scopes_source_is_taken_by_its_clients_however_it_was_written() {
        for topic in ["users", "data:users", "s1:data:users"] {
            let text = format!(r#"{{"url":"http://h","topics":["{topic}"]}}"#);
            let mut source: Source = serde_json::from_str(&text).unwrap();
            source.name_topics("s1");
            assert_eq!(source.topics.len(), 3, "{topic}");
            assert!(source.topics.iter().any(|it| it == "s1:data:users"), "{topic}");
        }
    }
}
