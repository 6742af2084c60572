//! Asking the hub of a scope: one function a question, and what a caller hears if the
//! answer is lost.

use std::fmt::Display;

use protocol::internal::{
    CALL_PATH, HubAnswer, HubRequest, SESSION_HEADER, SOCKET_PATH, Session, hub_name,
};
use protocol::{Problem, Seq, Update};
use serde::Serialize;
use wasm_bindgen::JsValue;
use worker::{Env, Method, Request, RequestInit, Response, console_error};

/// The Durable Object namespace's name in `wrangler.toml`.
const HUB_BINDING: &str = "HUB";
/// A Durable Object is asked by its stub; the host of the address means nothing.
const HUB_ORIGIN: &str = "http://hub";

/// Appends an update that has the id `id` to a scope's log.
///
/// # Errors
/// What the hub refuses; 503 with the id if its answer is lost. The publisher may not know
/// an id that it did not choose, and another one would append the update twice.
pub(crate) async fn append(
    env: &Env,
    scope: &str,
    id: &str,
    update: Update,
) -> Result<Seq, Problem> {
    let again = format!("publish again with id `{id}`, which has one effect");
    let body = encode(&HubRequest::Append(update))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(JsValue::from(body)));
    let request = request(CALL_PATH, &init)?;
    let HubAnswer::Appended { seq } =
        decode(fetch(env, scope, request, &again).await?, &again).await?;
    Ok(seq)
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
    let answer = decode(response, again).await?;
    Err(Problem::internal(format!("the hub answered an upgrade with {answer:?}")))
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
