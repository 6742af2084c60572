//! `PUT /policy`: how files become the policy of a server.

use protocol::limits::MAX_POLICY_BYTES;
use protocol::opal::policy::{self, Files};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, Target, call};
use crate::settings::Secret;
use call::Answer;

/// A server's policy.
pub(super) struct Upload {
    url: Url,
    token: Secret,
}

/// The body of `PUT /policy`.
#[derive(Serialize)]
struct Body<'f> {
    files: &'f Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'f str>,
}

/// What it is answered with, as far as it must be there.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read only to see that the answer is one")]
struct Accepted {
    hash: String,
    changed: bool,
}

/// What `GET /policy` says of which revision it is.
#[derive(Deserialize)]
struct Held {
    hash: String,
}

impl Upload {
    pub(super) fn new(target: Target) -> Result<Self, Failure> {
        let server = call::server(target.server_url.as_deref())?;
        let url =
            call::route(&server, &call::scoped(target.scope.as_deref(), "/policy", "policy")?);
        Ok(Self { url, token: call::token(target.token, "--token")? })
    }

    /// Gives the server the files. A refusal is an answer.
    pub(super) async fn put(&self, body: String) -> Result<Answer, Failure> {
        call::ask(Method::PUT, &self.url, &self.token, Some(body)).await
    }

    /// What a server says that has taken the files.
    pub(super) fn accepted(&self, answer: Answer) -> Result<String, Failure> {
        let said = answer.success(&self.url)?;
        serde_json::from_str::<Accepted>(&said)
            .map_err(|_| call::unexpected(&self.url, "does not say which policy it has now"))?;
        Ok(said)
    }

    /// True if the server has this revision. What has changed since it is asked for, since that
    /// is nothing if it has.
    pub(super) async fn has(&self, revision: &str) -> Result<bool, Failure> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("base_hash", revision);
        let answer = call::ask(Method::GET, &url, &self.token, None).await?;
        let held = serde_json::from_str::<Held>(&answer.body);
        Ok(held.is_ok_and(|held| held.hash == revision))
    }
}

/// The body that names these files the policy.
///
/// # Errors
/// What the server would refuse, before it is sent.
pub(super) fn body(files: &Files, revision: Option<&str>) -> Result<String, Failure> {
    policy::check(files).map_err(|problem| Failure::run(problem.detail))?;
    let body = serde_json::to_string(&Body { files, revision })
        .map_err(|error| Failure::run(format!("the files have no JSON form: {error}")))?;
    check_body(files, body.len())?;
    Ok(body)
}

/// The limit counts the body: as JSON a file's text is longer.
fn check_body(files: &Files, bytes: usize) -> Result<(), Failure> {
    if bytes <= MAX_POLICY_BYTES {
        return Ok(());
    }
    let largest = files.iter().max_by_key(|(_, text)| text.len());
    let largest = largest.map_or("", |(path, _)| path);
    let what = format!("the policy (its largest file is {largest})");
    Err(too_large(&what, bytes, MAX_POLICY_BYTES))
}

/// A file, or all of them, are too large to be sent.
pub(super) fn too_large(what: &str, bytes: usize, limit: usize) -> Failure {
    Failure::run(format!("{what} has {bytes} bytes, the limit is {limit}")).hint(
        "publish large data with publish-data-update, or leave files out with --ignore or --extensions",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_over_the_limit_names_the_largest_file() {
        let files =
            Files::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "12".to_owned())]);
        assert_eq!(check_body(&files, MAX_POLICY_BYTES), Ok(()));
        let failure = check_body(&files, MAX_POLICY_BYTES + 1).unwrap_err();
        assert!(failure.message.contains("largest file is b)"), "{}", failure.message);
    }

    #[test]
    fn a_revision_is_named_only_if_it_is_given() {
        let files = Files::from([("a.rego".to_owned(), "package a".to_owned())]);
        assert_eq!(body(&files, None).unwrap(), r#"{"files":{"a.rego":"package a"}}"#);
        assert_eq!(
            body(&files, Some("v1")).unwrap(),
            r#"{"files":{"a.rego":"package a"},"revision":"v1"}"#
        );
        assert!(body(&Files::from([("../a.rego".to_owned(), String::new())]), None).is_err());
    }
}
