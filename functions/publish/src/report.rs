//! What an OPA without an agent reports: its status and its decisions
//! (`spec/opa-and-grants.md` §2.6), and who may read that.

use protocol::bundle::Report;
use protocol::{Claims, PeerType, Problem, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::query::last;

/// Bytes of the label by which one OPA is told from another.
const MAX_INSTANCE_BYTES: usize = 256;
/// Bytes of a partition's name.
const MAX_PARTITION_BYTES: usize = 128;
/// Decisions that are shown if nobody says how many.
const DEFAULT_SHOWN: usize = 100;
/// Decisions that are shown at most.
const MAX_SHOWN: usize = 1_000;

/// The text of a body, inflated if it was sent as gzip.
///
/// # Errors
/// 400 for a damaged body; 413 for more than [`limits::MAX_REPORT_BYTES`]; 415 for another
/// encoding.
pub fn text(encoding: Option<&str>, body: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let (bytes, limit) = (body.len(), limits::MAX_REPORT_BYTES);
    match encoding.unwrap_or_default().trim() {
        "" | "identity" if bytes > limit => {
            Err(Problem::too_large(format!("the body has {bytes} bytes, the limit is {limit}")))
        }
        "" | "identity" => Ok(body),
        "gzip" => archive::gzip::inflate(&body, limit),
        _ => Err(Problem::new(415, "Content-Encoding: send gzip, or none")),
    }
}

/// A status.
///
/// # Errors
/// 400 for what is not JSON; 422 for what is no status.
pub fn status(partition: Option<String>, body: &[u8]) -> Result<Report, Problem> {
    #[derive(Deserialize)]
    struct Status {
        labels: Labels,
    }
    #[derive(Deserialize)]
    struct Labels {
        id: String,
    }
    let body: Box<RawValue> = json(body)?;
    if !body.get().starts_with('{') {
        return Err(Problem::invalid("the body is not an object: give a status as OPA sends it"));
    }
    let status: Status = serde_json::from_str(body.get()).map_err(|error| {
        Problem::invalid(format!("labels.id: give the id of the OPA, as OPA does: {error}"))
    })?;
    let instance = status.labels.id;
    let is_plain = !instance.is_empty() && !instance.chars().any(char::is_control);
    if instance.len() > MAX_INSTANCE_BYTES || !is_plain {
        return Err(Problem::invalid(format!(
            "labels.id: 1 to {MAX_INSTANCE_BYTES} bytes without control characters"
        )));
    }
    Ok(Report::Status { instance, partition: checked(partition)?, body })
}

/// A batch of decisions.
///
/// # Errors
/// 400 for what is not JSON; 422 for what is no list of objects.
pub fn decisions(partition: Option<String>, body: &[u8]) -> Result<Report, Problem> {
    let body: Box<RawValue> = json(body)?;
    let events: Vec<Box<RawValue>> = serde_json::from_str(body.get()).map_err(|_| {
        Problem::invalid("the body is not a list: give decisions as OPA sends them")
    })?;
    if let Some(at) = events.iter().position(|event| !event.get().starts_with('{')) {
        return Err(Problem::invalid(format!("[{at}]: a decision is an object")));
    }
    let (count, limit) = (events.len(), limits::MAX_DECISIONS);
    if count > limit {
        return Err(Problem::invalid(format!(
            "{count} decisions are too many, the limit is {limit}"
        )));
    }
    Ok(Report::Decisions { partition: checked(partition)?, events })
}

fn json(body: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, format!("the body is not valid JSON: {error}")))
}

fn checked(partition: Option<String>) -> Result<Option<String>, Problem> {
    match partition {
        Some(name) if name.len() > MAX_PARTITION_BYTES || name.contains(['/', '\\']) => {
            Err(Problem::invalid(format!(
                "the partition's name has at most {MAX_PARTITION_BYTES} bytes and no slash"
            )))
        }
        checked => Ok(checked),
    }
}

/// Checks that the bearer may read reports: who listens, or publishes.
///
/// # Errors
/// 401.
pub fn require_reader(claims: &Claims) -> Result<(), Problem> {
    let publishes = claims.require(PeerType::Datasource);
    publishes.or_else(|_| claims.require(PeerType::Listener))
}

/// How many decisions are asked for: `limit=N`.
///
/// # Errors
/// 422.
pub fn limit(query: &str) -> Result<usize, Problem> {
    match last(query, "limit") {
        None => Ok(DEFAULT_SHOWN),
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=MAX_SHOWN).contains(limit)).ok_or_else(|| {
                Problem::invalid(format!("limit: give a number of decisions from 1 to {MAX_SHOWN}"))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_of_the_opa_that_its_label_names() {
        let body = br#"{"labels":{"id":"i","version":"1"},"bundles":{}}"#;
        let Report::Status { instance, partition, body } =
            status(Some("p".to_owned()), body).unwrap()
        else {
            panic!("a status");
        };
        assert_eq!((instance.as_str(), partition.as_deref()), ("i", Some("p")));
        assert!(body.get().contains("bundles"));
    }

    #[test]
    fn what_is_no_report_is_told_what_one_is() {
        let long = format!(r#"{{"labels":{{"id":"{}"}}}}"#, "x".repeat(257));
        for (body, code, words) in [
            ("{", 400, "not valid JSON"),
            ("", 400, "not valid JSON"),
            ("[]", 422, "not an object"),
            ("{}", 422, "labels"),
            (r#"{"labels":{"id":7}}"#, 422, "labels.id"),
            (r#"{"labels":{"id":""}}"#, 422, "labels.id"),
            (long.as_str(), 422, "256"),
        ] {
            let problem = status(None, body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, code, "{body}");
            assert!(problem.detail.contains(words), "{problem}");
        }
        for (body, code, words) in
            [("{}", 422, "not a list"), ("[1]", 422, "[0]"), ("[{}", 400, "not valid JSON")]
        {
            let problem = decisions(None, body.as_bytes()).unwrap_err();
            assert_eq!(problem.status, code, "{body}");
            assert!(problem.detail.contains(words), "{problem}");
        }
        assert!(decisions(Some("a/b".to_owned()), b"[]").is_err());
        assert!(decisions(None, b"[{},{\"a\":1}]").is_ok());
    }

    #[test]
    fn a_body_is_plain_or_gzip_and_bounded() {
        assert_eq!(text(None, b"[]".to_vec()).unwrap(), b"[]");
        assert_eq!(text(Some("gzip"), b"[]".to_vec()).unwrap_err().status, 400);
        assert_eq!(text(Some("br"), vec![]).unwrap_err().status, 415);
        let large = vec![b' '; limits::MAX_REPORT_BYTES + 1];
        assert_eq!(text(None, large).unwrap_err().status, 413);
    }

    #[test]
    fn a_reader_says_how_many() {
        assert_eq!(limit("").unwrap(), 100);
        assert_eq!(limit("limit=7").unwrap(), 7);
        for wrong in ["limit=0", "limit=1001", "limit=x", "limit="] {
            assert!(limit(wrong).unwrap_err().detail.starts_with("limit: "));
        }
    }
}
