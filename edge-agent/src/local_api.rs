//! The agent's own API: how it is, and what opal-client's API has
//! (`spec/opal-protocol.md` §5.10; see `local_api/opal.rs`).
//!
//! * `GET /healthz`: 200 `{"status":"ok"}` if nothing is wrong, else 503 with the reasons.
//! * `GET /ready`: 200 once everything that was missed has taken effect, else 503.
//! * `GET /status`: everything, as [`Status`].
//! * `POST /allowed` and its kin: may this user do this? (see [`enforcement`](crate::enforcement))
//! * `GET /api/v1/api_audits`: what the agent's data plane was asked, with the functions' filters.
//! * `GET /sync?at_least=SEQ&timeout=S`: 200 `{"at":…,"head":…}` once everything up to SEQ that
//!   is for this agent has taken effect; 503 with the lag if that takes longer than S seconds.
//! * `/facts/**`, `/v2/facts/**`, `GET /v2/api-key/scope`: see [`crate::facts`].
//!
//! With an `api_key`, whoever wants to change something or to see more than health shows it as
//! the bearer's token; without one the API is on loopback.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use protocol::Seq;
use protocol::limits::{DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS};
use protocol::plane::audits::AuditQuery;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::sync::{mpsc, oneshot};

use crate::core::status::Status;
use crate::decision_log::{Counts, DecisionLog};
use crate::enforcement::{self, Enforcement};
use crate::facts::{self, Facts, Waiters};
use crate::plane::{Audits, Book, BookStatus};
use crate::runtime::callbacks::Callbacks;
use crate::runtime::{Question, Switch, waiting::Waiting};
use crate::settings::{EngineKind, Secret, Settings};

mod opal;

/// Which update a request must have seen.
const AT_LEAST: &str = "x-girasol-at-least";
/// For how many seconds to wait for it.
const TIMEOUT: &str = "x-girasol-timeout";

/// What the routes work with.
pub(crate) struct Parts {
    /// Goes to who owns the core.
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) waiting: Waiting,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) switch: Switch,
    pub(crate) about: About,
    /// Facts that are written through the agent.
    pub(crate) facts: Facts,
    /// The data plane, if it is served.
    pub(crate) planes: Option<(Arc<Book>, Arc<Audits>)>,
    /// Where decisions are logged, if they are.
    pub(crate) decision_log: Option<DecisionLog>,
}

/// What does not change while the agent runs.
pub(crate) struct About {
    api_key: Option<Secret>,
    /// The engine, as OPAL's client describes it: without its credentials.
    engine_type: &'static str,
    engine_url: String,
    engine_has_token: bool,
    policy_updates: bool,
    data_updates: bool,
    /// It decides without the server: state is kept on disk.
    offline_mode: bool,
}

impl About {
    pub(crate) fn new(settings: &Settings) -> Self {
        let is_opa = settings.engine == EngineKind::Opa;
        let embedded = || format!("http://{}", settings.decision_listen);
        Self {
            api_key: settings.api_key.clone(),
            engine_type: "OPA",
            engine_url: if is_opa { settings.opa_url.to_string() } else { embedded() },
            engine_has_token: is_opa && settings.opa_token.is_some(),
            policy_updates: settings.opal.policy_updates,
            data_updates: settings.opal.data_updates,
            offline_mode: settings.data_dir.is_some(),
        }
    }
}

/// The routes.
pub(crate) fn router(parts: Parts, enforcement: Enforcement) -> Router {
    let key = parts.about.api_key.clone().map(Arc::new);
    let (questions, waiting) = (parts.questions.clone(), parts.waiting.clone());
    let (facts, waiters) = (facts::router(parts.facts.clone(), key.clone()), parts.facts.waiters());
    let (book, audits) = parts.planes.clone().unzip();
    let log = parts.decision_log.clone();
    let (open, guarded) = opal::routers(parts);
    let (enforcing, enforced) = enforcement::routers(enforcement);
    let sync = Router::new().route("/sync", get(sync)).with_state(waiting);
    let guarded = Router::new()
        .route("/status", get(status))
        .with_state((questions.clone(), book, waiters, log))
        .merge(Router::new().route("/api/v1/api_audits", get(api_audits)).with_state(audits))
        .merge(sync)
        .merge(guarded)
        .merge(enforced)
        .layer(middleware::from_fn_with_state(key, guard));
    let healthz = Router::new().route("/healthz", get(healthz)).with_state(questions);
    let all = healthz.merge(open).merge(enforcing).merge(guarded).merge(facts);
    all.layer(middleware::from_fn(enforcement::echo))
}

/// Lets through who shows the key; everybody, if there is none.
async fn guard(State(key): State<Option<Arc<Secret>>>, request: Request, next: Next) -> Response {
    let Some(key) = key else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let fits = shows(shown, &key);
    if fits {
        return next.run(request).await;
    }
    let error = "show the agent's api_key: `Authorization: Bearer …`";
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, Json(json!({"detail": {"error": error}}))).into_response()
}

