//! What is written into this process alone, with OPA's answers (`spec/opa-and-grants.md` §1.4,
//! §1.5).

use std::time::Instant;

use decision::{Query, Reply, Request, policy_id, request};
use regorus::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::engine::RegorusEngine;
use crate::engine::regorus::{Change, LocalError};

/// Carries out a `PUT`, `PATCH` or `DELETE` of data or of a policy.
pub(super) fn write(engine: &RegorusEngine, asked: &Request<'_>) -> Reply {
    let began = Instant::now();
    let is_policy = asked.path.starts_with("/v1/policies/");
    let done = match (is_policy, asked.method) {
        (true, "PUT") => put_policy(engine, asked),
        (true, _) => policy(asked).and_then(|id| refused(engine.delete_local_policy(&id))),
        (false, "PUT") => put(engine, asked),
        (false, "PATCH") => patch(engine, asked),
        (false, _) => path(asked).and_then(|path| refused(engine.delete_local(&path))),
    };
    if let Err(refused) = done {
        return refused;
    }
    let query = Query::parse(asked.query);
    if query.metrics() {
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let style = if is_policy { query.style() } else { decision::Style::Compact };
        let metrics = serde_json::json!({"metrics": {"timer_server_handler_ns": took}});
        return Reply::json(200, &metrics, style);
    }
    match is_policy {
        true => Reply::healthy(),
        false => Reply::empty(204),
    }
}

fn put(engine: &RegorusEngine, asked: &Request<'_>) -> Result<(), Reply> {
    let value =
        request::document(asked.body).map_err(|reason| Reply::invalid_parameter(&reason))?;
    let path = path(asked)?;
    refused(engine.put_local(&path, value, asked.if_none_match == Some("*")))
}

/// An operation as it is written. What it has besides means nothing.
#[derive(Deserialize)]
struct Operation<'b> {
    #[serde(default)]
    op: String,
    #[serde(default)]
    path: String,
    #[serde(borrow, default)]
    value: Option<&'b RawValue>,
}

fn patch(engine: &RegorusEngine, asked: &Request<'_>) -> Result<(), Reply> {
    let invalid = |reason: &str| Reply::invalid_parameter(reason);
    let text = request::first_value(asked.body).map_err(|reason| invalid(&reason))?;
    let operations: Vec<Operation<'_>> = serde_json::from_str(text)
        .map_err(|error| invalid(&format!("not a list of JSON Patch operations: {error}")))?;
    let root = path(asked)?;
    let changes = operations.into_iter().map(|operation| change(&root, &operation));
    let changes = changes.collect::<Result<_, String>>().map_err(|reason| invalid(&reason))?;
    refused(engine.patch_local(changes))
}

/// OPA's three operations, at the place in the whole document.
fn change(root: &[String], operation: &Operation<'_>) -> Result<Change, String> {
    let Operation { op, path, value } = operation;
    let pointer = path.trim_matches('/');
    let below = request::decoded(pointer).ok_or_else(|| format!("bad patch path: {path}"))?;
    // RFC 6901 §4.
    let below = below.into_iter().map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    let path: Vec<String> = root.iter().cloned().chain(below).collect();
    let value = || value.map_or(Ok(Value::Null), |it| Value::from_json_str(it.get()));
    let value = || value().map_err(|error| error.to_string());
    match op.as_str() {
        "add" => Ok(Change::Add(path, value()?)),
        "remove" => Ok(Change::Remove(path)),
        "replace" => Ok(Change::Replace(path, value()?)),
        other => Err(format!("bad patch operation: {other}")),
    }
}

fn put_policy(engine: &RegorusEngine, asked: &Request<'_>) -> Result<(), Reply> {
    let id = policy(asked)?;
    let text = std::str::from_utf8(asked.body)
        .map_err(|_| Reply::invalid_parameter("a policy is text in UTF-8"))?;
    if text.trim().is_empty() {
        let message = format!("{id}:0: rego_parse_error: empty module");
        return Err(Reply::invalid_parameter(&message));
    }
    refused(engine.put_local_policy(&id, text))
}

fn policy(asked: &Request<'_>) -> Result<String, Reply> {
    policy_id(asked.path).ok_or_else(|| Reply::invalid_parameter("the policy's id is no text"))
}

fn path(asked: &Request<'_>) -> Result<Vec<String>, Reply> {
    request::segments(asked.path)
        .map_err(|_| Reply::invalid_parameter(&format!("bad path: {}", asked.path)))
}

fn refused(done: Result<(), LocalError>) -> Result<(), Reply> {
    done.map_err(|error| match error {
        LocalError::Exists => Reply::empty(304),
        LocalError::Owned(words) | LocalError::Invalid(words) => Reply::invalid_parameter(&words),
        LocalError::Conflict(words) => Reply::refusal(404, "resource_conflict", &words),
        LocalError::Missing(what) => Reply::not_there(&what),
        LocalError::Unreadable(mistakes) => Reply::uncompiled("invalid_parameter", &mistakes, true),
        LocalError::Uncompiled(mistakes) => {
            Reply::uncompiled("invalid_parameter", &mistakes, false)
        }
        LocalError::Needed(mistakes) => Reply::uncompiled("invalid_operation", &mistakes, false),
    })
}
