//! What a publisher sends: OPAL's `DataUpdate` (`spec/opal-protocol.md` §4.1, §4.2).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::credentials::show;
use crate::{DataPath, Problem, commit, json, limits, topic};

/// A change that a publisher asks for; its entries take effect in order.
#[derive(Clone, Serialize, Deserialize)]
pub struct Update {
    /// The publisher's name of this update. Publishing the same id twice has one effect.
    /// The publish function fills it in where the publisher gave none.
    #[serde(default)]
    pub id: Option<String>,
    /// Why, for people.
    #[serde(default)]
    pub reason: Option<String>,
    /// The changes.
    pub entries: Vec<Entry>,
    /// Who wants to hear of the result. Kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Box<RawValue>>,
}

/// One change: where the data comes from, who applies it, where it goes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Where the agent fetches the data; may be empty if `data` is given.
    #[serde(default)]
    pub url: String,
    /// The fetcher's settings; the key `fetcher` names the fetcher.
    #[serde(default, skip_serializing_if = "is_null")]
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
    /// The data itself, verbatim; if absent or null the agent fetches it from `url`.
    #[serde(default, skip_serializing_if = "is_null")]
    pub data: Option<Box<RawValue>>,
}

/// How an entry's data gets into the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SaveMethod {
    /// Replaces the document at `dst_path`.
    #[default]
    Put,
    /// Applies a JSON Patch (RFC 6902) whose paths are relative to `dst_path`.
    Patch,
}

/// One operation of a JSON Patch, as far as it can be checked without the document.
#[derive(Deserialize)]
struct PatchOperation {
    op: PatchOp,
    path: String,
    #[serde(default)]
    value: Option<Box<RawValue>>,
}

/// OPA has no others (`spec/opa-and-grants.md` §1.4), and an update must mean the same to
/// every engine of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PatchOp {
    Add,
    Remove,
    Replace,
}

pub(crate) fn default_topics() -> Vec<String> {
    vec!["policy_data".to_owned()]
}

fn is_null(value: &Option<Box<RawValue>>) -> bool {
    value.as_ref().is_none_or(|value| value.get() == "null")
}

impl fmt::Debug for Update {
    /// Without its callbacks, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, reason, entries, callback: _ } = self;
        let mut shown = f.debug_struct("Update");
        shown.field("id", id).field("reason", reason).field("entries", entries);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry {
    /// Without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("url", &show::address(&self.url))
            .field("config", &self.config.as_deref().map(show::config))
            .field("topics", &self.topics)
            .field("dst_path", &self.dst_path)
            .field("save_method", &self.save_method)
            .field("data", &self.data)
            .finish()
    }
}

impl Update {
    /// How the ids of updates begin that the hub makes of a commit of policy.
    pub const POLICY_ID: &'static str = "policy:";
    /// How the ids of updates begin that the hub makes of base sources.
    pub const SOURCE_ID: &'static str = "base-source:";
    /// How the ids of updates begin that the hub makes of a grant.
    pub const GRANT_ID: &'static str = "grant:";
    /// How the ids of updates begin that the hub makes of a fact; they are sealed in storage.
    pub const FACT_ID: &'static str = "fact:";
    /// How the ids of updates begin that the hub makes of a change of the directory.
    pub const DIRECTORY_ID: &'static str = "directory:";

