//! Answers in OPA's form: errors indented, decisions only when asked to, always with a
//! final newline.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use protocol::Seq;
use regorus::Value;
use serde::Serialize;

use crate::engine::regorus::DecisionError;
use crate::runtime::waiting::Behind;

/// How a body is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Compact,
    Pretty,
}

/// What a decision is answered with.
#[derive(Default)]
pub(super) struct Answer {
    body: Decision,
    error: Option<Failure>,
}

#[derive(Default, Serialize)]
struct Decision {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<Warning>,
}

#[derive(Serialize)]
struct Warning {
    code: &'static str,
    message: &'static str,
}

/// OPA's error document.
#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Place>,
}

#[derive(Serialize)]
struct Place {
    file: String,
    row: u32,
    col: u32,
}

const NO_INPUT: Warning =
    Warning { code: "api_usage_warning", message: "'input' key missing from the request" };

impl Answer {
    pub(super) fn decided(result: Option<Value>, without_input: bool) -> Self {
        let warning = without_input.then_some(NO_INPUT);
        Self { body: Decision { result, warning }, error: None }
    }

    pub(super) fn failed(error: DecisionError) -> Self {
        let (message, errors) = match error {
            DecisionError::Path(reason) => {
                (format!("invalid_parameter: invalid path: {reason}"), Vec::new())
            }
            // OPA has no such limit; of what is given up for another reason it says this.
            DecisionError::TooLong => {
                let message = error.to_string();
                (
                    "error(s) occurred while evaluating query".to_owned(),
                    vec![Detail { code: "eval_cancel_error", message, location: None }],
                )
            }
            DecisionError::Evaluation { message, location } => {
                let conflict = message.contains("conflict") || message.contains("multiple outputs");
                let code = if conflict { "eval_conflict_error" } else { "eval_internal_error" };
                let location = location.map(|place| Place {
                    file: place.file,
                    row: place.row,
                    col: place.col,
                });
                (
                    "error(s) occurred while evaluating query".to_owned(),
                    vec![Detail { code, message, location }],
                )
            }
        };
        let error = Failure { code: "internal_error", message, errors };
        Self { body: Decision::default(), error: Some(error) }
    }

    pub(super) fn response(&self, style: Style) -> Response {
        match &self.error {
            None => json(StatusCode::OK, &self.body, style),
            Some(error) => json(StatusCode::INTERNAL_SERVER_ERROR, error, Style::Pretty),
        }
    }
}

/// 400, for what cannot be read.
pub(super) fn invalid_parameter(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "invalid_parameter", message)
}

/// 500: deciding ended without a decision.
pub(super) fn gave_up() -> Response {
    let message = "the engine failed on this request; the agent's log says more";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
}

/// 503: the engine is not as far as the request wants it.
pub(super) fn behind(behind: &Behind) -> Response {
    #[derive(Serialize)]
    struct Unavailable {
        code: &'static str,
        message: String,
        at: Option<Seq>,
        lag: u64,
    }
    let (message, at, lag) = (behind.to_string(), behind.progress.at, behind.lag);
    let body = Unavailable { code: "not_yet", message, at, lag };
    json(StatusCode::SERVICE_UNAVAILABLE, &body, Style::Pretty)
}

/// 501: OPA can do it, the agent cannot.
pub(super) fn not_implemented() -> Response {
    let message = "the agent's embedded engine does not serve this; ask /v1/data, or run the \
                   agent with --engine opa";
    refusal(StatusCode::NOT_IMPLEMENTED, "invalid_operation", message)
}

/// 501: there is another way to do it.
pub(super) fn written_through_girasol() -> Response {
    let message = "data and policies are written through Girasol: publish an update, for \
                   example with `edge-agent publish-data-update`";
    refusal(StatusCode::NOT_IMPLEMENTED, "invalid_operation", message)
}

fn refusal(status: StatusCode, code: &'static str, message: &str) -> Response {
    let failure = Failure { code, message: message.to_owned(), errors: Vec::new() };
    json(status, &failure, Style::Pretty)
}

/// 405 without a body, as OPA's.
pub(super) fn method_not_allowed() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// 404 of OPA's router.
pub(super) fn not_found() -> Response {
    with_body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Where a path with empty segments should have gone: OPA answers so, too.
pub(super) fn redirect(uri: &Uri) -> Option<Response> {
    let path = uri.path();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let clean = format!("/{}", segments.join("/"));
    if clean == path {
        return None;
    }
    let only_the_end = path.strip_suffix('/') == Some(&clean);
    let status =
        if only_the_end { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    let to = match uri.query() {
        Some(query) => format!("{clean}?{query}"),
        None => clean,
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let body = format!("<a href=\"{}\">{reason}</a>.\n\n", to.replace('&', "&amp;"));
    let mut response = with_body(status, "text/html; charset=utf-8", body);
    // What was a URI's path and query is a header's value.
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    Some(response)
}

fn json<T: Serialize>(status: StatusCode, body: &T, style: Style) -> Response {
    let text = match style {
        Style::Compact => serde_json::to_string(body),
        Style::Pretty => serde_json::to_string_pretty(body),
    };
    match text {
        Ok(text) => with_body(status, "application/json", escape_as_go(text) + "\n"),
        // No value that is made here lacks a JSON form.
        Err(_) => with_body(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}\n"),
    }
}

fn with_body(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Go escapes what is special in HTML and JavaScript. In JSON these characters occur in
/// strings only, so that the finished text can be searched for them.
fn escape_as_go(json: String) -> String {
    let special = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !json.contains(special) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 64), |mut escaped, character| {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
        escaped
    })
}
