//! The agent's own API, on loopback: how it is.
//!
//! * `GET /healthz`: 200 `{"status":"ok"}` if nothing is wrong, else 503 with the reasons.
//! * `GET /ready`: 200 once everything that was missed has taken effect, else 503.
//! * `GET /status`: everything, as [`Status`].

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::core::status::Status;
use crate::runtime::Question;

/// The routes. `questions` goes to who owns the core.
pub(crate) fn router(questions: mpsc::Sender<Question>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .with_state(questions)
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
