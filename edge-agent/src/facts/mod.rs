//! Facts that are written through the agent: users, roles and what else decisions are made from
//! (`spec/critical-updates.md` §3, §4, §6).
//!
//! `/facts/**` and `/v2/facts/{project}/{environment}/**` go to the functions, in any method. A write
//! comes back over the log, to this agent as to all others, and its answer is held until this
//! agent's engine has it: so who asks next is answered from it.
//!
//! | question | file |
//! |---|---|
//! | What becomes of a request? | this one |
//! | For how long is an answer held, and what if that is too short? | `hold.rs` |
//! | How do the functions get it? | `upstream.rs` |
//! | How many are held? | `waiters.rs` |
//!
//! **Invariant:** nothing is applied here that has not come over the log, and no answer says
//! `applied` before the engine has it.

mod hold;
mod upstream;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use axum::{Json, Router};
use protocol::Seq;
use protocol::limits::MAX_UPDATE_BYTES;
use protocol::topic::TopicSet;
use serde_json::json;
use tokio::time::timeout;

use hold::{End, Wanted};
pub use hold::{Hold, TimeoutPolicy};
pub(crate) use upstream::Upstream;
pub(crate) use waiters::Waiters;

use crate::local_api::shows;
use crate::plane::whole;
use crate::runtime::waiting::Waiting;
use crate::settings::{FactsSettings, Secret};

/// What the functions publish facts to.
const TOPIC: &str = "policy_data";
/// The header of the functions' answer that says which number of the log has the write.
const SEQ: &str = "x-girasol-seq";
/// The header of ours that says what became of the write here.
const STATUS: &str = "x-permit-update-status";

/// What the routes work with. Clones share it.
#[derive(Clone)]
pub(crate) struct Facts(Arc<Parts>);

struct Parts {
    upstream: Upstream,
    waiting: Waiting,
    waiters: Waiters,
    /// In place of what callers show.
    authorization: Option<HeaderValue>,
    defaults: Wanted,
    /// True if facts come to this agent at all.
    is_subscribed: bool,
    has_warned: AtomicBool,
}

/// An answer that is an error, and its reason: `{"detail": …}`.
#[derive(Debug)]
struct Refusal(StatusCode, String);

/// The routes; with a key, for who shows it.
pub(crate) fn router(facts: Facts, key: Option<Arc<Secret>>) -> Router {
    Router::new()
        .route("/facts/{*rest}", any(fact))
        .route("/v2/facts/{project}/{environment}/{*rest}", any(fact))
        .route("/v2/api-key/scope", get(scope))
        .with_state(facts)
        .route_layer(middleware::from_fn_with_state(key, guard))
}

/// As the guard of the local API; SDKs want `detail` to be a text.
async fn guard(
    State(key): State<Option<Arc<Secret>>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    if key.is_none_or(|key| shows(shown, &key)) {
        return next.run(request).await;
    }
    let detail = "show the agent's api_key: `Authorization: Bearer …`".to_owned();
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (challenge, Refusal(StatusCode::UNAUTHORIZED, detail).into_response()).into_response()
}

async fn fact(State(facts): State<Facts>, request: Request) -> Response<Body> {
    facts.0.fact(request).await.unwrap_or_else(Refusal::into_response)
}

/// Whose key it is: the wait headers, which SDKs send here too, mean nothing.
async fn scope(State(facts): State<Facts>, headers: HeaderMap) -> Response<Body> {
    let asked = facts.0.upstream.scope(&facts.0.passed_on(&headers)).await;
    asked.map_or_else(Refusal::into_response, whole)
}

// === impl Facts ===

impl Facts {
    pub(crate) fn new(
        upstream: Upstream,
        waiting: Waiting,
        settings: &FactsSettings,
        topics: &TopicSet,
    ) -> Self {
        let bearer = settings.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self(Arc::new(Parts {
            upstream,
            waiting,
            waiters: Waiters::default(),
            authorization: bearer,
            defaults: Wanted { hold: settings.hold, policy: settings.policy },
            is_subscribed: topics.matches([&TOPIC.to_owned()]),
            has_warned: AtomicBool::new(false),
        }))
    }

