//! Policy in a scope's log: what the hub writes of a commit, and what a native agent makes of it.
//!
//! Policy is data under a reserved place, so that compaction, replay, digests, retention and
//! exactly-once hold for it as for everything else. A commit is one update or several in a row,
//! all of them inline, and its entries are its **parts**:
//!
//! * A module: `PUT /girasol/policy/modules/<path>` with `{"rego": "<text>"}`, or with `{}` once
//!   it is gone. The path is one segment, written as in a JSON Pointer: `app~1rbac.rego`.
//! * A `data.json`: writes at the data's own places, see [`data_files`]. A place that is gone is
//!   made first and then removed, since a patch of what is not there would be refused.
//! * Last of all the **marker**: `PUT /girasol/policy/revision`. Without it the parts before it
//!   mean nothing: an agent puts them aside until a marker comes, and takes all together.
//!
//! Parts are published to `policy:.` and to the topic of their folder, and to nothing else; so
//! an entry with these topics alone is a part. Nobody else may publish to them, or write there.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::opal::data_files::{self, Change};
use crate::opal::policy::{self, folder_of, folders_above};
use crate::plane::facts::is_fact_topic;
use crate::plane::grants;
use crate::{DataPath, Entry, Problem, SaveMethod, json, limits, topic};

/// How the topics of policies begin (`spec/opal-protocol.md` §4.5).
const PREFIX: &str = "policy:";
/// The topic that every marker is published to, whatever folders the commit is about. No folder
/// has this name.
const MARKER_TOPIC: &str = "policy:..";
/// The member of the data document that is not for publishers.
pub const RESERVED: &str = "girasol";
/// What of it is policy.
const POLICY: &str = "policy";
const MODULES: &str = "modules";
const REVISION: &str = "revision";
/// Bytes that an entry has besides its data, path and topics, and an update besides its entry.
const ENVELOPE_BYTES: usize = 4_096;
/// Bytes of one part's data. An update with nothing else in it can be delivered.
const MAX_PART_BYTES: usize =
    limits::MAX_UPDATE_BYTES - ENVELOPE_BYTES - 8 * limits::MAX_PATH_BYTES;

/// The last part of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The revision that is complete with this part.
    pub hash: String,
    /// The one before it, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_hash: Option<String>,
}

/// What a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The module of this path has this text; none if it is gone.
    Module(String, Option<String>),
    /// Data has changed.
    Data,
    /// All parts have been said.
    Marker(Marker),
}

/// A module's data.
#[derive(Serialize, Deserialize)]
struct Module {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rego: Option<String>,
}

