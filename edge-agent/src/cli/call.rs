//! A command's one request to the server.

use std::time::Duration;

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::{Failure, variable};
use crate::{
    http::{self, display, failure},
    settings::{Secret, http_address},
};

/// For an answer to a small body.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a slow connection still carries in a second.
const BYTES_A_SECOND: usize = 100_000;

/// The server's address: the flag, else what the agent's settings say, else the default.
pub(super) fn server(flag: Option<&str>) -> Result<Url, Failure> {
    let named =
        flag.map(str::to_owned).or_else(|| variable(&["GIRASOL_SERVER", "OPAL_SERVER_URL"]));
    let text = named.unwrap_or_else(|| "http://localhost:7002".to_owned());
    http_address(&text).map_err(|reason| Failure::usage(format!("--server-url: {reason}")))
}

/// `route` below the server's address, which may have a path of its own.
pub(super) fn route(server: &Url, route: &str) -> Url {
    let mut url = server.clone();
    let path = format!("{}/{}", server.path().trim_end_matches('/'), route.trim_start_matches('/'));
    url.set_path(&path);
    url
}

/// A route of a scope's, or the server's `own`.
pub(super) fn scoped(scope: Option<&str>, own: &str, route: &str) -> Result<String, Failure> {
    match scope {
        None => Ok(own.to_owned()),
        // What would be understood as a path of its own.
        Some("" | "." | "..") => Err(Failure::usage("--scope: give a scope's name")),
        Some(scope) if scope.contains(['/', '\\', '%']) => {
            Err(Failure::usage("--scope: a scope's name has no / \\ or %"))
        }
        Some(scope) => Ok(format!("/scopes/{scope}/{route}")),
    }
}

/// The token to publish with: the one that is given as `argument`, else the environment's.
pub(super) fn token(given: Option<String>, argument: &str) -> Result<Secret, Failure> {
    given.or_else(|| variable(&["GIRASOL_TOKEN", "OPAL_CLIENT_TOKEN"])).map(Secret::new).ok_or_else(
        || {
            Failure::usage(format!("no token: give it as {argument}, or set GIRASOL_TOKEN"))
                .hint("get one with `edge-agent obtain-token MASTER_TOKEN --type datasource`")
        },
    )
}

/// The server answered well, and not with what it should.
pub(super) fn unexpected(url: &Url, what: &str) -> Failure {
    Failure::run(format!("{} answered something that {what}", display(url)))
        .hint("is --server-url the address of the functions?")
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Sends JSON with a bearer token and returns the body of a 2xx answer.
pub(super) fn send(
    method: Method,
    url: &Url,
    token: &Secret,
    body: String,
) -> Result<String, Failure> {
    runtime()?.block_on(ask(method, url, token, Some(body)))?.success(url)
}

/// What a command's requests run on.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::run(format!("cannot start: {error}")))
}

/// SIGTERM or SIGINT.
pub(super) async fn stopped() -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::run(format!("cannot listen for signals: {error}")))
    };
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// Sends a request with a bearer token, and with JSON if there is a body. Every answer is one; a
/// failure is that there was none.
pub(super) async fn ask(
    method: Method,
    url: &Url,
    token: &Secret,
    body: Option<String>,
) -> Result<Answer, Failure> {
    let failed = |reason: String| Failure::run(format!("{}: {reason}", display(url)));
    let upload = body.as_ref().map_or(0, |body| body.len() / BYTES_A_SECOND);
    let upload = u64::try_from(upload).unwrap_or(u64::MAX);
    let timeout = TIMEOUT.saturating_add(Duration::from_secs(upload));
    let client = http::client(timeout).map_err(|error| failed(error.to_string()))?;
    let mut request = client.request(method, url.clone()).bearer_auth(token.expose());
    if let Some(body) = body {
        request = request.header(CONTENT_TYPE, "application/json").body(body);
    }
    let response = request.send().await.map_err(|error| {
        let reason = failure(error);
        let hint = if reason.contains("certificate") {
            "name the file of the authority that signed it: SSL_CERT_FILE=ca.pem"
        } else {
            "start the server, or name another one with --server-url"
        };
        failed(reason).hint(hint)
    })?;
    let status = response.status().as_u16();
    let body = response.text().await.map_err(|error| failed(failure(error)))?;
    Ok(Answer { status, body })
}

impl Answer {
    /// The body of a 2xx answer.
    pub(super) fn success(self, url: &Url) -> Result<String, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let (status, detail) = (self.status, detail(&self.body));
        Err(Failure::run(format!("{}: answered {status}{detail}", display(url))))
    }
}

/// What `{"detail": …}` says, in one of the forms it has.
fn detail(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = body.get("detail");
    if let Some(faults) = detail.and_then(Value::as_array) {
        return faults.iter().map(fault).collect();
    }
    let text = match detail {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(detail) => detail.get("error").and_then(Value::as_str),
        None => None,
    };
    match (text, detail) {
        (Some(text), _) => format!(": {text}"),
        (None, Some(detail)) => format!(": {detail}"),
        (None, None) => String::new(),
    }
}

/// One fault of a 422: where it is, and what.
fn fault(fault: &Value) -> String {
    let said = fault.get("msg").and_then(Value::as_str).unwrap_or("not valid");
    let place = fault.get("loc").and_then(Value::as_array).into_iter().flatten().skip(1);
    let place = place.map(|part| match part {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    });
    let place = place.collect::<Vec<_>>().join(".");
    if place.is_empty() { format!(": {said}") } else { format!(": {place}: {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_in_the_servers_words() {
        for (body, said) in [
            (r#"{"detail":"entries: none"}"#, ": entries: none"),
            (
                r#"{"detail":{"error":"Access token is expired","token":"secret"}}"#,
                ": Access token is expired",
            ),
            (r#"{"detail":[{"msg":"field required"}]}"#, ": field required"),
            (
                r#"{"detail":[{"loc":["body","entries",0,"url"],"msg":"field required"}]}"#,
                ": entries.0.url: field required",
            ),
            ("<html>", ""),
            ("", ""),
        ] {
            assert_eq!(detail(body), said);
        }
    }

    #[test]
    fn a_route_goes_below_the_servers_path() {
        for (base, at, expected) in [
            ("http://h:7002", "/token", "http://h:7002/token"),
            ("http://h/girasol/", "token", "http://h/girasol/token"),
            ("http://h/girasol", "/scopes/a b/data", "http://h/girasol/scopes/a%20b/data"),
        ] {
            assert_eq!(route(&Url::parse(base).unwrap(), at).as_str(), expected);
        }
    }

    #[test]
    fn a_scope_has_routes_of_its_own() {
        let of = |scope| scoped(scope, "/policy", "policy");
        assert_eq!(of(None).unwrap(), "/policy");
        assert_eq!(of(Some("acme")).unwrap(), "/scopes/acme/policy");
        for name in ["", "..", "a/../../token", "a%2Fb"] {
            let failure = of(Some(name)).unwrap_err();
            assert!(failure.code == 2 && failure.message.starts_with("--scope: "), "{name}");
        }
    }

    #[test]
    fn an_address_that_is_none_or_holds_a_secret_is_refused_and_not_shown() {
        for address in [
            "localhost:7002",
            "ftp://h",
            "http://me:secret@h",
            "http://secret@h",
            "http://h?secret",
        ] {
            let failure = server(Some(address)).unwrap_err();
            assert_eq!(failure.code, 2);
            assert!(failure.message.starts_with("--server-url: "), "{}", failure.message);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
    }
}
