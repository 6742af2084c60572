//! opal-client's API, with its bodies and statuses (`spec/opal-protocol.md` §5.7, §5.10).
//!
//! Two differences: the triggers, which OPAL leaves open to everybody, need the key, too; and
//! nothing here ever shows a credential.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use protocol::credentials;
use protocol::json::reason;
use serde_json::{Value, json};
use url::Url;

use super::{About, Parts, ask, verdict};
use crate::runtime::callbacks::Registered;

type Shared = State<Arc<Parts>>;

/// The routes that everybody may ask, and those that need the key.
pub(super) fn routers(parts: Parts) -> (Router, Router) {
    let parts = Arc::new(parts);
    let open = Router::new()
        .route("/", get(healthy))
        .route("/healthcheck", get(healthy))
        .route("/health", get(healthy))
        .route("/healthy", get(healthy))
        .route("/ready", get(ready))
        .with_state(Arc::clone(&parts));
    let guarded = Router::new()
        .route("/policy-updater/trigger", post(load_policies))
        .route("/data-updater/trigger", post(load_data))
        .route("/policy-store/config", get(engine))
        .route("/callbacks", get(callbacks).post(register))
        .route("/callbacks/{key}", get(callback).delete(remove))
        .route("/opal-server/connectivity", get(connectivity))
        .route("/opal-server/connectivity/disable", post(disable))
        .route("/opal-server/connectivity/enable", post(enable))
        .with_state(parts);
    (open, guarded)
}

async fn healthy(State(parts): Shared) -> Result<Response, Response> {
    let status = ask(&parts.questions).await?;
    if status.healthy && status.ready {
        return Ok(Json(json!({"status": "ok", "online": true})).into_response());
    }
    // Knowingly offline is no illness, as long as there is something to decide by.
    if parts.switch.is_off() && status.ready {
        return Ok(Json(json!({"status": "ok", "online": false})).into_response());
    }
    Ok(verdict(false, &status.problems))
}

async fn ready(State(parts): Shared) -> Result<Response, Response> {
    let status = ask(&parts.questions).await?;
    Ok(verdict(status.ready, &status.problems))
}

async fn load_policies(State(parts): Shared) -> Response {
    if !parts.about.policy_updates {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "policy_updates is off");
    }
    parts.switch.load_policies();
    Json(json!({"status": "ok"})).into_response()
}

async fn load_data(State(parts): Shared) -> Response {
    if !parts.about.data_updates {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "data_updates is off");
    }
    parts.switch.load_data();
    Json(json!({"status": "ok"})).into_response()
}

async fn engine(State(parts): Shared) -> Json<Value> {
    let About { engine_type, engine_url, engine_has_token, .. } = &parts.about;
    let auth_type = if *engine_has_token { "token" } else { "none" };
    Json(
        json!({"type": engine_type, "url": engine_url.trim_end_matches('/'), "auth_type": auth_type}),
    )
}

async fn callbacks(State(parts): Shared) -> Json<Vec<Value>> {
    Json(parts.callbacks.all().iter().map(shown).collect())
}

async fn callback(State(parts): Shared, Path(key): Path<String>) -> Response {
    let all = parts.callbacks.all();
    match all.iter().find(|it| it.key.as_deref() == Some(&key)) {
        Some(found) => Json(shown(found)).into_response(),
        None => unknown(),
    }
}

async fn register(State(parts): Shared, body: String) -> Response {
    let callback: Registered = match serde_json::from_str(&body) {
        Ok(callback) => callback,
        Err(error) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &reason(&error)),
    };
    if !Url::parse(&callback.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        let advice = "url: give an address such as https://host/path";
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, advice);
    }
    Json(shown(&parts.callbacks.register(callback))).into_response()
}

async fn remove(State(parts): Shared, Path(key): Path<String>) -> Response {
    if parts.callbacks.remove(&key) { StatusCode::NO_CONTENT.into_response() } else { unknown() }
}

/// A callback without what may be a credential.
fn shown(callback: &Registered) -> Value {
    let url = credentials::show::address(&callback.url);
    let config = callback.config.as_deref().map(credentials::show::config);
    json!({"key": callback.key, "url": url, "config": config})
}

async fn connectivity(State(parts): Shared) -> Json<Value> {
    Json(json!({
        "opal_server_connectivity_disabled": parts.switch.is_off(),
        "offline_mode_enabled": parts.about.offline_mode,
    }))
}

async fn disable(State(parts): Shared) -> Response {
    switch(&parts, false, "disabled")
}

async fn enable(State(parts): Shared) -> Response {
    switch(&parts, true, "enabled")
}

fn switch(parts: &Parts, on: bool, word: &str) -> Response {
    if !parts.about.offline_mode {
        let advice =
            "the agent keeps nothing to decide by without the server; give it a --data-dir";
        return refusal(StatusCode::BAD_REQUEST, advice);
    }
    let changed = parts.switch.connect(on);
    let status = if changed { word.to_owned() } else { format!("already_{word}") };
    Json(json!({"status": status})).into_response()
}

fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "no callback found with this key")
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({"detail": detail}))).into_response()
}
