//! Settings of decisions at the edge.
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | `DECIDE_MAX_AGE_MS` | 1000 | milliseconds that what is decided on may be old; 0 asks the hub each time |
//! | `DECIDE_TOPICS` | `policy_data` | topics whose data is decided on, separated by commas |
//! | `DECIDE_MAX_BYTES` | 10000000 | bytes of data as JSON that are decided on |
//! | `DECIDE_LOCATIONS` | – | where deciders are to be, separated by commas; each caller's is the nearest |
//! | `REGO_V0` | `false` | modules that do not say so are of Rego before OPA 1.0 |

use protocol::topic::TopicSet;
use protocol::{Problem, commit};
use rego::Language;

/// Reads a setting by its name without prefix; none if it is not set.
pub type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

/// How a scope's log is followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What it decides on may be so old.
    pub max_age_ms: u64,
    /// What it follows: data and policy.
    pub topics: TopicSet,
    /// Bytes of data as JSON.
    pub max_bytes: usize,
    /// What policies are written in.
    pub language: Language,
}

/// Where Cloudflare can have an object, and whose requests begin near there.
const LOCATIONS: [(&str, &str); 9] = [
    ("weur", "EU"),
    ("eeur", "EU"),
    ("enam", "NA"),
    ("wnam", "NA"),
    ("sam", "SA"),
    ("apac", "AS"),
    ("oc", "OC"),
    ("afr", "AF"),
    ("me", "AS"),
];

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// 503 that names the setting.
    pub fn new(read: Read<'_>) -> Result<Self, Problem> {
        let number = |name: &str, default: u64| match read(name) {
            None => Ok(default),
            Some(text) => {
                text.trim().parse().map_err(|_| wrong(name, "give a whole number, 0 or more"))
            }
        };
        let topics = read("DECIDE_TOPICS").unwrap_or_else(|| "policy_data".to_owned());
        let topics = topics.split(',').map(|topic| topic.trim().to_owned());
        let policy = commit::subscription(&[".".to_owned()]);
        let topics = TopicSet::new(topics.chain(policy));
        let max_bytes = number("DECIDE_MAX_BYTES", 10_000_000)?;
        let is_v0 = read("REGO_V0").is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
        Ok(Self {
            max_age_ms: number("DECIDE_MAX_AGE_MS", 1_000)?,
            topics: topics.map_err(|problem| wrong("DECIDE_TOPICS", &problem.detail))?,
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            language: if is_v0 { Language::V0 } else { Language::V1 },
        })
    }
}

/// Where the decider is to be that a caller from this continent asks; none for wherever it is asked
/// from first.
///
/// # Errors
/// 503 that names the setting.
pub fn location(read: Read<'_>, continent: Option<&str>) -> Result<Option<&'static str>, Problem> {
    let Some(wanted) = read("DECIDE_LOCATIONS") else { return Ok(None) };
    let known = |name: &str| LOCATIONS.iter().find(|(location, _)| *location == name.trim());
    let wanted: Vec<_> = wanted.split(',').map(known).collect::<Option<_>>().ok_or_else(|| {
        let all: Vec<_> = LOCATIONS.iter().map(|(location, _)| *location).collect();
        wrong("DECIDE_LOCATIONS", &format!("give some of {}", all.join(", ")))
    })?;
    let near = wanted.iter().find(|(_, has)| continent == Some(*has));
    Ok(near.or(wanted.first()).map(|(location, _)| *location))
}

fn wrong(name: &str, reason: &str) -> Problem {
    Problem::unavailable(format!("GIRASOL_{name}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_the_locations_is_asked() {
        let read = |name: &str| (name == "DECIDE_LOCATIONS").then(|| "enam, weur".to_owned());
        assert_eq!(location(&read, Some("EU")), Ok(Some("weur")));
        assert_eq!(location(&read, Some("NA")), Ok(Some("enam")));
        assert_eq!(location(&read, Some("OC")), Ok(Some("enam")));
        assert_eq!(location(&read, None), Ok(Some("enam")));
        assert_eq!(location(&|_| None, Some("EU")), Ok(None));
        let bad = location(&|_| Some("mars".to_owned()), None).unwrap_err();
        assert!(bad.detail.contains("GIRASOL_DECIDE_LOCATIONS: give some of weur"), "{bad}");
    }

    #[test]
    fn policy_is_followed_whatever_the_topics_are() {
        let settings = Settings::new(&|_| None).unwrap();
        let topics: Vec<_> = settings.topics.iter().collect();
        assert_eq!(topics, ["policy:.", "policy:..", "policy_data"]);
        let bad = Settings::new(&|name| (name == "DECIDE_MAX_AGE_MS").then(|| "soon".to_owned()));
        assert!(bad.unwrap_err().detail.contains("GIRASOL_DECIDE_MAX_AGE_MS"));
    }
}