    /// How many answers are held.
    pub(crate) fn waiters(&self) -> Waiters {
        self.0.waiters.clone()
    }
}

// === impl Parts ===

impl Parts {
    async fn fact(&self, request: Request) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let bad = |reason| Refusal(StatusCode::BAD_REQUEST, reason);
        let wanted = self.defaults.or(&parts.headers).map_err(bad)?;
        let path = upstream::path(&parts.method, &parts.uri).map_err(bad)?;
        let body = axum::body::to_bytes(body, MAX_UPDATE_BYTES).await.map_err(|_| {
            let reason = format!(
                "the body broke off, or has more than {MAX_UPDATE_BYTES} bytes; send less at once"
            );
            Refusal(StatusCode::PAYLOAD_TOO_LARGE, reason)
        })?;
        let headers = self.passed_on(&parts.headers);
        let mut answer = self.upstream.ask(parts.method, &path, &headers, body).await?;
        let Some(written) = Written::of(&answer) else { return Ok(whole(answer)) };
        let end = self.hold(written, wanted.hold).await;
        let mut answer = match end.failure().filter(|_| wanted.policy == TimeoutPolicy::Fail) {
            None => whole(answer),
            Some(detail) => {
                let kept = std::mem::take(answer.headers_mut());
                let failed = Refusal(StatusCode::FAILED_DEPENDENCY, detail.to_owned());
                let mut failed = failed.into_response();
                for name in [SEQ, upstream::UPDATE_ID] {
                    if let Some(value) = kept.get(name) {
                        failed.headers_mut().insert(name, value.clone());
                    }
                }
                failed
            }
        };
        answer.headers_mut().insert(STATUS, HeaderValue::from_static(end.status()));
        Ok(answer)
    }

    /// Waits for a write to end here. Who goes away meanwhile has this dropped, and with it all
    /// that waits.
    async fn hold(&self, written: Written, hold: Hold) -> End {
        let limit = match hold {
            Hold::AtOnce => return End::NotWaited,
            Hold::Within(limit) => Some(limit),
            Hold::Endless => None,
        };
        if !self.is_subscribed {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "facts are written through an agent without the topic {TOPIC}: it never has \
                     them, and no answer waits for that"
                );
            }
            return End::NotSubscribed;
        }
        let _waiter = self.waiters.enter();
        let ended = async {
            if written.is_update {
                return self.waiting.ended(written.seq).await.applied;
            }
            self.waiting.reached(written.seq).await;
            true
        };
        let is_applied = match limit {
            Some(limit) => timeout(limit, ended).await.ok(),
            None => Some(ended.await),
        };
        match is_applied {
            Some(true) => End::Applied,
            Some(false) => End::Failed,
            None => End::Timeout,
        }
    }

    /// What of a request's headers the functions need.
    fn passed_on(&self, headers: &HeaderMap) -> HeaderMap {
        let mut passed = HeaderMap::new();
        let shown = headers.get(header::AUTHORIZATION);
        for (name, value) in [
            (header::AUTHORIZATION, self.authorization.as_ref().or(shown)),
            (header::CONTENT_TYPE, headers.get(header::CONTENT_TYPE)),
        ] {
            passed.extend(value.map(|value| (name, value.clone())));
        }
        passed
    }
}

/// What a write is known by in the log.
#[derive(Clone, Copy)]
struct Written {
    seq: Seq,
    /// False if the write changed nothing: then the number is the log's last one, and what was to
    /// be written is somewhere up to there.
    is_update: bool,
}

impl Written {
    /// None for what was refused, or only read.
    fn of(answer: &Response<Bytes>) -> Option<Self> {
        let headers = answer.headers();
        let seq = headers.get(SEQ).filter(|_| answer.status().is_success())?;
        let is_update = headers.contains_key(upstream::UPDATE_ID);
        Some(Self { seq: seq.to_str().ok()?.parse().ok().map(Seq)?, is_update })
    }
}

// === impl Refusal ===

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let Self(status, detail) = self;
        (status, Json(json!({ "detail": detail }))).into_response()
    }
}

#[cfg(test)]
mod tests;
