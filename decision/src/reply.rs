//! Answers in OPA's form: errors indented, decisions only when asked to, always with a
//! final newline.

use regorus::Value;
use serde::Serialize;

use crate::DecisionError;

/// An answer, for whoever has the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`; none without a body.
    pub content_type: Option<&'static str>,
    /// The `Location` of a redirection.
    pub location: Option<String>,
    /// The body.
    pub body: String,
}

/// How a body is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In one line.
    Compact,
    /// Indented with two spaces.
    Pretty,
}

#[derive(Serialize)]
struct Decision<'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'v Value>,
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

const JSON: &str = "application/json";

// === impl Reply ===

impl Reply {
    /// 200 with the document, which an undefined one is left out of.
    #[must_use]
    pub fn decided(result: Option<&Value>, without_input: bool, style: Style) -> Self {
        let warning = without_input.then_some(NO_INPUT);
        Self::json(200, &Decision { result, warning }, style)
    }

    /// 200 with a value alone.
    #[must_use]
    pub fn bare(value: &Value, style: Style) -> Self {
        Self::json(200, value, style)
    }

    /// 404, where a value alone is asked for and there is none.
    #[must_use]
    pub fn missing(path: &[String]) -> Self {
        let place: String = path.iter().map(|segment| format!(".{segment}")).collect();
        Self::refusal(404, "undefined_document", &format!("document missing: data{place}"))
    }

    /// 500: there is no decision.
    #[must_use]
    pub fn failed(error: DecisionError) -> Self {
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
        Self::json(500, &Failure { code: "internal_error", message, errors }, Style::Pretty)
    }

    /// 400, for what cannot be read.
    #[must_use]
    pub fn invalid_parameter(message: &str) -> Self {
        Self::refusal(400, "invalid_parameter", message)
    }

    /// 501: there is another way to do it.
    #[must_use]
    pub fn written_through_girasol() -> Self {
        let message = "data and policies are written through Girasol: publish an update, for \
                       example with `edge-agent publish-data-update`";
        Self::refusal(501, "invalid_operation", message)
    }

    /// A refusal in OPA's form.
    #[must_use]
    pub fn refusal(status: u16, code: &'static str, message: &str) -> Self {
        let failure = Failure { code, message: message.to_owned(), errors: Vec::new() };
        Self::json(status, &failure, Style::Pretty)
    }

    /// 405 without a body, as OPA's.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self { status: 405, content_type: None, location: None, body: String::new() }
    }

    /// 404 of OPA's router.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(404, "text/plain; charset=utf-8", "404 page not found\n".to_owned())
    }

    /// 200 of `/health`.
    #[must_use]
    pub fn healthy() -> Self {
        Self::decided(None, false, Style::Compact)
    }

    /// A value of ours in OPA's form of JSON.
    #[must_use]
    pub fn json(status: u16, body: &(impl Serialize + ?Sized), style: Style) -> Self {
        let text = match style {
            Style::Compact => serde_json::to_string(body),
            Style::Pretty => serde_json::to_string_pretty(body),
        };
        match text {
            Ok(text) => Self::text(status, JSON, escape_as_go(text) + "\n"),
            // No value that is made here lacks a JSON form.
            Err(_) => Self::text(500, JSON, "{}\n".to_owned()),
        }
    }

    fn text(status: u16, kind: &'static str, body: String) -> Self {
        Self { status, content_type: Some(kind), location: None, body }
    }
}

/// Where a path with empty segments should have gone: OPA answers so, too.
pub(crate) fn redirect(path: &str, query: &str) -> Option<Reply> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let clean = format!("/{}", segments.join("/"));
    if clean == path {
        return None;
    }
    let only_the_end = path.strip_suffix('/') == Some(&clean);
    let (status, reason) =
        if only_the_end { (301, "Moved Permanently") } else { (307, "Temporary Redirect") };
    let to = if query.is_empty() { clean } else { format!("{clean}?{query}") };
    let body = format!("<a href=\"{}\">{reason}</a>.\n\n", to.replace('&', "&amp;"));
    let reply = Reply::text(status, "text/html; charset=utf-8", body);
    Some(Reply { location: Some(to), ..reply })
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