/// True if a header shows the key; in a time that does not tell how much of it is right.
pub(crate) fn shows(authorization: Option<&str>, key: &Secret) -> bool {
    let shown = authorization.and_then(|it| it.trim().split_once(' '));
    shown.is_some_and(|(scheme, token)| {
        let is_right = token.trim().as_bytes().ct_eq(key.expose().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && bool::from(is_right)
    })
}

/// What `/sync` is asked, as it came.
#[derive(serde::Deserialize)]
struct SyncQuery {
    at_least: Option<String>,
    timeout: Option<String>,
}

async fn sync(State(waiting): State<Waiting>, Query(query): Query<SyncQuery>) -> Response {
    let asked = at_least(query.at_least.as_deref().unwrap_or_default())
        .map_err(|reason| format!("at_least: {reason}"))
        .and_then(|wanted| {
            let timeout = timeout(query.timeout.as_deref());
            Ok((wanted, timeout.map_err(|reason| format!("timeout: {reason}"))?))
        });
    let (wanted, timeout) = match asked {
        Ok(asked) => asked,
        Err(detail) => {
            let body = Json(json!({ "detail": detail }));
            return (StatusCode::UNPROCESSABLE_ENTITY, body).into_response();
        }
    };
    match waiting.at_least(wanted, timeout).await {
        Ok(progress) => Json(json!({"at": progress.at, "head": progress.head})).into_response(),
        Err(behind) => {
            let body = json!({
                "detail": behind.to_string(),
                "at": behind.progress.at,
                "head": behind.progress.head,
                "lag": behind.lag,
            });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

/// The update that a request wants to have taken effect, by its header; none if it wants none.
///
/// # Errors
/// What is wrong with the header.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Seq>, String> {
    let wanted = header(headers, AT_LEAST).map(at_least).transpose();
    wanted.map_err(|reason| format!("header {AT_LEAST}: {reason}"))
}

/// For how long a request waits for that, by its header; the default if it does not say.
///
/// # Errors
/// What is wrong with the header.
pub(crate) fn patience(headers: &HeaderMap) -> Result<Duration, String> {
    timeout(header(headers, TIMEOUT)).map_err(|reason| format!("header {TIMEOUT}: {reason}"))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// A seq that somebody gave.
pub(crate) fn at_least(text: &str) -> Result<Seq, &'static str> {
    text.trim().parse().map(Seq).map_err(|_| "give the `seq` that a publish answered, such as 17")
}

/// Seconds that somebody gave; the default if they gave none.
pub(crate) fn timeout(text: Option<&str>) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(Duration::from_secs(DEFAULT_WAIT_SECONDS)) };
    let limit = Duration::from_secs(MAX_WAIT_SECONDS);
    let seconds = text.trim().parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
    seconds
        .filter(|timeout| *timeout <= limit)
        .ok_or_else(|| format!("give seconds from 0 to {MAX_WAIT_SECONDS}"))
}

async fn ask(questions: &mpsc::Sender<Question>) -> Result<Status, Response> {
    let (answer, answered) = oneshot::channel();
    let ending = || {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"detail": "the agent is ending"})))
            .into_response()
    };
    questions.send(answer).await.map_err(|_| ending())?;
    answered.await.map_err(|_| ending())
}

/// Everything, with the data plane if that is served, and the log of decisions if there is one.
#[derive(serde::Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    /// Answers to facts that are held until the agent has them.
    fact_waiters: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_plane: Option<BookStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_log: Option<Counts>,
}

type StatusParts = (mpsc::Sender<Question>, Option<Arc<Book>>, Waiters, Option<DecisionLog>);

async fn status(
    State((questions, book, waiters, log)): State<StatusParts>,
) -> Result<Json<Shown>, Response> {
    let status = ask(&questions).await?;
    let data_plane = book.map(|book| book.status());
    let (fact_waiters, decision_log) = (waiters.count(), log.map(|log| log.counts()));
    Ok(Json(Shown { status, fact_waiters, data_plane, decision_log }))
}

/// What the data plane was asked lately, with the filters that the functions have.
async fn api_audits(
    State(audits): State<Option<Arc<Audits>>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let Some(audits) = audits else {
        let detail = "this agent serves no data plane; give it --data-plane-listen";
        return (StatusCode::NOT_FOUND, Json(json!({ "detail": detail }))).into_response();
    };
    match AuditQuery::read(|name| parameters.get(name).cloned()) {
        Ok(query) => Json(audits.show(&query)).into_response(),
        Err(refusal) => (StatusCode::BAD_REQUEST, Json(refusal.body())).into_response(),
    }
}

async fn healthz(State(questions): State<mpsc::Sender<Question>>) -> Result<Response, Response> {
    let status = ask(&questions).await?;
    Ok(verdict(status.healthy && status.ready, &status.problems))
}

fn verdict(fine: bool, problems: &[String]) -> Response {
    if fine {
        Json(json!({"status": "ok"})).into_response()
    } else {
        let body = json!({"status": "unavailable", "problems": problems});
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_shown_as_a_bearers_token_and_nothing_else_will_do() {
        let key = Secret::new("sesame".to_owned());
        for right in ["Bearer sesame", "bearer  sesame", " BEARER sesame "] {
            assert!(shows(Some(right), &key), "{right}");
        }
        for wrong in ["sesame", "Basic sesame", "Bearer ses", "Bearer sesame1", "Bearer", ""] {
            assert!(!shows(Some(wrong), &key), "{wrong}");
        }
        assert!(!shows(None, &key));
    }

    #[test]
    fn numbers_that_cannot_be_waited_for_are_refused() {
        assert_eq!(at_least("17"), Ok(Seq(17)));
        for bad in ["", "-1", "1.5", "x", "99999999999999999999"] {
            assert!(at_least(bad).is_err(), "{bad}");
        }
        assert_eq!(timeout(None), Ok(Duration::from_secs(DEFAULT_WAIT_SECONDS)));
        assert_eq!(timeout(Some("0.5")), Ok(Duration::from_millis(500)));
        for bad in ["", "-1", "soon", "nan", "inf", "301"] {
            assert!(timeout(Some(bad)).is_err(), "{bad}");
        }
    }
}
