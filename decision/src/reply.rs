//! Answers in OPA's form: errors indented, decisions only when asked to, always with a
//! final newline.

use std::collections::BTreeMap;

use regorus::Value;
use serde::Serialize;

use crate::MAX_ANSWER_BYTES;
use crate::json::{AsOpa, written};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// In one line.
    #[default]
    Compact,
    /// Indented with two spaces.
    Pretty,
}

/// What is told besides a value, where it is asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Extras {
    /// The id under which it is in the decision log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// What decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// For how long the parts of it took, by OPA's names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<BTreeMap<&'static str, u64>>,
}

/// What decided: OPA's members. The bundle is the policy that came through Girasol.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    version: &'static str,
    build_commit: &'static str,
    build_timestamp: &'static str,
    build_hostname: &'static str,
    bundles: Bundles,
}

#[derive(Clone, Debug, Serialize)]
struct Bundles {
    girasol: Bundle,
}

#[derive(Clone, Debug, Serialize)]
struct Bundle {
    revision: String,
}

#[derive(Serialize)]
struct Decided<'v> {
    #[serde(flatten)]
    extras: &'v Extras,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<AsOpa<'v>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<Warning>,
}

#[derive(Serialize)]
struct Answers<'v> {
    #[serde(flatten)]
    extras: &'v Extras,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    result: Vec<AsOpa<'v>>,
}

#[derive(Serialize)]
struct Warning {
    code: &'static str,
    message: &'static str,
}

const NO_INPUT: Warning =
    Warning { code: "api_usage_warning", message: "'input' key missing from the request" };

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

// === impl Provenance ===

impl Provenance {
    /// This version, with a policy of that revision.
    #[must_use]
    pub fn of(revision: Option<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build_commit: "",
            build_timestamp: "",
            build_hostname: "",
            bundles: Bundles { girasol: Bundle { revision: revision.unwrap_or_default() } },
        }
    }
}

// === impl Reply ===

impl Reply {
    /// 200 with the document, which an undefined one is left out of.
    #[must_use]
    pub fn decided(
        result: Option<&Value>,
        without_input: bool,
        extras: &Extras,
        style: Style,
    ) -> Self {
        let warning = without_input.then_some(NO_INPUT);
        Self::json(200, &Decided { extras, result: result.map(AsOpa), warning }, style)
    }

    /// 200 with the answers to a query, which nothing is said of where there are none.
    #[must_use]
    pub fn answers(answers: &[Value], extras: &Extras, style: Style) -> Self {
        let result = answers.iter().map(AsOpa).collect();
        Self::json(200, &Answers { extras, result }, style)
    }

    /// 200 with a value alone.
    #[must_use]
    pub fn bare(value: &Value, style: Style) -> Self {
        Self::json(200, &AsOpa(value), style)
    }

    /// 404, where a value alone is asked for and there is none: `undefined` if a rule would give
    /// it.
    #[must_use]
    pub fn missing(path: &[String], undefined: bool) -> Self {
        let why = if undefined { "undefined" } else { "missing" };
        let message = format!("document {why}: {}", reference(path));
        Self::refusal(404, "undefined_document", &message)
    }

    /// 405 without a body, as OPA's where others of its methods are.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::empty(405)
    }

    /// 405 of OPA's router.
    #[must_use]
    pub fn no_such_method() -> Self {
        Self::text(405, TEXT, "Method Not Allowed\n".to_owned())
    }

    /// 404 of OPA's router.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(404, TEXT, "404 page not found\n".to_owned())
    }

    /// A status alone.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: None, location: None, body: String::new() }
    }

    /// 200 with nothing to say.
    #[must_use]
    pub fn healthy() -> Self {
        Self::text(200, JSON, "{}\n".to_owned())
    }

    /// 500 of a policy about health.
    #[must_use]
    pub fn unhealthy(reason: &str) -> Self {
        #[derive(Serialize)]
        struct Unhealthy<'a> {
            error: &'a str,
        }
        Self::json(500, &Unhealthy { error: reason }, Style::Compact)
    }

    /// A value of ours in OPA's form of JSON.
    #[must_use]
    pub fn json(status: u16, body: &(impl Serialize + ?Sized), style: Style) -> Self {
        match written(body, style, MAX_ANSWER_BYTES) {
            Ok(text) => Self::text(status, JSON, text + "\n"),
            Err(message) => Self::refusal(500, "internal_error", &message),
        }
    }

    pub(crate) fn text(status: u16, kind: &'static str, body: String) -> Self {
        Self { status, content_type: Some(kind), location: None, body }
    }
}

/// `data.a["b c"][0]`: a path in OPA's words.
pub(crate) fn reference(path: &[String]) -> String {
    let is_name = |segment: &str| {
        segment.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
            && segment.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    path.iter().fold("data".to_owned(), |reference, segment| match segment.parse::<i64>() {
        Ok(number) => format!("{reference}[{number}]"),
        Err(_) if is_name(segment) => format!("{reference}.{segment}"),
        Err(_) => format!("{reference}[{}]", serde_json::Value::from(segment.as_str())),
    })
}

/// Where a path with empty segments should have gone: OPA answers so, too.
pub(crate) fn redirect(method: &str, path: &str, query: &str) -> Option<Reply> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let clean = format!("/{}", segments.join("/"));
    if clean == path {
        return None;
    }
    let only_the_end = path.strip_suffix('/') == Some(&clean);
    // The end is taken off without its query.
    Some(match query {
        _ if only_the_end => moved(method, 301, clean),
        "" => moved(method, 307, clean),
        query => moved(method, 307, format!("{clean}?{query}")),
    })
}

/// A redirection, with a link for people where a browser shows it.
pub(crate) fn moved(method: &str, status: u16, to: String) -> Reply {
    let reason = if status == 301 { "Moved Permanently" } else { "Temporary Redirect" };
    let reply = match method {
        "GET" => {
            let body = format!("<a href=\"{}\">{reason}</a>.\n\n", to.replace('&', "&amp;"));
            Reply::text(status, "text/html; charset=utf-8", body)
        }
        _ => Reply::empty(status),
    };
    Reply { location: Some(to), ..reply }
}

/// Go escapes what is special in HTML and JavaScript. In JSON these characters occur in
/// strings only, so that the finished text can be searched for them.
pub(crate) fn escape_as_go(json: String) -> String {
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