/// True for a topic of policies.
#[must_use]
pub fn is_policy_topic(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

/// True for an entry that is a part of a commit. One without topics is none: an opal-server's are
/// made so.
#[must_use]
pub fn is_part(entry: &Entry) -> bool {
    !entry.topics.is_empty() && entry.topics.iter().all(|topic| is_policy_topic(topic))
}

/// True for a place under which policy is kept, and which therefore is no data of an engine.
#[must_use]
pub fn is_policy_place(segments: &[String]) -> bool {
    matches!(segments, [first, second, ..] if first == RESERVED && second == POLICY)
}

/// True for the place of a marker.
#[must_use]
pub fn is_marker_place(place: &DataPath) -> bool {
    matches!(place.segments(), [_, _, last] if place.is_policy() && last == REVISION)
}

/// What an agent subscribes to for the policies of these folders, `.` for all.
#[must_use]
pub fn subscription(folders: &[String]) -> Vec<String> {
    let plain = |folder: &String| match folder.trim_matches('/') {
        "" => policy::topic("."),
        folder => policy::topic(folder),
    };
    let marker = (!folders.is_empty()).then(|| MARKER_TOPIC.to_owned());
    folders.iter().map(plain).chain(marker).collect()
}

// === writing ===

/// The part that says what a module's text is, or that it is gone.
///
/// # Errors
/// 422 for a path that has no place.
pub fn module(path: &str, rego: Option<&str>) -> Result<Entry, Problem> {
    let data = Module { rego: rego.map(str::to_owned) };
    put(module_place(path)?, topics_of(folder_of(path)), &data)
}

/// The parts that a change of a `data.json` is.
#[must_use]
pub fn data(change: Change) -> Vec<Entry> {
    let Change { folder, place, data } = change;
    let topics = topics_of(&folder.segments().join("/"));
    match data {
        Some(data) => vec![entry(place, topics, SaveMethod::Put, data)],
        None => gone(place, topics),
    }
}

/// The parts that take back what is at a place, whatever part put it there, or none.
#[must_use]
pub fn gone(place: DataPath, topics: Vec<String>) -> Vec<Entry> {
    let nothing = |text: &str| RawValue::from_string(text.to_owned()).ok();
    let made =
        nothing("{}").map(|data| entry(place.clone(), topics.clone(), SaveMethod::Put, data));
    // A module that is nothing is none.
    let remove = (!place.is_apart()).then(|| nothing(r#"[{"op":"remove","path":""}]"#)).flatten();
    let removed = remove.map(|data| entry(place, topics, SaveMethod::Patch, data));
    made.into_iter().chain(removed).collect()
}

/// The last part.
///
/// # Errors
/// 500 if it has no JSON form.
pub fn marker(marker: &Marker) -> Result<Entry, Problem> {
    let place = reserved([REVISION.to_owned()]);
    put(place, vec![policy::topic("."), MARKER_TOPIC.to_owned()], marker)
}

/// The topics of what is in a folder: `policy:.`, and as many of those of its parents and of its
/// own as are topics.
fn topics_of(folder: &str) -> Vec<String> {
    let mut topics = vec![policy::topic(".")];
    let inside = format!("{folder}/");
    let above = folders_above(&inside).map(policy::topic);
    let possible = above.filter(|it| topic::check(it).is_ok());
    // The longest first: a parent that it is published to anyway need not be named.
    let mut possible: Vec<String> = possible.collect();
    possible.sort_by_key(|it| std::cmp::Reverse(it.len()));
    for named in possible {
        if !topics.iter().any(|it| topic::expand(it).any(|expanded| expanded == named)) {
            topics.push(named);
        }
    }
    topics
}

/// A document at a place.
///
/// # Errors
/// 500 if it has no JSON form.
pub fn put(
    place: DataPath,
    topics: Vec<String>,
    data: &(impl Serialize + ?Sized),
) -> Result<Entry, Problem> {
    let data = to_raw_value(data).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(entry(place, topics, SaveMethod::Put, data))
}

fn entry(
    dst_path: DataPath,
    topics: Vec<String>,
    save_method: SaveMethod,
    data: Box<RawValue>,
) -> Entry {
    Entry { url: String::new(), config: None, topics, dst_path, save_method, data: Some(data) }
}

fn reserved(below: impl IntoIterator<Item = String>) -> DataPath {
    DataPath::default().below([RESERVED.to_owned(), POLICY.to_owned()]).below(below)
}

fn module_place(path: &str) -> Result<DataPath, Problem> {
    let segment = path.replace('~', "~0").replace('/', "~1");
    let place = reserved([MODULES.to_owned(), segment]);
    // It is read again by whoever it is delivered to.
    match DataPath::parse(&place.to_string()) {
        Ok(_) => Ok(place),
        Err(problem) => {
            let reason = problem.detail.trim_start_matches("dst_path: ");
            Err(Problem::invalid(format!("files: the path `{path}` cannot be kept: {reason}")))
        }
    }
}

// === reading ===

impl Part {
    /// Reads a part.
    ///
    /// # Errors
    /// It is none that this version knows; in a sentence.
    pub fn read(place: &DataPath, data: &str) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| format!("{place} cannot be read: {error}");
        match place.segments() {
            segments if !is_policy_place(segments) => Ok(Self::Data),
            [_, _, kind] if kind == REVISION => {
                serde_json::from_str(data).map(Self::Marker).map_err(wrong)
            }
            [_, _, kind, path] if kind == MODULES => {
                let path = path.replace("~1", "/").replace("~0", "~");
                let Module { rego } = serde_json::from_str(data).map_err(wrong)?;
                Ok(Self::Module(path, rego))
            }
            _ => Err(format!("{place} is of a newer version")),
        }
    }
}

// === limits ===

/// Checks that a file of a policy can be brought into the log.
///
/// # Errors
/// 413 for one whose parts are too large to be delivered, 422 for a path that is too long, and
/// for a `data.json` that is no object, too deep, or where no data can be.
pub(crate) fn check_file(path: &str, text: &str) -> Result<(), Problem> {
    let fits = |what: &str, bytes: usize| {
        if bytes <= MAX_PART_BYTES {
            return Ok(());
        }
        Err(Problem::too_large(format!(
            "files: {what} has {bytes} bytes as JSON, and the limit of what can be delivered at \
             once is {MAX_PART_BYTES}; split it, or publish large data with POST /data/config"
        )))
    };
    if path.ends_with(".rego") {
        module_place(path)?;
        return fits(&format!("`{path}`"), escaped_bytes(text));
    }
    let Some(folder) = data_files::folder_of(path) else { return Ok(()) };
    let refuse = |reason: String| Problem::invalid(format!("files: `{path}`: {reason}"));
    let place = data_files::place_of(folder).map_err(refuse)?;
    let text = data_files::object(text).map_err(refuse)?;
    let (levels, limit) = (json::depth(&text), limits::MAX_DATA_DEPTH);
    if levels > limit {
        return Err(refuse(format!("{levels} levels are too many, the limit is {limit}")));
    }
    data_files::writes(&place, &text).into_iter().try_for_each(|change| {
        // A member's name can be anything.
        let parsed = DataPath::parse(&change.place.to_string()).map_err(|it| refuse(it.detail))?;
        if parsed != change.place {
            return Err(refuse("a member's name may not hold a slash, or be empty".to_owned()));
        }
        if change.place.segments().first().is_some_and(|first| first == RESERVED) {
            return Err(refuse(format!("/{RESERVED} is reserved; choose another name")));
        }
        let bytes = change.data.map_or(0, |data| data.get().len());
        fits(&format!("{} of `{path}`", change.place), bytes)
    })
}

/// Checks that an entry is not what only the hub may write.
///
/// # Errors
/// 422 that names the topic or the place.
pub(crate) fn check_published(entry: &Entry) -> Result<(), Problem> {
    for topic in &entry.topics {
        let (what, how) = if is_policy_topic(topic) {
            ("policies", "change the policy with PUT /policy")
        } else if topic.starts_with(grants::PREFIX) {
            ("grants", "make grants with POST /api/v1/grants")
        } else if is_fact_topic(topic) {
            ("facts", "keep facts with POST /api/v1/facts")
        } else {
            continue;
        };
        return Err(Problem::invalid(format!(
            "topics: `{topic}` is a topic of {what}; {how}, or publish to another topic"
        )));
    }
    let reserved = format!("/{RESERVED}");
    let is_reserved = |place: &str| {
        place.strip_prefix(&reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_patched = || {
        #[derive(Deserialize)]
        struct Operation {
            path: String,
        }
        let patch = entry.inline().filter(|_| entry.dst_path.is_root());
        let patch = patch.filter(|_| entry.save_method == SaveMethod::Patch);
        let operations = patch.and_then(|it| serde_json::from_str::<Vec<Operation>>(it.get()).ok());
        operations.is_some_and(|all| all.iter().any(|operation| is_reserved(&operation.path)))
    };
    if is_reserved(&entry.dst_path.to_string()) || is_patched() {
        return Err(Problem::invalid(format!(
            "dst_path: {reserved} is reserved for policies, grants, facts and the agents; choose another place"
        )));
    }
    Ok(())
}

/// Bytes of a text as a JSON string.
fn escaped_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    bytes.sum::<usize>() + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Update;

    fn text(entry: &Entry) -> String {
        serde_json::to_string(entry).unwrap()
    }

    #[test]
    fn a_module_is_read_as_it_was_written() {
        for (path, rego) in [
            ("a.rego", Some("package a\n\"x\" \\ ü \u{1}")),
            ("app/ro~le s/x~1.rego", Some("")),
            ("app/gone.rego", None),
        ] {
            let entry = module(path, rego).unwrap();
            let again: Entry = serde_json::from_str(&text(&entry)).unwrap();
            assert!(is_part(&again));
            assert!(!is_part(&Entry { topics: vec![], ..again.clone() }));
            assert_eq!(again.dst_path, entry.dst_path);
            let part = Part::read(&again.dst_path, again.inline().unwrap().get());
            assert_eq!(part, Ok(Part::Module(path.to_owned(), rego.map(str::to_owned))));
        }
        let entry = module("app/x.rego", Some("")).unwrap();
        assert_eq!(entry.dst_path.to_string(), "/girasol/policy/modules/app~1x.rego");
    }

    #[test]
    fn a_marker_is_the_last_part() {
        let said = Marker { hash: "h2".to_owned(), old_hash: Some("h1".to_owned()) };
        let entry = marker(&said).unwrap();
        assert_eq!(
            text(&entry),
            r#"{"url":"","topics":["policy:.","policy:.."],"dst_path":"/girasol/policy/revision","save_method":"PUT","data":{"hash":"h2","old_hash":"h1"}}"#
        );
        let data = entry.inline().unwrap().get();
        assert_eq!(Part::read(&entry.dst_path, data), Ok(Part::Marker(said)));
    }

    #[test]
    fn a_part_reaches_who_subscribed_to_its_folder_or_to_one_above_it() {
        let expanded = |folder: &str| {
            let topics = topics_of(folder);
            let mut all: Vec<String> =
                topics.iter().flat_map(|it| topic::expand(it)).map(str::to_owned).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(expanded("."), ["policy:."]);
        assert_eq!(expanded("a/b"), ["policy:.", "policy:a", "policy:a/b"]);
        // What stands before a colon is no parent of its own.
        assert_eq!(expanded("a/b:c/d"), ["policy:.", "policy:a", "policy:a/b:c", "policy:a/b:c/d"]);
        let deep = vec!["f"; 20].join("/");
        assert_eq!(expanded(&deep).len(), 1 + limits::MAX_TOPIC_SEGMENTS);
        let long = format!("{}/x", "y".repeat(300));
        assert_eq!(expanded(&long), ["policy:."]);
    }

    #[test]
    fn an_agent_subscribes_to_folders_and_to_the_markers() {
        let folders =
            |all: &[&str]| subscription(&all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(folders(&["."]), ["policy:.", "policy:.."]);
        assert_eq!(folders(&["/app/", "lib"]), ["policy:app", "policy:lib", "policy:.."]);
        assert_eq!(folders(&[]), [""; 0]);
    }

    #[test]
    fn what_is_gone_is_made_first_so_that_its_removal_is_never_refused() {
        let change = |data: Option<&str>| Change {
            folder: DataPath::parse("app").unwrap(),
            place: DataPath::parse("app").unwrap(),
            data: data.map(|text| RawValue::from_string(text.to_owned()).unwrap()),
        };
        let methods =
            |entries: &[Entry]| entries.iter().map(|it| it.save_method).collect::<Vec<_>>();
        assert_eq!(methods(&data(change(Some("{}")))), [SaveMethod::Put]);
        assert_eq!(methods(&data(change(None))), [SaveMethod::Put, SaveMethod::Patch]);
    }

    #[test]
    fn publishers_are_told_what_is_not_theirs() {
        for (members, words) in [
            (r#""topics":["policy:app"],"data":{}"#, "entries[0].topics: `policy:app` is a topic"),
            (r#""data":{},"dst_path":"/girasol/policy/revision""#, "/girasol is reserved"),
            (r#""url":"http://h","dst_path":"girasol""#, "entries[0].dst_path: /girasol is"),
            (
                r#""save_method":"PATCH","data":[{"op":"remove","path":"/girasol/agent"}]"#,
                "/girasol is reserved",
            ),
        ] {
            let body = format!(r#"{{"entries":[{{{members}}}]}}"#);
            let problem = Update::parse(body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, 422, "{members}");
            assert!(problem.detail.contains(words), "{problem}");
        }
        let others = r#"{"entries":[{"topics":["policy_data"],"data":{},"dst_path":"/girasols"}]}"#;
        assert!(Update::parse(others.as_bytes()).is_ok());
    }

    #[test]
    fn what_cannot_be_delivered_is_refused_with_the_name_of_the_file() {
        let quotes = "\"".repeat(MAX_PART_BYTES / 2);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(101), "]".repeat(101));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_PART_BYTES));
        let halves = "x".repeat(MAX_PART_BYTES - 100);
        let halves = format!("{{\"a\":\"{halves}\",\"b\":\"{halves}\"}}");
        let path = format!("{}.rego", "p/".repeat(490));
        for (path, text, status, words) in [
            ("a.rego", quotes.as_str(), 413, "`a.rego` has"),
            (&path, "", 422, "cannot be kept"),
            ("app/data.json", "[]", 422, "`app/data.json`: not an object"),
            ("app/data.json", "{", 422, "at line 1"),
            ("app/data.json", &deep, 422, "102 levels"),
            ("app/data.json", &large, 413, "/app of `app/data.json`"),
            ("data.json", &large, 413, "/a of `data.json`"),
            ("data.json", r#"{"a/b":1}"#, 422, "slash"),
            ("data.json", r#"{"":1}"#, 422, "empty"),
            ("data.json", r#"{"girasol":1}"#, 422, "reserved"),
            ("girasol/data.json", "{}", 422, "reserved"),
        ] {
            let problem = check_file(path, text).unwrap_err();
            assert_eq!(problem.status, status, "{path}: {problem}");
            assert!(problem.detail.contains(words), "{problem}");
        }
        assert!(check_file("a.rego", "package a").is_ok());
        assert!(check_file("data.json", &halves).is_ok(), "each is an entry of its own");
        assert!(check_file("README.md", "[").is_ok());
        let text = "\"\\\n\u{1}ü";
        assert_eq!(escaped_bytes(text), serde_json::to_string(text).unwrap().len());
    }
}
