//! One exchange with the Durable Object of a scope.

use std::fmt::Display;

use protocol::Problem;
use protocol::internal::{CALL_PATH, HubAnswers, SCOPE_HEADER, hub_name};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use worker::js_sys::Uint8Array;
use worker::{Env, Method, Request, RequestInit, Response, console_error};

/// The Durable Object namespace's name in `wrangler.toml`.
const HUB_BINDING: &str = "HUB";
/// A Durable Object is asked by its stub; the host of the address means nothing.
const HUB_ORIGIN: &str = "http://hub";

/// There is no answer that can be read: the hub may have done what it was asked, or not. Why is
/// in the operator's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

/// Asks a scope's hub all that is in `asked`, each a `HubRequest` as JSON.
///
/// # Errors
/// The answer is lost.
pub(crate) async fn exchange(
    env: &Env,
    scope: &str,
    asked: &[Box<RawValue>],
) -> Result<HubAnswers, Lost> {
    let body = serde_json::to_vec(asked).map_err(lost)?;
    let mut init = RequestInit::new();
    // Bytes: the platform would turn a string into UTF-16 and back.
    init.with_method(Method::Post).with_body(Some(Uint8Array::from(&*body).into()));
    let request = request(CALL_PATH, &init).map_err(lost)?;
    decode(fetch(env, scope, request).await?).await
}

/// A request to a hub.
///
/// # Errors
/// Only what the platform refuses.
pub(crate) fn request(path: &str, init: &RequestInit) -> Result<Request, Problem> {
    Request::new_with_init(&format!("{HUB_ORIGIN}{path}"), init).map_err(platform)
}

/// Sends a request to a scope's hub.
///
/// # Errors
/// The answer is lost.
pub(crate) async fn fetch(env: &Env, scope: &str, mut request: Request) -> Result<Response, Lost> {
    let hub = env
        .durable_object(HUB_BINDING)
        .and_then(|namespace| namespace.get_by_name(&hub_name(scope)))
        .map_err(lost)?;
    request.headers_mut().and_then(|headers| headers.set(SCOPE_HEADER, scope)).map_err(lost)?;
    hub.fetch_with_request(request).await.map_err(lost)
}

/// Reads what a hub answered.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn decode(mut response: Response) -> Result<HubAnswers, Lost> {
    let body = response.bytes().await.map_err(lost)?;
    serde_json::from_slice(&body).map_err(lost)
}

/// Something for the hub as JSON.
///
/// # Errors
/// Only if memory for it cannot be had.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|error| Problem::internal(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
pub(crate) fn platform(error: worker::Error) -> Problem {
    Problem::internal(error.to_string())
}

fn lost(cause: impl Display) -> Lost {
    console_error!("the hub's answer was lost: {cause}");
    Lost
}
