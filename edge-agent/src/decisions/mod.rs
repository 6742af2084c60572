//! OPA's REST API for the embedded engine (`spec/opa-and-grants.md` part 1), so that what
//! talks to an OPA talks to the agent. Answers are OPA's to the byte where the engine's
//! values are; data and policies are read-only here, because they come through Girasol.
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
use regorus::Value;

use crate::engine::RegorusEngine;

mod answer;
mod request;

use answer::{Answer, Style};

/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 << 20;

/// The routes; whoever binds the listener serves them.
pub fn router(engine: Arc<RegorusEngine>) -> Router {
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
        .with_state(engine)
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
    State(engine): State<Arc<RegorusEngine>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(redirect) = answer::redirect(&uri) {
        return redirect;
    }
    let query = request::Query::parse(&uri);
    let style = if query.pretty { Style::Pretty } else { Style::Compact };
    let input = match method {
        Method::GET => query.input.as_deref().map(request::parameter).transpose(),
        Method::POST => match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(body) => request::body(&body, is_yaml(&headers)),
            Err(_) => Err("request body too large".to_owned()),
        },
        Method::PUT | Method::PATCH | Method::DELETE => return answer::written_through_girasol(),
        _ => return answer::method_not_allowed(),
    };
    match input {
        Ok(input) => decide(&engine, &uri, input, method == Method::POST).response(style),
        Err(message) => answer::invalid_parameter(&message),
    }
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
