//! The queries of `POST /data/config` and `GET /log`. Parameters with other names are
//! ignored, as OPAL ignores them; of one that is given twice the last counts.

use percent_encoding::percent_decode_str;
use protocol::internal::{Quorum, Wait};
use protocol::topic::TopicSet;
use protocol::{Problem, Seq, limits};

/// Numbers beyond this are not exact in JavaScript, and the log has none.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// What a reader of the log asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Updates with higher numbers than this.
    pub after: Seq,
    /// Only these topics; every topic if absent.
    pub topics: Option<TopicSet>,
}

/// For whom a publisher waits: `wait=all|N` and `timeout=SECONDS`. `None` without `wait`, and
/// for `wait=0`.
///
/// # Errors
/// 422 naming the parameter.
pub fn wait(query: &str) -> Result<Option<Wait>, Problem> {
    let timeout_ms = match last(query, "timeout") {
        None => limits::DEFAULT_WAIT_SECONDS * 1_000,
        Some(text) => milliseconds(&text)?,
    };
    let agents = match last(query, "wait").as_deref() {
        None | Some("0") => return Ok(None),
        Some("all") => Quorum::All,
        Some(text) => Quorum::AtLeast(agents(text)?),
    };
    Ok(Some(Wait { agents, timeout_ms }))
}

/// What of the log is asked for: `after=SEQ`, from the beginning if absent, and
/// `topics=a,b`.
///
/// # Errors
/// 422 naming the parameter.
pub fn log(query: &str) -> Result<LogQuery, Problem> {
    let after = match last(query, "after") {
        None => Seq::ZERO,
        Some(text) => match text.parse() {
            Ok(number) if number <= MAX_SEQ => Seq(number),
            _ => {
                return Err(Problem::invalid(format!(
                    "after: give the number of an update, 0 to {MAX_SEQ}"
                )));
            }
        },
    };
    Ok(LogQuery { after, topics: topics(query)? })
}

/// Only these topics: `topics=a,b`; every topic if absent.
///
/// # Errors
/// 422 naming the topic.
pub fn topics(query: &str) -> Result<Option<TopicSet>, Problem> {
    let topics = last(query, "topics");
    topics.map(|topics| TopicSet::new(topics.split(',').map(str::to_owned))).transpose()
}

/// Every parameter with its value.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// A segment of a path without its percent escapes; none if there is nothing in it.
#[must_use]
pub fn decode(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8_lossy().into_owned();
    Some(decoded).filter(|decoded| !decoded.is_empty())
}

/// The segments of a path, each without its percent escapes, so that `%2F` parts nothing; none
/// if one is no text.
#[must_use]
pub fn segments(path: &str) -> Option<Vec<String>> {
    let decoded = path.split('/').map(|segment| percent_decode_str(segment).decode_utf8());
    decoded.map(|segment| Some(segment.ok()?.into_owned())).collect()
}

/// The values of a parameter that may be given several times.
#[must_use]
pub fn all(query: &str, name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).collect()
}

/// The value of a parameter; where it is given twice, the last.
#[must_use]
pub fn last(query: &str, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

fn agents(text: &str) -> Result<u32, Problem> {
    let limit = limits::MAX_WAIT_AGENTS;
    text.parse().ok().filter(|agents| *agents <= limit).ok_or_else(|| {
        Problem::invalid(format!("wait: give `all`, or a number of agents from 0 to {limit}"))
    })
}

fn milliseconds(text: &str) -> Result<u64, Problem> {
    let limit = limits::MAX_WAIT_SECONDS;
    // What is not a number is neither more nor less.
    let seconds =
        text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= limit as f64);
    let seconds = seconds.ok_or_else(|| {
        Problem::invalid(format!("timeout: give more than 0 and at most {limit} seconds"))
    })?;
    Ok((seconds * 1_000.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        let segments = segments("users/a%2Fb%252F%C3%A4/+|").unwrap();
        assert_eq!(segments, ["users", "a/b%2Fä", "+|"]);
        assert_eq!(super::segments("users/%ff"), None);
    }

    #[test]
    fn a_publisher_waits_for_all_or_some_for_as_long_as_it_says() {
        let waits = |query: &str| wait(query).unwrap().map(|it| (it.agents, it.timeout_ms));
        for query in ["", "wait=0", "wait=0&timeout=5", "timeout=5", "other=%ff", "Wait=all"] {
            assert_eq!(waits(query), None, "{query}");
        }
        assert_eq!(waits("wait=all"), Some((Quorum::All, 10_000)));
        assert_eq!(waits("x=1&wait=2&timeout=0.25"), Some((Quorum::AtLeast(2), 250)));
        assert_eq!(waits("wait=1&wait=%61ll&timeout=300"), Some((Quorum::All, 300_000)));
        assert_eq!(waits("wait=100000&timeout=1e-9"), Some((Quorum::AtLeast(100_000), 1)));
    }

    #[test]
    fn a_wrong_wait_names_the_parameter() {
        for value in ["", "-1", "1.5", "ALL", "everybody", "100001", "99999999999", " 1"] {
            let problem = wait(&format!("wait={value}")).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.detail.starts_with("wait: "), "{value}: {problem}");
        }
        for value in ["", "0", "-1", "300.001", "NaN", "inf", "-inf", "soon", "1s", "1e999"] {
            let problem = wait(&format!("wait=1&timeout={value}")).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.detail.starts_with("timeout: "), "{value}: {problem}");
        }
    }

    #[test]
    fn a_reader_names_a_number_and_topics() {
        let everything = LogQuery { after: Seq::ZERO, topics: None };
        assert_eq!(log("").unwrap(), everything);
        let topics = TopicSet::new(["a/b".to_owned(), "c".to_owned()]).unwrap();
        let part = LogQuery { after: Seq(7), topics: Some(topics) };
        assert_eq!(log("topics=c,a%2Fb&after=7&limit=3").unwrap(), part);
    }

    #[test]
    fn a_wrong_part_of_the_log_names_the_parameter() {
        for value in ["", "-1", "1.5", "x", "9007199254740992", "99999999999999999999999"] {
            let problem = log(&format!("after={value}")).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.detail.starts_with("after: "), "{value}: {problem}");
        }
        for value in ["", "a,,b", "a,", "a//b"] {
            let problem = log(&format!("topics={value}")).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.detail.contains("topic"), "{value}: {problem}");
        }
    }
}
