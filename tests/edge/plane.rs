//! How the control plane and the data plane are asked.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use speedate::DateTime;
use testbed::{Answer, Functions, http_client};

/// The header that carries a grant's token.
pub(crate) const HEADER: &str = "X-OPV-GRANT-TOKEN";
/// The tenant of most tests.
pub(crate) const DOMAIN: &str = "sandbox.example.com";

/// Where grants are made.
pub(crate) const GRANTS: &str = "/api/v1/grants";
/// What who may not is told, whatever he asked for.
pub(crate) const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");
/// A fact's value that is found nowhere else.
pub(crate) const VALUE: &str = "ada.lovelace.the.first@example.com";

/// A grant that was made, and its token.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) token: String,
}

/// A grant's body.
pub(crate) fn grant(methods: &[&str], paths: &[&str]) -> Value {
    json!({ "domain": DOMAIN, "allowed_http_methods": methods, "paths": paths })
}

/// The same body with one more member, or another one.
pub(crate) fn with(mut body: Value, member: &str, value: impl Into<Value>) -> Value {
    body[member] = value.into();
    body
}

/// Makes a grant with the master token.
pub(crate) async fn make(functions: &Functions, body: &Value) -> Made {
    let made = control(functions, Method::POST, "/api/v1/grants", Some(body)).await;
    let made = made.ok().unwrap();
    let text = |member: &str| made[member].as_str().unwrap_or_default().to_owned();
    Made { id: text("id"), token: text("token") }
}

/// A token for everything in a domain.
pub(crate) async fn omni(functions: &Functions, domain: &str) -> String {
    make(functions, &with(grant(&["*"], &["*"]), "domain", domain)).await.token
}

/// Asks the control plane with the master token.
pub(crate) async fn control(
    functions: &Functions,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    functions.request(method, path, Some(functions.master_token()), body).await.unwrap()
}

/// Asks with a grant's token.
pub(crate) async fn ask(
    functions: &Functions,
    token: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    let request = request(functions, method, path).header(HEADER, token);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Answer::of(request).await.unwrap()
}

/// A request without anything.
pub(crate) fn request(functions: &Functions, method: Method, path: &str) -> RequestBuilder {
    http_client().unwrap().request(method, format!("{}{path}", functions.url()))
}

/// A fact's body, outside of scopes.
pub(crate) fn fact(slug: &str, value: &str) -> Value {
    json!({ "fact_type_slug": slug, "value": value })
}

/// Keeps a fact; its id.
pub(crate) async fn keep(functions: &Functions, token: &str, fact: &Value) -> String {
    let kept = ask(functions, token, Method::POST, "/api/v1/facts", Some(fact)).await;
    kept.ok().unwrap()["id"].as_str().unwrap().to_owned()
}

/// Shows a fact.
pub(crate) async fn show(functions: &Functions, token: &str, id: &str) -> Answer {
    ask(functions, token, Method::GET, &format!("/api/v1/facts/{id}"), None).await
}

/// The status of an answer, and what it says.
pub(crate) fn said(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.body["message"].as_str().unwrap_or_default())
}

/// What an answer says to do about it.
pub(crate) fn detail(answer: &Answer) -> &str {
    answer.body["detail"].as_str().unwrap_or_default()
}

/// A moment from now, or before it, as it is written in a grant.
pub(crate) fn in_seconds(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = i64::try_from(now).unwrap() + seconds;
    format!("{}Z", DateTime::from_timestamp(at, 0).unwrap())
}

/// The files below a folder that have a text in them.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else {
            // A journal may go while this looks.
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Asks until something is so, for as long as nothing on loopback takes.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "never so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
