//! Who may make a request: `data.system.authz.allow` (`spec/opa-and-grants.md` §1.9). There is no
//! way past it: what is undefined, fails or is not understood is refused.

use regorus::Value;
use serde_json::{Map, Value as Json, json, value::RawValue};

use crate::{Decides, Query, Reply, Request, reply, request};

/// The rule that is asked.
pub const RULE: [&str; 3] = ["system", "authz", "allow"];

/// Where a `POST` has a body that the rule is shown.
const WITH_BODY: &[&str] = &["/v1/data", "/v0/data", "/v1/query", "/v1/compile"];
/// Where an escaped slash separates, as it does for who is asked there.
const DECODED: &[&str] = &["/v1/policies/", "/v1/compile/"];

/// Who asks: the token of `Authorization: Bearer TOKEN`, in just this spelling.
#[must_use]
pub fn identity(authorization: &str) -> Option<&str> {
    let rest = authorization.strip_prefix("Bearer")?;
    let token = rest.trim_start_matches([' ', '\t']);
    let is_one = token.len() < rest.len() && !token.is_empty();
    (is_one && !token.contains(char::is_whitespace)).then_some(token)
}

/// Lets a request pass, or says what it is answered.
///
/// # Errors
/// 401 if the policy refuses it, 400 if its body is no JSON, 500 if there is no such policy, or
/// none that decides.
pub fn check<'h>(
    request: &Request<'_>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    identity: Option<&str>,
    by: &impl Decides,
) -> Result<(), Reply> {
    // OPA says these two before it asks anybody.
    if request.method == "HEAD" {
        return Err(Reply::method_not_allowed());
    }
    if request.path != "/"
        && let Some(clean) = request.path.strip_suffix('/')
    {
        return Err(reply::moved(request.method, 301, clean.to_owned()));
    }
    let input = input(request, headers, identity)?;
    let path = RULE.map(str::to_owned);
    match by.decide(&path, Some(input)).map_err(|error| Reply::failed(&error))? {
        None => Err(internal("authorization policy missing or undefined")),
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Object(answer)) => match answer.get(&Value::from("allowed")) {
            Some(Value::Bool(true)) => Ok(()),
            Some(_) => match answer.get(&Value::from("reason")) {
                Some(Value::String(reason)) => Err(unauthorized(reason)),
                _ => Err(unauthorized(REJECTED)),
            },
            None => Err(internal("authorization policy missing or undefined")),
        },
        Some(_) => Err(unauthorized(REJECTED)),
    }
}

const REJECTED: &str = "request rejected by administrative policy";

fn unauthorized(reason: &str) -> Reply {
    Reply::refusal(401, "unauthorized", reason)
}

fn internal(message: &str) -> Reply {
    Reply::refusal(500, "internal_error", message)
}

/// What the rule is asked with.
fn input<'h>(
    request: &Request<'_>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    identity: Option<&str>,
) -> Result<Value, Reply> {
    let invalid = |message: &str| Reply::invalid_parameter(message);
    let mut shown: Map<String, Json> = Map::new();
    for (name, value) in headers {
        let values = shown.entry(canonical(name)).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(Json::from(value));
        }
    }
    let path = path(request.path).ok_or_else(|| invalid("the path is no text"))?;
    let mut input = json!({
        "path": path,
        "method": request.method,
        "params": Query::parse(request.query).parameters(),
        "headers": shown,
    });
    if let (Some(input), Some(identity)) = (input.as_object_mut(), identity) {
        input.insert("identity".to_owned(), Json::from(identity));
    }
    let mut input =
        Value::from_json_str(&input.to_string()).map_err(|error| invalid(&error.to_string()))?;
    let below = |root: &str| {
        request.path.strip_prefix(root).is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    let has_body = request.method == "POST"
        && (request.path == "/" || WITH_BODY.iter().any(|root| below(root)));
    if has_body && !request.body.is_empty() {
        let body: &RawValue =
            serde_json::from_slice(request.body).map_err(|it| invalid(&request::reason(&it)))?;
        let body = Value::from_json_str(body.get()).map_err(|it| invalid(&it.to_string()))?;
        if let Ok(input) = input.as_object_mut() {
            input.insert(Value::from("body"), body);
        }
    }
    Ok(input)
}

/// The segments of a path as who serves it takes them; an empty one stays.
fn path(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let decoded = request::decoded_segment;
    if DECODED.iter().any(|root| path.starts_with(root.trim_start_matches('/'))) {
        return Some(decoded(path)?.split('/').map(str::to_owned).collect());
    }
    path.split('/').map(decoded).collect()
}

/// A header's name as Go writes it.
fn canonical(name: &str) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(letters.map(|it| it.to_ascii_lowercase())).collect::<String>()
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}