    /// Reads and checks a request body.
    ///
    /// # Errors
    /// 413 above [`limits::MAX_UPDATE_BYTES`]; 422 with the place and the reason for
    /// everything else.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > limits::MAX_UPDATE_BYTES {
            return Err(Problem::update_too_large(body.len()));
        }
        let update: Self = json::parse(body)?;
        update.check()?;
        Ok(update)
    }

    /// Every topic the update is published to, parents included, without repeats.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<&str> {
        self.expanded_topics().collect()
    }

    fn expanded_topics(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|entry| &entry.topics).flat_map(|topic| topic::expand(topic))
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(id) = &self.id {
            let limit = limits::MAX_ID_BYTES;
            if id.is_empty() || id.len() > limit || id.chars().any(char::is_control) {
                return Err(Problem::invalid(format!(
                    "id: 1 to {limit} bytes without control characters, or leave it out"
                )));
            }
            for (reserved, what) in [
                (Self::POLICY_ID, "commits of policy"),
                (Self::SOURCE_ID, "base sources"),
                (Self::GRANT_ID, "grants"),
                (Self::FACT_ID, "facts"),
                (Self::DIRECTORY_ID, "the directory"),
            ] {
                if id.starts_with(reserved) {
                    return Err(Problem::invalid(format!(
                        "id: `{reserved}…` is reserved for {what}; choose another name"
                    )));
                }
            }
        }
        let (count, limit) = (self.entries.len(), limits::MAX_ENTRIES);
        if count == 0 {
            return Err(Problem::invalid("entries: an update needs at least one entry"));
        }
        if count > limit {
            return Err(Problem::invalid(format!(
                "entries: {count} are too many, the limit is {limit}"
            )));
        }
        self.check_entries(Entry::check)?;
        self.check_published()?;
        self.check_expanded_topics()
    }

    /// Checks that nothing is in it that only the hub may write. [`Self::parse`] does so, too; who
    /// changes topics afterwards does it again.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn check_published(&self) -> Result<(), Problem> {
        self.check_entries(commit::check_published)
    }

    fn check_entries(&self, check: fn(&Entry) -> Result<(), Problem>) -> Result<(), Problem> {
        self.entries.iter().enumerate().try_for_each(|(at, entry)| {
            check(entry).map_err(|problem| {
                Problem::new(problem.status, format!("entries[{at}].{}", problem.detail))
            })
        })
    }

    fn check_expanded_topics(&self) -> Result<(), Problem> {
        let limit = limits::MAX_EXPANDED_TOPICS;
        let mut distinct = BTreeSet::new();
        for topic in self.expanded_topics() {
            distinct.insert(topic);
            if distinct.len() > limit {
                return Err(Problem::invalid(format!(
                    "entries: with their parents they name more than {limit} different topics, \
                     which is the limit; split the update"
                )));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The inline data, if the entry has any.
    #[must_use]
    pub fn inline(&self) -> Option<&RawValue> {
        if is_null(&self.data) { None } else { self.data.as_deref() }
    }

    /// Checks what can be checked of an entry by itself.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.topics.is_empty() {
            return Err(Problem::invalid("topics: name at least one topic, or nobody applies it"));
        }
        topic::check_count(self.topics.len())?;
        self.topics.iter().try_for_each(|topic| topic::check(topic))?;
        let (levels, limit) =
            (self.inline().map_or(0, |data| json::depth(data.get())), limits::MAX_DATA_DEPTH);
        if levels > limit {
            return Err(Problem::invalid(format!(
                "data: {levels} levels are too many, the limit is {limit}"
            )));
        }
        match (self.inline(), self.save_method) {
            (None, _) if self.url.is_empty() => {
                Err(Problem::invalid("url: missing; give a `url` to fetch from, or inline `data`"))
            }
            (None, _) => check_url(&self.url),
            (Some(data), SaveMethod::Patch) => check_patch(data),
            (Some(data), SaveMethod::Put) if data.get().starts_with(['{', '[']) => Ok(()),
            (Some(_), SaveMethod::Put) => Err(Problem::invalid("data: give an object or an array")),
        }
    }
}

/// A source's address has a scheme; which schemes can be fetched is the agent's to say.
fn check_url(url: &str) -> Result<(), Problem> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let valid = scheme.is_some_and(|scheme| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    if !valid || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(Problem::invalid("url: give an absolute address such as https://host/path"));
    }
    Ok(())
}

