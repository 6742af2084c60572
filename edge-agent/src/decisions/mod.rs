//! OPA's REST API for the embedded engine (`spec/opa-and-grants.md` part 1), so that what
//! talks to an OPA talks to the agent. What a request asks and what its answer looks like is in the
//! crate `decision`; here are the sockets, the threads, and what may be written.
//!
//! Until the engine has its policies and data for the first time, requests wait. One with the
//! header `X-Girasol-At-Least: SEQ` waits until everything up to that update has taken effect
//! (`X-Girasol-Timeout`: for so many seconds at most), and is answered 503 with the lag if
//! that takes too long. Each answer says in `X-Girasol-Seq` what had taken effect before, and in
//! `X-Girasol-Age` for how many seconds the agent has not known itself current.
//!
//! Deciding can take seconds, so it has threads of its own: the ones that everything else
//! of the agent runs on are never blocked by a policy. But most decisions take less than the way to
//! another thread and back, so each is tried where it is asked for, for a millisecond at most.
//!
//! | question | file |
//! |---|---|
//! | What is a request's body? | `body.rs` |
//! | Who decides, and who hears of it? | `deciding.rs` |
//! | What may be written here? | `local.rs` |

use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use decision::{Reply, Style, access};
use protocol::Seq;
use serde::Serialize;

use crate::core::status::Progress;
use crate::decision_log::DecisionLog;
use crate::engine::{RegorusEngine, regorus::Threads};
use crate::local_api;
use crate::runtime::freshness::Freshness;
use crate::runtime::waiting::{Behind, Waiting};

mod body;
mod deciding;
mod local;

use deciding::{At, Pace};

/// Everything up to this update had taken effect.
const SEQ: &str = "x-girasol-seq";
/// For how many seconds the agent has not known itself current.
const AGE: &str = "x-girasol-age";

/// How decisions are served.
#[derive(Clone, Debug)]
pub struct DecisionSettings {
    /// What `POST /` decides: segments below `data`.
    pub default_decision: Vec<String>,
    /// True to take bearer's tokens for identities, which the policy about access is shown.
    pub authentication: bool,
    /// True to ask the policy about access first.
    pub authorization: bool,
    /// True if nothing may be written beside what comes through Girasol.
    pub read_only: bool,
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self {
            default_decision: decision::default_path(),
            authentication: false,
            authorization: false,
            read_only: false,
        }
    }
}

/// What decisions are served with.
pub(crate) struct Parts {
    pub(crate) engine: Arc<RegorusEngine>,
    pub(crate) waiting: Waiting,
    pub(crate) freshness: Freshness,
    /// Where decisions are logged, if they are.
    pub(crate) log: Option<DecisionLog>,
    pub(crate) settings: DecisionSettings,
}

/// The routes; whoever binds the listener serves them, and says who is connected.
pub(crate) fn router(parts: Parts) -> Router {
    Router::new().fallback(serve).with_state(Deciders::new(parts))
}

/// The engine, and the threads that may decide at the same time.
#[derive(Clone)]
struct Deciders {
    parts: Arc<Parts>,
    threads: Threads,
}

impl Deciders {
    fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts), threads: Threads::new() }
    }

    /// Waits until the engine is as far as the request wants it.
    async fn far_enough(&self, headers: &HeaderMap) -> Result<Progress, Reply> {
        let refused = |reason: String| Reply::invalid_parameter(&reason);
        let wanted = local_api::wanted(headers).map_err(refused)?.unwrap_or(Seq::ZERO);
        let patience = local_api::patience(headers).map_err(refused)?;
        let reached = self.parts.waiting.at_least(wanted, patience).await;
        reached.map_err(|behind| not_yet(&behind))
    }

    /// Runs `work` on a thread that may be blocked.
    async fn run(&self, work: impl FnOnce() -> Reply + Send + 'static) -> Reply {
        self.threads.run(work).await.unwrap_or_else(gave_up)
    }
}

async fn serve(State(deciders): State<Deciders>, request: Request) -> Response {
    // How the agent is alive is no decision, so nobody waits to hear of it.
    let is_health = request.uri().path() == "/health";
    let progress = match is_health {
        true => Ok(deciders.parts.waiting.progress()),
        false => deciders.far_enough(request.headers()).await,
    };
    let progress = match progress {
        Ok(progress) => progress,
        Err(refused) => return response(refused),
    };
    let age = deciders.parts.freshness.borrow().current.age();
    let answered = answer(&deciders, progress, request).await;
    let is_read = answered.is_ok();
    let mut response = response(answered.unwrap_or_else(|refused| refused));
    let headers = response.headers_mut();
    if !is_read {
        // What is left of the body would be taken for the next request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(at) = progress.at {
        headers.insert(SEQ, HeaderValue::from(at.0));
    }
    if let Ok(age) = HeaderValue::try_from(format!("{:.3}", age.as_secs_f64())) {
        headers.insert(AGE, age);
    }
    response
}

/// # Errors
/// The refusal of a body that was not read to its end.
async fn answer(deciders: &Deciders, progress: Progress, request: Request) -> Result<Reply, Reply> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|it| it.0);
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body).await?;
    let asked = Asked { own: Arc::clone(&deciders.parts), progress, peer, head: parts, body };
    Ok(match asked.decide_here() {
        Some(reply) => reply,
        None => deciders.run(move || asked.decide(Pace::Any)).await,
    })
}

/// A request, with all that its answer needs.
struct Asked {
    own: Arc<Parts>,
    progress: Progress,
    peer: Option<SocketAddr>,
    head: axum::http::request::Parts,
    body: body::Read,
}

impl Asked {
    /// The answer, if it takes no time.
    fn decide_here(&self) -> Option<Reply> {
        if !self.body.is_small() {
            return None;
        }
        let given_up = Cell::new(false);
        let decide = AssertUnwindSafe(|| self.decide(Pace::Quick { gave_up: &given_up }));
        // As on a thread of its own: the panic hook has reported it.
        let reply = catch_unwind(decide).unwrap_or_else(|_| gave_up());
        Some(reply).filter(|_| !given_up.get())
    }

    fn decide(&self, pace: Pace<'_>) -> Reply {
        let body = match self.body.decoded() {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let at = At { own: &self.own, progress: self.progress, peer: self.peer, pace };
        decide(&at, &self.head, &body)
    }
}

fn decide(at: &At<'_>, head: &axum::http::request::Parts, body: &[u8]) -> Reply {
    let settings = &at.own.settings;
    let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let request = decision::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        content_type: header(header::CONTENT_TYPE),
        if_none_match: header(header::IF_NONE_MATCH),
        body,
        is_checked: settings.authorization,
    };
    if settings.authorization {
        let identity = header(header::AUTHORIZATION).and_then(access::identity);
        let identity = identity.filter(|_| settings.authentication);
        let headers = head.headers.iter();
        let headers = headers.filter_map(|(name, it)| Some((name.as_str(), it.to_str().ok()?)));
        if let Err(refused) = access::check(&request, headers, identity, at) {
            return refused;
        }
    }
    decision::answer(request, at)
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
    let mut response = Response::new(Body::from(body));
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
