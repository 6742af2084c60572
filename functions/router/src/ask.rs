//! Asking the hub of a scope: one function a question, and what a caller hears if the
//! answer is lost.

use std::fmt::Display;

use protocol::internal::{
    HubAnswer, HubRequest, LogPage, Receipts, Revocation, SESSION_HEADER, SOCKET_PATH, Session,
    Wait,
};
use protocol::{Claims, Problem, Seq, Update};
use publish::query::LogQuery;
use worker::{Env, RequestInit, Response};

use crate::exchange::{self, Lost, encode, exchange, platform};
use crate::together::{self, Caller};

/// Appends an update that has the id `id` to a scope's log, and waits for the agents as far as
/// the publisher does. Updates of those who do not wait travel together.
///
/// # Errors
/// What the hub refuses; 503 with the id if its answer is lost. The publisher may not know
/// an id that it did not choose, and another one would append the update twice.
pub(crate) async fn append(
    caller: Caller<'_>,
    scope: &str,
    id: &str,
    update: Update,
    claims: Claims,
    wait: Option<Wait>,
) -> Result<(Seq, Option<Receipts>), Problem> {
    let again = || format!("publish again with id `{id}`, which has one effect");
    let waits = wait.is_some();
    let request = HubRequest::Append { update, claims, wait };
    let answer = if waits {
        call(caller.env, scope, &request, again).await?
    } else {
        together::ask(caller, scope, encode(&request)?).await.map_err(|_| lost(again()))??
    };
    match answer {
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
    match call(env, scope, &request, || "ask again").await? {
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
    match call(env, scope, &request, || "revoke again, which does no harm").await? {
        HubAnswer::Revoked { closed } => Ok(closed),
        other => Err(unexpected("a revocation", &other)),
    }
}

/// Checks that a bearer's token is not revoked.
///
/// # Errors
/// 401 if it is; 503 if the hub's answer is lost.
pub(crate) async fn check(env: &Env, scope: &str, claims: Claims) -> Result<(), Problem> {
    match call(env, scope, &HubRequest::Check(claims), || "ask again").await? {
        HubAnswer::Good => Ok(()),
        other => Err(unexpected("a check", &other)),
    }
}

/// Opens a verified bearer's socket to the hub of its scope.
///
/// # Errors
/// What the hub refuses; 503 if its answer is lost.
pub(crate) async fn open_socket(env: &Env, session: &Session) -> Result<Response, Problem> {
    let connect_again = |_: Lost| lost("connect again");
    let mut request = exchange::request(SOCKET_PATH, &RequestInit::new())?;
    let headers = request.headers_mut().map_err(platform)?;
    for (name, value) in [("Upgrade", "websocket"), (SESSION_HEADER, encode(session)?.get())] {
        headers.set(name, value).map_err(platform)?;
    }
    let response = exchange::fetch(env, &session.scope, request).await.map_err(connect_again)?;
    if response.status_code() == 101 {
        return Ok(response);
    }
    let refused = exchange::decode(response).await.map_err(connect_again)??;
    Err(Problem::internal(format!("the hub answered an upgrade with {refused:?}")))
}

/// Asks a scope's hub; `again` is what the caller is told to do if the answer is lost.
async fn call<T: Display>(
    env: &Env,
    scope: &str,
    asked: &HubRequest,
    again: impl FnOnce() -> T,
) -> Result<HubAnswer, Problem> {
    let answers = exchange(env, scope, &[encode(asked)?]).await;
    answers
        .map_err(|_| lost(again()))??
        .pop()
        .unwrap_or_else(|| Err(Problem::internal("the hub answered nothing")))
}

fn unexpected(asked: &str, answer: &HubAnswer) -> Problem {
    Problem::internal(format!("the hub answered {asked} with {answer:?}"))
}

/// The hub may have done what it was asked, or not.
fn lost(again: impl Display) -> Problem {
    Problem::unavailable(format!("the hub did not answer; {again}"))
}
