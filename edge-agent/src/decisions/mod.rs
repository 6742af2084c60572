//! OPA's REST API for the embedded engine (`spec/opa-and-grants.md` part 1), so that what
//! talks to an OPA talks to the agent. Answers are OPA's to the byte where the engine's
//! values are; data and policies are read-only here, because they come through Girasol.
//!
//! Until the engine has its policies and data for the first time, requests wait. One with the
//! header `X-Girasol-At-Least: SEQ` waits until everything up to that update has taken effect
//! (`X-Girasol-Timeout`: for so many seconds at most), and is answered 503 with the lag if
//! that takes too long.
//!
//! Deciding can take seconds, so it has threads of its own: the ones that everything else
//! of the agent runs on are never blocked by a policy.
//!
//! What a request asks and what its answer looks like is in the crate `decision`; here are the
//! sockets and the threads.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
    routing::any,
};
use decision::{MAX_BODY_BYTES, Reply, Request, Style};
use protocol::Seq;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::engine::{RegorusEngine, regorus::DECIDERS};
use crate::local_api;
use crate::runtime::waiting::{Behind, Waiting};

/// Which update a decision must have seen.
pub(crate) const AT_LEAST: &str = "x-girasol-at-least";
/// For how many seconds to wait for it.
pub(crate) const TIMEOUT: &str = "x-girasol-timeout";

/// The routes; whoever binds the listener serves them.
pub(crate) fn router(engine: Arc<RegorusEngine>, waiting: Waiting) -> Router {
    Router::new()
        .route("/", any(data))
        .route("/health", any(health))
        .route("/v1/data", any(data))
        .route("/v1/data/", any(data))
        .route("/v1/data/{*path}", any(data))
        .route("/v0/data", any(data))
        .route("/v0/data/", any(data))
        .route("/v0/data/{*path}", any(data))
        .route("/v1/policies", any(not_here))
        .route("/v1/policies/{*id}", any(not_here))
        .route("/v1/query", any(not_here))
        .route("/v1/compile", any(not_here))
        .fallback(|| async { response(Reply::not_found()) })
        .with_state(Deciders::new(engine, waiting))
}

/// The engine, and the threads that may decide at the same time.
#[derive(Clone)]
struct Deciders {
    engine: Arc<RegorusEngine>,
    waiting: Waiting,
    free: Arc<Semaphore>,
}

impl Deciders {
    fn new(engine: Arc<RegorusEngine>, waiting: Waiting) -> Self {
        Self { engine, waiting, free: Arc::new(Semaphore::new(*DECIDERS)) }
    }

    /// Waits until the engine is as far as the request wants it.
    async fn far_enough(&self, headers: &HeaderMap) -> Result<(), Reply> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let refused = |name: &str, reason: &str| {
            Reply::invalid_parameter(&format!("header {name}: {reason}"))
        };
        let wanted = header(AT_LEAST)
            .map_or(Ok(Seq::ZERO), local_api::at_least)
            .map_err(|reason| refused(AT_LEAST, reason))?;
        let timeout =
            local_api::timeout(header(TIMEOUT)).map_err(|reason| refused(TIMEOUT, &reason))?;
        match self.waiting.at_least(wanted, timeout).await {
            Ok(_) => Ok(()),
            Err(behind) => Err(not_yet(&behind)),
        }
    }

    /// Runs `work` on a thread that may be blocked.
    async fn run(&self, work: impl FnOnce(&RegorusEngine) -> Reply + Send + 'static) -> Reply {
        // Fails only for a semaphore that was closed, which nobody does.
        let Ok(place) = Arc::clone(&self.free).acquire_owned().await else {
            return gave_up();
        };
        let engine = Arc::clone(&self.engine);
        let work = move || {
            // Kept by the work itself, which goes on when its client has gone away.
            let _place = place;
            work(&engine)
        };
        // It fails if it panicked, which the panic hook has reported, or if the agent ends.
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| gave_up())
    }
}

async fn health(method: Method) -> Response {
    response(match method {
        Method::GET | Method::HEAD => Reply::healthy(),
        _ => Reply::method_not_allowed(),
    })
}

/// What OPA has and the agent does not.
async fn not_here(method: Method) -> Response {
    response(match method {
        Method::PUT | Method::PATCH | Method::DELETE => Reply::written_through_girasol(),
        _ => {
            let message = "the agent's embedded engine does not serve this; ask /v1/data, or run \
                           the agent with --engine opa";
            Reply::refusal(501, "invalid_operation", message)
        }
    })
}

async fn data(
    State(deciders): State<Deciders>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(refused) = deciders.far_enough(&headers).await {
        return response(refused);
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return response(Reply::invalid_parameter("request body too large"));
    };
    let work = move |engine: &RegorusEngine| {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let request = Request {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            content_type: kind,
            body: &body,
        };
        decision::answer(request, |path, input| engine.decide(path, input))
    };
    response(deciders.run(work).await)
}

/// 500: deciding ended without a decision.
fn gave_up() -> Reply {
    let message = "the engine failed on this request; the agent's log says more";
    Reply::refusal(500, "internal_error", message)
}

/// 503: the engine is not as far as the request wants it.
fn not_yet(behind: &Behind) -> Reply {
    #[derive(Serialize)]
    struct Unavailable {
        code: &'static str,
        message: String,
        at: Option<Seq>,
        lag: u64,
    }
    let (message, at, lag) = (behind.to_string(), behind.progress.at, behind.lag);
    Reply::json(503, &Unavailable { code: "not_yet", message, at, lag }, Style::Pretty)
}

fn response(reply: Reply) -> Response {
    let Reply { status, content_type, location, body } = reply;
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    if let Some(kind) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // What was a URI's path and query is a header's value.
    if let Some(to) = location.and_then(|to| HeaderValue::try_from(to).ok()) {
        headers.insert(header::LOCATION, to);
    }
    response
}

#[cfg(test)]
mod tests;
