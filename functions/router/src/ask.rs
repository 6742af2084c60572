//! Asking the hub of a scope: one function a question, and what a caller hears if the
//! answer is lost.

use std::fmt::Display;

use protocol::internal::{
    CALL_PATH, HubAnswer, HubRequest, LogPage, Receipts, Revocation, SESSION_HEADER, SOCKET_PATH,
    Session, Wait, hub_name,
};
use protocol::{Claims, Problem, Seq, Update};
use publish::query::LogQuery;
use serde::Serialize;
use worker::js_sys::Uint8Array;
use worker::{Env, Method, Request, RequestInit, Response, console_error};

/// The Durable Object namespace's name in `wrangler.toml`.
const HUB_BINDING: &str = "HUB";
/// A Durable Object is asked by its stub; the host of the address means nothing.
const HUB_ORIGIN: &str = "http://hub";

/// Appends an update that has the id `id` to a scope's log, and waits for the agents as far as
/// the publisher does.
///
/// # Errors
/// What the hub refuses; 503 with the id if its answer is lost. The publisher may not know
/// an id that it did not choose, and another one would append the update twice.
pub(crate) async fn append(
    env: &Env,
    scope: &str,
    id: &str,
    update: Update,
    claims: Claims,
    wait: Option<Wait>,
) -> Result<(Seq, Option<Receipts>), Problem> {
    let again = format!("publish again with id `{id}`, which has one effect");
    let request = HubRequest::Append { update, claims, wait };
    match call(env, scope, &request, &again).await? {
        HubAnswer::Appended { seq, receipts } => Ok((seq, receipts)),
        other => Err(unexpected("an append", &other)),
    }
}

/// Reads a part of a scope's log, as much of it as the bearer may see.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn read_log(
    env: &Env,
    scope: &str,
    claims: Claims,
    LogQuery { after, topics }: LogQuery,
) -> Result<LogPage, Problem> {
    let request = HubRequest::Read { claims, topics, after };
    match call(env, scope, &request, "ask again").await? {
        HubAnswer::Log(page) => Ok(page),
        other => Err(unexpected("a read", &other)),
    }
}

/// Has a scope's hub refuse tokens from now on; returns how many sockets it closed.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn revoke(env: &Env, scope: &str, revocation: Revocation) -> Result<u32, Problem> {
    let request = HubRequest::Revoke(revocation);
    match call(env, scope, &request, "revoke again, which does no harm").await? {
        HubAnswer::Revoked { closed } => Ok(closed),
        other => Err(unexpected("a revocation", &other)),
    }
}

/// Checks that a bearer's token is not revoked.
///
/// # Errors
/// 401 if it is; 503 if the hub's answer is lost.
pub(crate) async fn check(env: &Env, scope: &str, claims: Claims) -> Result<(), Problem> {
    match call(env, scope, &HubRequest::Check(claims), "ask again").await? {
        HubAnswer::Good => Ok(()),
        other => Err(unexpected("a check", &other)),
    }
}

/// Opens a verified bearer's socket to the hub of its scope.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn open_socket(env: &Env, session: &Session) -> Result<Response, Problem> {
    let again = "connect again";
    let mut request = request(SOCKET_PATH, &RequestInit::new())?;
    let headers = request.headers_mut().map_err(platform)?;
    for (name, value) in [("Upgrade", "websocket"), (SESSION_HEADER, &encode(session)?)] {
        headers.set(name, value).map_err(platform)?;
    }
    let response = fetch(env, &session.scope, request, again).await?;
    if response.status_code() == 101 {
        return Ok(response);
    }
    Err(unexpected("an upgrade", &decode(response, again).await?))
}

/// Asks a scope's hub; `again` is what the caller is told to do if the answer is lost.
async fn call(
    env: &Env,
    scope: &str,
    asked: &HubRequest,
    again: &str,
) -> Result<HubAnswer, Problem> {
    // Bytes: the platform would turn a string into UTF-16 and back.
    let body = Uint8Array::from(encode(asked)?.as_bytes());
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(body.into()));
    decode(fetch(env, scope, request(CALL_PATH, &init)?, again).await?, again).await
}

fn request(path: &str, init: &RequestInit) -> Result<Request, Problem> {
    Request::new_with_init(&format!("{HUB_ORIGIN}{path}"), init).map_err(platform)
}

async fn fetch(env: &Env, scope: &str, request: Request, again: &str) -> Result<Response, Problem> {
    let hub = env
        .durable_object(HUB_BINDING)
        .and_then(|namespace| namespace.get_by_name(&hub_name(scope)))
        .map_err(platform)?;
    hub.fetch_with_request(request).await.map_err(|error| lost(error, again))
}

async fn decode(mut response: Response, again: &str) -> Result<HubAnswer, Problem> {
    let body = response.bytes().await.map_err(|error| lost(error, again))?;
    serde_json::from_slice::<Result<HubAnswer, Problem>>(&body)
        .map_err(|error| lost(error, again))?
}

fn unexpected(asked: &str, answer: &HubAnswer) -> Problem {
    Problem::internal(format!("the hub answered {asked} with {answer:?}"))
}

/// The hub may have done what it was asked, or not.
fn lost(cause: impl Display, again: &str) -> Problem {
    console_error!("the hub's answer was lost: {cause}");
    Problem::unavailable(format!("the hub did not answer; {again}"))
}

fn encode<T: Serialize>(value: &T) -> Result<String, Problem> {
    serde_json::to_string(value).map_err(|error| Problem::internal(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn platform(error: worker::Error) -> Problem {
    Problem::internal(error.to_string())
}
