//! What becomes of a request to the agent's data plane.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use grants::front::{Admission, admit};
use protocol::Seq;
use protocol::plane::audits::{Audit, Plane};
use protocol::plane::facts::{Fact, place};
use protocol::plane::{HEADER, Question, Refusal};
use serde_json::json;

use super::forward::{Functions, whole};
use super::{Audits, BEHIND, Book};
use crate::clock::now;
use crate::engine::Engine;
use crate::local_api::{patience, wanted};
use crate::runtime::waiting::Waiting;

/// Bytes of a request's body: the functions take no more.
const MAX_BODY_BYTES: usize = 256 << 10;
/// For how long the answer to a write is held until this agent has it.
const HOLD: Duration = Duration::from_secs(2);
/// Where facts are.
const FACTS: &str = "/api/v1/facts/";
/// Where proxies are.
const PROXIES: &str = "/api/v1/proxies/";

/// What the data plane works with.
pub(crate) struct DataPlane {
    pub(crate) book: Arc<Book>,
    pub(crate) audits: Arc<Audits>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) functions: Functions,
    pub(crate) waiting: Waiting,
}

/// The routes: all paths are looked at in one way.
pub(crate) fn router(plane: DataPlane) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(plane))
}

async fn serve(State(plane): State<Arc<DataPlane>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        // A browser asks whether it may ask: the functions know from where it may, and nothing is
        // done.
        let answer = plane.functions.ask(parts.method, &parts.uri, &parts.headers, Bytes::new());
        return answer.await.map_or_else(|refusal| refuse(&refusal), whole);
    }
    let token = parts.headers.get(HEADER).map(|value| value.to_str().unwrap_or_default());
    let question = match admit(parts.method.as_str(), path, token) {
        Ok(Admission::Health) => return Json(json!({ "status": "OK" })).into_response(),
        Ok(Admission::Ask(question)) => question,
        Err(refusal) => return refuse(&refusal),
    };
    let domain = question.domain.clone();
    let is_look = parts.method == Method::GET && question.path.starts_with(PROXIES);
    let outcome = plane.answer(question, &parts, body).await;
    let response = outcome.unwrap_or_else(|refusal| refuse(&refusal));
    if is_look && response.status() == StatusCode::OK {
        // Several a second from each proxy: they would push everything else out.
        return response;
    }
    plane.audits.add(Audit {
        created_at: now(),
        plane: Plane::Data,
        domain,
        http_path: path.chars().take(512).collect(),
        http_method: parts.method.to_string(),
        sent_http_status: response.status().as_u16(),
    });
    response
}

impl DataPlane {
    async fn answer(
        &self,
        question: Question,
        parts: &axum::http::request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal> {
        // Asked first: one that catches up between the two says that it has not, and is asked again.
        let is_behind = self.book.is_behind();
        if let Err(refusal) = self.book.check(now(), &question) {
            let mut response = refuse(&refusal);
            if is_behind {
                response.headers_mut().insert(BEHIND, HeaderValue::from_static("true"));
            }
            return Ok(response);
        }
        self.far_enough(&parts.headers).await?;
        if parts.method == Method::GET
            && let Some(id) = question.path.strip_prefix(FACTS)
            && let Some(fact) = self.fact(&question.domain, id).await
        {
            return Ok(fact);
        }
        if parts.method == Method::GET
            && let Some(name) = question.path.strip_prefix(PROXIES)
            && !name.contains('/')
        {
            // A proxy that asks, again and again, whether it still may be there: it may.
            return Ok(Json(json!({ "name": name })).into_response());
        }
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
            let detail = format!("it broke off, or has more than {MAX_BODY_BYTES} bytes");
            Refusal::new(413, "the body cannot be taken", detail)
        })?;
        let (method, uri, headers) = (parts.method.clone(), &parts.uri, &parts.headers);
        let is_write = !matches!(method, Method::GET | Method::HEAD);
        let answer = self.functions.ask(method, uri, headers, body).await?;
        if is_write && answer.status().is_success() {
            self.read_your_write(answer.body()).await;
        }
        Ok(whole(answer))
    }

    /// Waits until this agent is as far as the request wants it, as for a decision.
    async fn far_enough(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(wanted) = wanted(headers).map_err(Refusal::validation)? else { return Ok(()) };
        let patience = patience(headers).map_err(Refusal::validation)?;
        let reached = self.waiting.at_least(wanted, patience).await;
        reached.map(drop).map_err(|behind| Refusal::new(503, "not yet", behind.to_string()))
    }

    /// A fact that is in the engine's data; none if it is not, or cannot be read.
    async fn fact(&self, domain: &str, id: &str) -> Option<Response<Body>> {
        if id.is_empty() || id.contains('/') {
            return None;
        }
        let found = self.engine.read(&place(domain, id)).await.ok().flatten()?;
        // Whatever else is at this place is no fact of the log.
        let fact: Fact = serde_json::from_str(found.get()).ok()?;
        let is_it = fact.id == id && fact.domain == domain && fact.value.is_some();
        let kind = [(header::CONTENT_TYPE, "application/json")];
        is_it.then(|| (kind, found.get().to_owned()).into_response())
    }

    /// Waits until what a write made is at this agent, so that who wrote reads it here. One that
    /// does not get there in time is answered all the same: it is in the log.
    async fn read_your_write(&self, body: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Written {
            seq: Seq,
        }
        if let Ok(Written { seq }) = serde_json::from_slice(body) {
            let _ = self.waiting.at_least(seq, HOLD).await;
        }
    }
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, Json(refusal.body())).into_response()
}
