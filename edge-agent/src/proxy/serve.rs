//! What becomes of a request: it is looked at, decided upon, rewritten, handed on; and so is its
//! answer.
//!
//! The engine is asked with `input`: `method`, `path` (segments, decoded), `raw_path`, `query`,
//! `headers` (lower-case names; exactly those that the application gets, each once: several are joined
//! with a comma), `source` (the address that asked), and `body` for requests whose body is rewritten,
//! as it came: so a decision can be about the value that the application does not get. Such a request
//! has no `Content-Length` there, since it becomes another one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use grants::front::{Admission, admit};
use protocol::plane::grants::Token;
use serde_json::{Map, Value, json};

use super::config::{Replaced, Route};
use super::decide::{Decider, Decision};
use super::forward::Upstream;
use super::pointer::Pointer;
use super::vault::{Standing, Undone, Vault, is_fact};

/// Facts that are asked for at the same time, for one body.
const AT_ONCE: usize = 16;
/// Facts in one body.
const MAX_FACTS: usize = 1_000;

/// What the proxy works with.
pub(super) struct Proxy {
    pub(super) decider: Decider,
    pub(super) upstream: Upstream,
    pub(super) vault: Arc<Vault>,
    pub(super) standing: Arc<Standing>,
    pub(super) routes: Vec<Route>,
    pub(super) max_body_bytes: usize,
    /// For a body that is taken apart to be there.
    pub(super) body_timeout: Duration,
}

/// A value that is to become a fact.
struct Job {
    /// Which of the places it is at, and which of the values there.
    at: (usize, usize),
    fact_type: String,
    scope: Option<String>,
    /// The place, as it is written.
    place: String,
    text: String,
}

/// The routes: all paths are the application's.
pub(super) fn router(proxy: Proxy) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(proxy))
}

/// How the proxy is.
pub(super) async fn health(standing: Arc<Standing>) -> Response<Body> {
    match standing.problem() {
        None => answer(200, &json!({ "status": "ok" })),
        Some(problem) => answer(503, &json!({ "status": "unavailable", "problems": [problem] })),
    }
}

async fn serve(
    State(proxy): State<Arc<Proxy>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    match proxy.serve(peer, request).await {
        Ok(response) => response,
        Err(Undone { status, message }) => answer(status, &json!({ "message": message })),
    }
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, Json(body)).into_response()
}

fn undone(status: u16, message: impl Into<String>) -> Undone {
    Undone { status, message: message.into() }
}

impl Proxy {
    async fn serve(&self, peer: SocketAddr, request: Request) -> Result<Response<Body>, Undone> {
        if let Some(problem) = self.standing.problem() {
            return Err(undone(503, problem));
        }
        let (mut parts, body) = request.into_parts();
        if parts.headers.contains_key(header::UPGRADE) {
            return Err(undone(501, "the proxy hands on requests, and no upgraded connections"));
        }
        let path = plain_path(&parts)?;
        self.upstream.settle(&mut parts, peer)?;
        let method = parts.method.as_str().to_owned();
        let routes = || self.routes.iter().filter(|route| route.is_about(&method, &path));
        let is_rewritten = routes().any(|route| !route.request.is_empty());
        let is_restored = routes().any(|route| !route.response.is_empty());

        let (body, document) = if is_rewritten {
            let document = self.document(&parts, body).await?;
            parts.headers.remove(header::CONTENT_LENGTH);
            (Body::empty(), document)
        } else {
            (body, None)
        };
        if is_restored {
            // What is compressed cannot be read here.
            let plain = HeaderValue::from_static("identity");
            parts.headers.insert(header::ACCEPT_ENCODING, plain);
        }
        match self.decider.ask(input(&parts, &path, peer, document.as_ref())).await {
            Decision::Allowed => {}
            Decision::Denied => return Err(undone(403, "the policy does not allow it")),
            Decision::Nobody(reason) => {
                tracing::warn!(%reason, "nobody could decide, so nothing passes");
                return Err(undone(503, "nobody could decide whether this may pass"));
            }
        }
        let body = match document {
            Some(mut document) => {
                let places = routes().flat_map(|route| &route.request);
                self.replace(places, &mut document).await?;
                Body::from(document.to_string())
            }
            None => body,
        };
        // A body may have taken its time.
        if let Some(problem) = self.standing.problem() {
            return Err(undone(503, problem));
        }
        let response = self.upstream.send(Request::from_parts(parts, body)).await?;
        if is_restored && is_json(response.headers()) {
            return self.restore(routes(), response).await;
        }
        Ok(response)
    }

    /// The body of a request that is rewritten; none if it has none.
    async fn document(&self, parts: &Parts, body: Body) -> Result<Option<Value>, Undone> {
        let body = self.collect(body).await?;
        if body.is_empty() {
            return Ok(None);
        }
        let is_encoded = parts.headers.get(header::CONTENT_ENCODING);
        if is_encoded.is_some_and(|it| it != "identity") || !is_json(&parts.headers) {
            return Err(undone(415, "send JSON here, as application/json and not compressed"));
        }
        let read = serde_json::from_slice(&body);
        read.map(Some).map_err(|_| undone(400, "the body is not valid JSON"))
    }

    async fn collect(&self, body: Body) -> Result<Bytes, Undone> {
        let limit = self.max_body_bytes;
        let message = || format!("the body broke off, or has more than {limit} bytes");
        let collected = tokio::time::timeout(self.body_timeout, axum::body::to_bytes(body, limit));
        let Ok(collected) = collected.await else {
            let seconds = self.body_timeout.as_secs();
            let message = format!("the body was not there within {seconds} s: send it faster");
            return Err(undone(408, message));
        };
        collected.map_err(|_| undone(413, message()))
    }

