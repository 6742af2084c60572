//! A refusal: a status and a sentence that says what to change.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits;

/// Why a request was refused, in the shape OPAL uses: `{"detail": …}`
/// (`spec/opal-protocol.md` §2).
///
/// The `detail` never repeats a token, a key or a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct Problem {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// A sentence that names the fix.
    pub detail: String,
}

impl Problem {
    /// A refusal with any status.
    #[must_use]
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 401: the token is missing, wrong, expired, or not of the type that is needed.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, detail)
    }

    /// 404: there is nothing here.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    /// 409: it contradicts what is already there.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, detail)
    }

    /// 413: over a limit of [`crate::limits`].
    #[must_use]
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(413, detail)
    }

    /// 413: an update over [`limits::MAX_UPDATE_BYTES`], whoever finds out: the router as it
    /// reads, the parser, or the hub, which stores the defaults as well.
    #[must_use]
    pub fn update_too_large(bytes: usize) -> Self {
        let limit = limits::MAX_UPDATE_BYTES;
        Self::too_large(format!(
            "the update has at least {bytes} bytes, the limit is {limit}, and defaults that are \
             filled in count too; publish a `url` to fetch from instead of inline data, or split it"
        ))
    }

    /// 422: understood, and wrong.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, detail)
    }

    /// 500: our fault. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    /// 503: not configured, or not able to answer now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    /// The body of the answer. Authentication errors carry OPAL's inner object; a 422 names the
    /// place and the kind of each fault, of which we tell the first (`spec/opal-protocol.md` §2).
    #[must_use]
    pub fn body(&self) -> Value {
        match self.status {
            401 => json!({ "detail": { "error": self.detail } }),
            422 => json!({ "detail": [fault(&self.detail)] }),
            _ => json!({ "detail": self.detail }),
        }
    }
}

/// Places that are parameters of an address, not members of a body.
const PARAMETERS: [&str; 3] = ["after", "timeout", "wait"];

/// A fault as OPAL writes it, of a sentence that begins with its place:
/// `entries[0].url: why` is at `["body", "entries", 0, "url"]`.
fn fault(detail: &str) -> Value {
    let (place, reason) = match detail.split_once(": ") {
        Some((place, reason)) => match segments(place) {
            Some(segments) => (segments, reason),
            None => (vec![], detail),
        },
        None => (vec![], detail),
    };
    let is_parameter = place.first().is_some_and(|it| PARAMETERS.iter().any(|name| it == name));
    let mut loc = vec![Value::from(if is_parameter { "query" } else { "body" })];
    loc.extend(place);
    let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    loc.extend(missing.map(Value::from));
    let (msg, kind) = if missing.is_some() {
        ("field required", "value_error.missing")
    } else if reason.starts_with("missing") {
        (reason, "value_error.missing")
    } else if reason.contains("not valid JSON") {
        (reason, "json_invalid")
    } else if reason.contains("invalid type") {
        (reason, "type_error")
    } else {
        (reason, "value_error")
    };
    json!({ "loc": loc, "msg": msg, "type": kind })
}

/// `entries[0].url` in its parts; none for what is no place.
fn segments(place: &str) -> Option<Vec<Value>> {
    let mut segments = vec![];
    for part in place.split('.') {
        let (name, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        if !is_name(name) {
            return None;
        }
        segments.push(Value::from(name));
        for index in indices.split('[').skip(1) {
            segments.push(index.strip_suffix(']')?.parse::<u64>().ok()?.into());
        }
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_422_names_place_and_kind_as_opal_does() {
        for (detail, loc, msg, kind) in [
            (
                "entries[0].url: missing; give a `url`",
                json!(["body", "entries", 0, "url"]),
                "missing; give a `url`",
                "value_error.missing",
            ),
            (
                "entries[2]: missing field `url`",
                json!(["body", "entries", 2, "url"]),
                "field required",
                "value_error.missing",
            ),
            (
                "missing field `entries`",
                json!(["body", "entries"]),
                "field required",
                "value_error.missing",
            ),
            (
                "the body is not valid JSON: EOF",
                json!(["body"]),
                "the body is not valid JSON: EOF",
                "json_invalid",
            ),
            ("wait: give `all`", json!(["query", "wait"]), "give `all`", "value_error"),
            (
                "config.entries[1].topics: invalid type: string",
                json!(["body", "config", "entries", 1, "topics"]),
                "invalid type: string",
                "type_error",
            ),
            ("what is wrong: this", json!(["body"]), "what is wrong: this", "value_error"),
        ] {
            let body = Problem::invalid(detail).body();
            assert_eq!(
                body["detail"][0],
                json!({"loc": loc, "msg": msg, "type": kind}),
                "{detail}"
            );
        }
    }

    #[test]
    fn other_refusals_are_a_sentence() {
        assert_eq!(Problem::unauthorized("no").body(), json!({"detail": {"error": "no"}}));
        assert_eq!(Problem::conflict("taken").body(), json!({"detail": "taken"}));
    }
}
