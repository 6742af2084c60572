//! The agent's own API, on loopback: how it is.
//!
//! * `GET /healthz`: 200 `{"status":"ok"}` if nothing is wrong, else 503 with the reasons.
//! * `GET /ready`: 200 once everything that was missed has taken effect, else 503.
//! * `GET /status`: everything, as [`Status`].
//! * `GET /sync?at_least=SEQ&timeout=S`: 200 `{"at":…,"head":…}` once everything up to SEQ that
//!   is for this agent has taken effect; 503 with the lag if that takes longer than S seconds.

use axum::Json;
use axum::Router;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use protocol::Seq;
use protocol::limits::{DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::core::status::Status;
use crate::runtime::{Question, waiting::Waiting};

/// The routes. `questions` goes to who owns the core.
pub(crate) fn router(questions: mpsc::Sender<Question>, waiting: Waiting) -> Router {
    let sync = Router::new().route("/sync", get(sync)).with_state(waiting);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .with_state(questions)
        .merge(sync)
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

async fn status(State(questions): State<mpsc::Sender<Question>>) -> Result<Json<Status>, Response> {
    ask(&questions).await.map(Json)
}

async fn healthz(State(questions): State<mpsc::Sender<Question>>) -> Result<Response, Response> {
    let status = ask(&questions).await?;
    Ok(verdict(status.healthy && status.ready, &status.problems))
}

async fn ready(State(questions): State<mpsc::Sender<Question>>) -> Result<Response, Response> {
    let status = ask(&questions).await?;
    Ok(verdict(status.ready, &status.problems))
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