fn check_patch(data: &RawValue) -> Result<(), Problem> {
    let refuse = |reason: String| Problem::invalid(format!("data: {reason}"));
    let operations: Vec<PatchOperation> = serde_json::from_str(data.get()).map_err(|error| {
        refuse(format!("save_method PATCH needs a list of JSON Patch operations: {error}"))
    })?;
    for (at, operation) in operations.iter().enumerate() {
        let path = &operation.path;
        if !path.is_empty() && !path.starts_with('/') {
            return Err(refuse(format!("operation {at}: `path` is empty or begins with /")));
        }
        let (bytes, segments) = (limits::MAX_PATH_BYTES, limits::MAX_PATH_SEGMENTS);
        if path.len() > bytes || path.matches('/').count() > segments {
            return Err(refuse(format!(
                "operation {at}: `path` has more than {bytes} bytes or {segments} segments"
            )));
        }
        // OPAL refuses a null here too (`spec/opal-protocol.md` §4.1).
        if operation.op != PatchOp::Remove && is_null(&operation.value) {
            return Err(refuse(format!("operation {at}: needs a `value` that is not null")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Problem {
        Update::parse(body.as_bytes()).expect_err(body)
    }

    fn entry(members: &str) -> String {
        format!(r#"{{"entries":[{{{members}}}]}}"#)
    }

    #[test]
    fn opals_defaults_fill_what_is_left_out() {
        let update = Update::parse(entry(r#""url":"http://h/x""#).as_bytes()).unwrap();
        let entry = &update.entries[0];
        assert_eq!(entry.topics, ["policy_data"]);
        assert!(entry.dst_path.is_root());
        assert_eq!(entry.save_method, SaveMethod::Put);
        assert!(entry.inline().is_none());
    }

    #[test]
    fn what_opals_command_sends_is_accepted() {
        let body = r#"{"id":null,"entries":[{"url":"http://x/y","config":{},"topics":["policy_data","users/a"],"dst_path":"/u","save_method":"PUT","data":{"k":null}}],"reason":"why","callback":{"callbacks":[]}}"#;
        let update = Update::parse(body.as_bytes()).unwrap();
        assert_eq!(update.entries[0].inline().unwrap().get(), r#"{"k":null}"#);
    }

    #[test]
    fn every_bad_input_is_refused_with_its_place() {
        for (members, words) in [
            (r#""topics":["t"]"#, "entries[0].url: missing"),
            (r#""url":"","data":null"#, "entries[0].url: missing"),
            (r#""url":"x""#, "absolute address"),
            (r#""url":5"#, "entries[0].url: invalid type"),
            (
                r#""url":"http://h","save_method":"POST""#,
                "unknown variant `POST`, expected `PUT` or `PATCH`",
            ),
            (r#""url":"http://h","dst_path":"/a/../b""#, "dst_path"),
            (r#""url":"http://h","dst_path":"/a//b""#, "empty segment"),
            (r#""url":"http://h","topics":[]"#, "at least one topic"),
            (r#""url":"http://h","topics":[""]"#, "may not be empty"),
            (r#""url":"http://h","topics":"users""#, "entries[0].topics: invalid type"),
            (r#""data":5"#, "an object or an array"),
            (r#""data":{},"save_method":"PATCH""#, "list of JSON Patch operations"),
            (r#""data":[{"op":"put","path":"/a"}],"save_method":"PATCH""#, "unknown variant `put`"),
            (
                r#""data":[{"op":"add","path":"a","value":1}],"save_method":"PATCH""#,
                "begins with /",
            ),
            (r#""data":[{"op":"add","path":"/a"}],"save_method":"PATCH""#, "`value`"),
            (r#""data":[{"op":"add","path":"/a","value":null}],"save_method":"PATCH""#, "not null"),
            (
                r#""data":[{"op":"move","path":"/a"}],"save_method":"PATCH""#,
                "`add`, `remove`, `replace`",
            ),
        ] {
            let problem = refusal(&entry(members));
            assert_eq!(problem.status, 422, "{members}");
            assert!(problem.detail.contains(words), "{members}: {problem}");
        }
        assert!(refusal(r#"{"entries":[]}"#).detail.contains("at least one entry"));
        assert!(refusal(r#"{"id":"","entries":[{"url":"http://h"}]}"#).detail.starts_with("id:"));
        assert!(refusal("[null,null,[]]").detail.contains("not an object"));
    }

    #[test]
    fn an_update_goes_to_as_many_different_topics_as_the_limit_says() {
        // 8 entries of 128 topics: 1,024 different ones, of which a shared parent is one more.
        let update = |topic: &dyn Fn(usize) -> String| {
            let entries = (0..8).map(|entry| {
                let topics: Vec<_> = (0..128).map(|n| topic(entry * 128 + n)).collect();
                serde_json::json!({ "url": "http://h", "topics": topics })
            });
            serde_json::json!({ "entries": entries.collect::<Vec<_>>() }).to_string()
        };
        let flat = Update::parse(update(&|n| format!("t{n}")).as_bytes()).unwrap();
        assert_eq!(flat.topics().len(), limits::MAX_EXPANDED_TOPICS);
        let repeated = Update::parse(update(&|n| format!("p/t{}", n % 128)).as_bytes()).unwrap();
        assert_eq!(repeated.topics().len(), 129);
        let problem = refusal(&update(&|n| format!("p/t{n}")));
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains("more than 1024 different topics"), "{problem}");
    }

    #[test]
    fn debugging_shows_no_credentials() {
        let update = r#"{"entries":[{"url":"http://me:s3cret@h","config":{"x":"s3cret"}}],
            "callback":{"callbacks":["http://h?token=s3cret"]}}"#;
        let shown = format!("{:?}", Update::parse(update.as_bytes()).unwrap());
        assert!(shown.contains("http://****@h") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn limits_are_named() {
        let topics: Vec<_> = (0..200).map(|n| format!("\"t{n}\"")).collect();
        let many = refusal(&entry(&format!(r#""url":"http://h","topics":[{}]"#, topics.join(","))));
        assert!(many.detail.contains("the limit is 128"), "{many}");
        let deep = format!(
            r#""data":[{{"op":"remove","path":"{}"}}],"save_method":"PATCH""#,
            "/a".repeat(40)
        );
        assert!(refusal(&entry(&deep)).detail.contains("32 segments"));
        let levels = refusal(&entry(&format!(r#""data":{}{}"#, "[".repeat(101), "]".repeat(101))));
        assert!(levels.detail.contains("101 levels"), "{levels}");
        let large = refusal(&format!(
            r#"{{"reason":"{}","entries":[]}}"#,
            "x".repeat(limits::MAX_UPDATE_BYTES)
        ));
        assert_eq!(large.status, 413);
        assert!(large.detail.contains("the limit is 1000000"), "{large}");
    }
}
