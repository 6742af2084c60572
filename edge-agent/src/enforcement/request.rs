//! Bodies of the enforcement calls. They are only looked at: the policy is given the caller's own
//! text, so that a policy of somebody's own gets what only it knows of.

use std::collections::BTreeMap;

use axum::body::Body;
use protocol::Problem;
use protocol::json::{depth, parse_confidential};
use protocol::limits::MAX_DATA_DEPTH;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use crate::json::Json;

/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// An object of which nothing matters here but that it is one.
type Members = BTreeMap<String, IgnoredAny>;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form matters")]
struct User {
    key: String,
    attributes: Option<Members>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the form of some members matters")]
pub(super) struct Resource {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) key: Option<String>,
    pub(super) tenant: Option<String>,
    attributes: Option<Members>,
    context: Option<Members>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form matters")]
struct Check {
    user: User,
    action: String,
    resource: Resource,
    context: Option<Members>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its form matters")]
struct OfUser {
    user: User,
    tenants: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    resource_types: Option<Vec<String>>,
    context: Option<Members>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the form of some members matters")]
struct OfResource {
    action: String,
    resource: Resource,
    context: Option<Members>,
}

/// The text of a body.
pub(super) async fn text(body: Body) -> Result<String, Problem> {
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        Problem::too_large(format!("the body broke off, or has more than {MAX_BODY_BYTES} bytes"))
    })?;
    let text = String::from_utf8(bytes.into())
        .map_err(|_| Problem::invalid("the body is not valid JSON: it is not UTF-8"))?;
    let levels = depth(&text);
    if levels > MAX_DATA_DEPTH {
        return Err(Problem::invalid(format!(
            "the body has {levels} levels, the limit is {MAX_DATA_DEPTH}"
        )));
    }
    Ok(text)
}

/// A check, as the policy's input.
pub(super) fn check(text: &str) -> Result<Json, Problem> {
    of_user::<Check>(text).map(|_| input(text))
}

/// A list of checks, as the policy's input, and how many they are.
pub(super) fn checks(text: &str) -> Result<(Json, usize), Problem> {
    let advice = "the body is not valid JSON, or not an array of checks: give [{…}]";
    let checks: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|_| Problem::invalid(advice))?;
    for (index, check) in checks.iter().enumerate() {
        of_user::<Check>(check.get()).map_err(|problem| Problem {
            detail: format!("[{index}].{}", problem.detail),
            ..problem
        })?;
    }
    Ok((input(&format!(r#"{{"checks":{text}}}"#)), checks.len()))
}

/// What a user may do, as the policy's input.
pub(super) fn permissions(text: &str) -> Result<Json, Problem> {
    of_user::<OfUser>(text).map(|_| input(text))
}

/// Who may do something, as the policy's input, and what it is done to.
pub(super) fn users(text: &str) -> Result<(Json, Resource), Problem> {
    let asked: OfResource = parse_confidential(text.as_bytes())?;
    Ok((input(text), asked.resource))
}

/// Reads a body with a user, which was text in the first version of the API.
fn of_user<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    #[derive(Deserialize)]
    struct Old<'t> {
        #[serde(borrow)]
        user: &'t RawValue,
    }
    let old = serde_json::from_str::<Old<'_>>(text);
    if old.is_ok_and(|old| old.user.get().starts_with('"')) {
        return Err(Problem::new(
            421,
            "this is a body of the API's first version, where `user` was text: give \
             {\"user\": {\"key\": …}}, or take version 2 of the SDK or a later one",
        ));
    }
    parse_confidential(text.as_bytes())
}

/// What Permit's own policies are given: the request and whether to explain. Of two members of one
/// name the later one counts, which is the caller's.
fn input(object: &str) -> Json {
    let members = object.trim_start().strip_prefix('{').unwrap_or_default();
    Json::known(format!(r#"{{"use_debugger":false,{members}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(read: Result<T, Problem>) -> Problem {
        match read {
            Ok(_) => panic!("it was read"),
            Err(problem) => problem,
        }
    }

    #[test]
    fn the_policy_gets_what_the_caller_sent() {
        let body = r#" {"user":{"key":"a","age":1.50},"action":"r","resource":{"type":"t","key":null},"mine":[1e2]}"#;
        let wanted = r#"{"use_debugger":false,"user":{"key":"a","age":1.50},"action":"r","resource":{"type":"t","key":null},"mine":[1e2]}"#;
        assert_eq!(check(body).ok().unwrap().get(), wanted);
        let (input, number) = checks(&format!("[{body},{body}]")).ok().unwrap();
        assert_eq!(
            (input.get().starts_with(r#"{"use_debugger":false,"checks":[ {"#), number),
            (true, 2)
        );
    }

    #[test]
    fn a_wrong_body_is_told_where_it_is_wrong_and_nothing_of_what_it_says() {
        for (body, words) in [
            ("", "not valid JSON"),
            ("[]", "not an object"),
            ("{", "not valid JSON"),
            ("{}", "missing field `user`"),
            (r#"{"user":{}}"#, "user: missing field `key`"),
            (r#"{"user":{"key":7531}}"#, "user.key: something else than a string"),
            (r#"{"user":null}"#, "user: something else than struct User"),
            (r#"{"user":{"key":"s3cret","key":"b"}}"#, "duplicate field `key`"),
            (r#"{"user":{"key":"a"},"user":{"key":"b"}}"#, "duplicate field `user`"),
            (r#"{"user":{"key":"a","attributes":"s3cret"}}"#, "user.attributes: something else"),
            (r#"{"user":{"key":"a"},"action":["s3cret"]}"#, "action: something else than a string"),
            (r#"{"user":{"key":"a"},"action":"r"}"#, "missing field `resource`"),
            (r#"{"user":{"key":"a"},"action":"r","resource":"s3cret"}"#, "resource: "),
            (r#"{"user":{"key":"a"},"action":"r","resource":{}}"#, "missing field `type`"),
            (
                r#"{"user":{"key":"a"},"action":"r","resource":{"type":"t","tenant":7531}}"#,
                "resource.tenant: ",
            ),
            (
                r#"{"user":{"key":"a"},"action":"r","resource":{"type":"t"},"context":[7531]}"#,
                "context: ",
            ),
            (r#"{"user":{"key":"a"},"action":"r","resource":{"type":"t"}} x"#, "not valid JSON"),
        ] {
            let problem = refused(check(body));
            assert_eq!(problem.status, 422, "{body}: {problem}");
            assert!(problem.detail.contains(words), "{body}: {problem}");
            assert!(!problem.detail.contains("s3cret") && !problem.detail.contains("7531"));
        }
        let good = r#"{"user":{"key":"a"},"action":"r","resource":{"type":"t"}}"#;
        let problem = refused(checks(&format!(r#"[{good},{{"user":{{}}}}]"#)));
        assert!(problem.detail.starts_with("[1].user: missing field `key`"), "{problem}");
        assert_eq!(refused(checks(good)).status, 422);
        assert_eq!(refused(permissions(r#"{"user":{"key":"a"},"tenants":"t"}"#)).status, 422);
        assert_eq!(refused(users(r#"{"resource":{"type":"t"}}"#)).status, 422);
    }

    #[test]
    fn the_first_versions_form_is_told_so() {
        let old = r#"{"user":"alice","action":"read","resource":{"type":"document"}}"#;
        assert_eq!(refused(check(old)).status, 421);
        assert_eq!(refused(checks(&format!("[{old}]"))).status, 421);
        assert_eq!(refused(permissions(old)).status, 421);
    }

    #[tokio::test]
    async fn what_is_too_deep_too_large_or_no_text_is_refused() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        for (body, status) in [
            (deep.into_bytes(), 422),
            (vec![b' '; MAX_BODY_BYTES + 1], 413),
            (b"{\"user\":\"\xff\"}".to_vec(), 422),
        ] {
            assert_eq!(refused(text(Body::from(body)).await).status, status);
        }
    }
}