    /// Puts ids in the place of values. Nothing is kept unless all of them are texts.
    async fn replace(
        &self,
        places: impl Iterator<Item = &Replaced>,
        document: &mut Value,
    ) -> Result<(), Undone> {
        let places: Vec<&Replaced> = places.collect();
        let mut jobs = vec![];
        for (at, replaced) in places.iter().enumerate() {
            let scope = replaced.scope.as_ref().and_then(|pointer| pointer.get(document));
            let scope = scope.and_then(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
            for (which, value) in replaced.pointer.find(document).into_iter().enumerate() {
                match value {
                    Value::Null => {}
                    // Elsewhere one of a client's own choice would be shown to him as its value.
                    Value::String(text) if replaced.accept_ids && is_fact(text) => {}
                    Value::String(text) => jobs.push(Job {
                        at: (at, which),
                        fact_type: replaced.fact_type.clone(),
                        scope: scope.clone(),
                        place: replaced.pointer.text().to_owned(),
                        text: text.clone(),
                    }),
                    _ => {
                        let place = replaced.pointer.text();
                        return Err(undone(422, format!("{place}: give a text")));
                    }
                }
            }
        }
        if jobs.len() > MAX_FACTS {
            return Err(undone(413, format!("more than {MAX_FACTS} values in one body")));
        }
        let kept = stream::iter(jobs).map(|job| async move {
            let of = (job.fact_type.as_str(), job.scope.as_deref());
            let id = self.vault.keep(of, &job.text, &job.place).await?;
            Ok::<_, Undone>((job.at, job.text, id))
        });
        let kept: Vec<_> = kept.buffered(AT_ONCE).try_collect().await?;
        for ((at, which), text, id) in kept {
            let found = places.get(at).map(|replaced| replaced.pointer.find(document));
            let value = found.and_then(|found| found.into_iter().nth(which));
            // Two places may be the same: it has the first one's id then.
            if let Some(value) = value.filter(|value| value.as_str() == Some(text.as_str())) {
                *value = Value::String(id);
            }
        }
        Ok(())
    }

    /// Puts values in the place of ids; an id whose value cannot be had stays.
    async fn restore<'r>(
        &self,
        routes: impl Iterator<Item = &'r Route>,
        response: Response<Body>,
    ) -> Result<Response<Body>, Undone> {
        let (mut parts, body) = response.into_parts();
        let collected = axum::body::to_bytes(body, self.max_body_bytes);
        let Ok(collected) = tokio::time::timeout(self.body_timeout, collected).await else {
            return Err(undone(504, "the application's answer does not come to an end"));
        };
        let body = collected.map_err(|_| {
            undone(502, "the application's answer broke off, or is larger than max_body_bytes")
        })?;
        let Ok(mut document) = serde_json::from_slice::<Value>(&body) else {
            // Not what it says it is: it is the application's business.
            return Ok(Response::from_parts(parts, Body::from(body)));
        };
        let pointers: Vec<&Pointer> = routes.flat_map(|route| &route.response).collect();
        let mut ids = BTreeSet::new();
        for pointer in &pointers {
            let found = pointer.find(&mut document).into_iter();
            ids.extend(
                found.filter_map(|it| it.as_str().filter(|it| is_fact(it)).map(str::to_owned)),
            );
        }
        let values = stream::iter(ids.into_iter().take(MAX_FACTS)).map(|id| async move {
            let value = self.vault.value(&id).await?;
            Some((id, value))
        });
        let values: BTreeMap<String, String> =
            values.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        for pointer in pointers {
            for value in pointer.find(&mut document) {
                if let Some(known) = value.as_str().and_then(|id| values.get(id)) {
                    *value = Value::String(known.clone());
                }
            }
        }
        let text = document.to_string();
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        // It is of what the application sent.
        parts.headers.remove(header::ETAG);
        Ok(Response::from_parts(parts, Body::from(text)))
    }
}

/// The path as engine and routes see it. One that the application could read in another way is
/// refused, as the data plane does.
fn plain_path(parts: &Parts) -> Result<String, Undone> {
    // Any token will do: what is looked at is the path.
    let token = Token::write("proxy", "path");
    match admit(parts.method.as_str(), parts.uri.path(), Some(&token)) {
        Ok(Admission::Ask(question)) => Ok(question.path),
        Ok(Admission::Health) => Ok(parts.uri.path().trim_end_matches('/').to_owned()),
        Err(refusal) => Err(undone(refusal.status, refusal.detail.unwrap_or(refusal.message))),
    }
}

/// What the engine is told.
fn input(parts: &Parts, path: &str, peer: SocketAddr, body: Option<&Value>) -> Value {
    let mut headers = Map::new();
    // They are settled: each comes once, and is a text.
    for (name, value) in &parts.headers {
        if let Ok(value) = value.to_str() {
            headers.insert(name.as_str().to_owned(), Value::from(value));
        }
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut input = json!({
        "method": parts.method.as_str(),
        "path": segments,
        "raw_path": parts.uri.path(),
        "query": parts.uri.query().unwrap_or_default(),
        "headers": headers,
        "source": peer.ip().to_canonical().to_string(),
    });
    if let (Some(body), Some(members)) = (body, input.as_object_mut()) {
        members.insert("body".to_owned(), body.clone());
    }
    input
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}
