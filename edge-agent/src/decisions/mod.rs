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
//! | question | file |
//! |---|---|
//! | Which document does a path name, which switches has a query? | `request.rs` |
//! | What does an answer look like? | `answer.rs` |

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Uri, header::CONTENT_TYPE},
    response::Response,
    routing::any,
};
use protocol::Seq;
use regorus::Value;
use tokio::sync::Semaphore;

use crate::engine::{RegorusEngine, regorus::DECIDERS};
use crate::local_api;
use crate::runtime::waiting::Waiting;

mod answer;
mod request;

use answer::{Answer, Style};

/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Which update a decision must have seen.
pub(crate) const AT_LEAST: &str = "x-girasol-at-least";
/// For how many seconds to wait for it.
pub(crate) const TIMEOUT: &str = "x-girasol-timeout";

/// The routes; whoever binds the listener serves them.
pub(crate) fn router(engine: Arc<RegorusEngine>, waiting: Waiting) -> Router {
    Router::new()
        .route("/health", any(health))
        .route("/v1/data", any(data))
        .route("/v1/data/", any(data))
        .route("/v1/data/{*path}", any(data))
        .route("/v1/policies", any(not_here))
        .route("/v1/policies/{*id}", any(not_here))
        .route("/v1/query", any(not_here))
        .route("/v1/compile", any(not_here))
        .fallback(|| async { answer::not_found() })
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
    async fn far_enough(&self, headers: &HeaderMap) -> Result<(), Response> {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let refused = |name: &str, reason: &str| {
            answer::invalid_parameter(&format!("header {name}: {reason}"))
        };
        let wanted = header(AT_LEAST)
            .map_or(Ok(Seq::ZERO), local_api::at_least)
            .map_err(|reason| refused(AT_LEAST, reason))?;
        let timeout =
            local_api::timeout(header(TIMEOUT)).map_err(|reason| refused(TIMEOUT, &reason))?;
        match self.waiting.at_least(wanted, timeout).await {
            Ok(_) => Ok(()),
            Err(behind) => Err(answer::behind(&behind)),
        }
    }

    /// Runs `work` on a thread that may be blocked.
    async fn run(
        &self,
        work: impl FnOnce(&RegorusEngine) -> Response + Send + 'static,
    ) -> Response {
        // Fails only for a semaphore that was closed, which nobody does.
        let Ok(place) = Arc::clone(&self.free).acquire_owned().await else {
            return answer::gave_up();
        };
        let engine = Arc::clone(&self.engine);
        let work = move || {
            // Kept by the work itself, which goes on when its client has gone away.
            let _place = place;
            work(&engine)
        };
        // It fails if it panicked, which the panic hook has reported, or if the agent ends.
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| answer::gave_up())
    }
}

async fn health(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => Answer::default().response(Style::Compact),
        _ => answer::method_not_allowed(),
    }
}

/// What OPA has and the agent does not.
async fn not_here(method: Method) -> Response {
    match method {
        Method::PUT | Method::PATCH | Method::DELETE => answer::written_through_girasol(),
        _ => answer::not_implemented(),
    }
}

async fn data(
    State(deciders): State<Deciders>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(redirect) = answer::redirect(&uri) {
        return redirect;
    }
    if let Err(refused) = deciders.far_enough(&headers).await {
        return refused;
    }
    let query = request::Query::parse(&uri);
    let style = if query.pretty { Style::Pretty } else { Style::Compact };
    let posted = match method {
        Method::GET => None,
        // Reading YAML takes time that grows with the square of its nesting.
        Method::POST if is_yaml(&headers) => {
            return answer::invalid_parameter("YAML is not taken; send JSON");
        }
        Method::POST => match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => Some(body),
            Err(_) => return answer::invalid_parameter("request body too large"),
        },
        Method::PUT | Method::PATCH | Method::DELETE => return answer::written_through_girasol(),
        _ => return answer::method_not_allowed(),
    };
    let work = move |engine: &RegorusEngine| {
        let input = match &posted {
            None => query.input.as_deref().map(request::parameter).transpose(),
            Some(body) => request::body(body),
        };
        match input {
            Ok(input) => decide(engine, &uri, input, posted.is_some()).response(style),
            Err(message) => answer::invalid_parameter(&message),
        }
    };
    deciders.run(work).await
}

fn decide(engine: &RegorusEngine, uri: &Uri, input: Option<Value>, warn: bool) -> Answer {
    let warning = warn && input.is_none();
    match request::path(uri).and_then(|path| engine.decide(&path, input)) {
        Ok(result) => Answer::decided(result, warning),
        Err(error) => Answer::failed(error),
    }
}

fn is_yaml(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.contains("yaml"))
}

#[cfg(test)]
mod tests;
