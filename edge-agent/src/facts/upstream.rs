//! Handing a fact to the functions, and their answer back (`spec/critical-updates.md` §4).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use url::Url;

use super::Refusal;
use crate::http::failure;
use crate::plane::{base, received};

/// The header of the functions' answer that names the update.
pub(super) const UPDATE_ID: &str = "x-permit-update-id";
/// Where the functions have facts. A scope has one project and one environment, so any names do.
const FACTS: &str = "/v2/facts/default/default/";
/// How long the functions may take, as Permit has it: a bulk call is much work.
const PATIENCE: Duration = Duration::from_secs(75);

/// The functions' directory of one scope.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    http: reqwest::Client,
    /// What a path is appended to.
    base: String,
}

impl Upstream {
    /// The functions at this address, for this scope.
    pub(crate) fn new(http: reqwest::Client, server: &Url, scope: &str) -> Self {
        Self { http, base: base(server, scope) }
    }

    /// Asks for what is at a [`path`].
    ///
    /// # Errors
    /// 502 or 503 if they do not answer. They may have done what was asked; here nothing was done.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, Refusal> {
        let address = format!("{}{path}", self.base);
        let request = self.http.request(method, address).timeout(PATIENCE).headers(headers.clone());
        let answer = async { received(request.body(body).send().await?).await };
        answer.await.map_err(|error| {
            // Nobody has seen what was never sent.
            if error.is_connect() {
                let reason = format!(
                    "the functions cannot be reached: {}; nothing was written, try again",
                    failure(error)
                );
                return Refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
            }
            let reason = format!(
                "the functions do not answer: {}; nothing was applied here, and whether they have \
                 it is not known",
                failure(error)
            );
            Refusal(StatusCode::BAD_GATEWAY, reason)
        })
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// Those of [`Upstream::ask`].
    pub(super) async fn scope(&self, headers: &HeaderMap) -> Result<Response<Bytes>, Refusal> {
        self.ask(Method::GET, "/v2/api-key/scope", headers, Bytes::new()).await
    }
}

/// The functions' path and query for a request to one of our routes. Its segments stay as they were
/// sent, since a key may have an escaped slash.
///
/// # Errors
/// A segment would be taken for a step up.
pub(super) fn path(method: &Method, uri: &Uri) -> Result<String, String> {
    let own = uri.path();
    let rest = own.strip_prefix("/facts/").or_else(|| {
        let named = own.strip_prefix("/v2/facts/")?;
        named.splitn(3, '/').nth(2)
    });
    let rest = rest.unwrap_or_default();
    let is_step = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(plain.as_str(), "." | "..")
    };
    if rest.split('/').any(is_step) {
        return Err("a key in a path cannot be `.` or `..`; use other keys".to_owned());
    }
    // An address would have it as a slash.
    let rest = rest.replace('\\', "%5C");
    let query = uri.query().unwrap_or_default();
    let mut path = format!("{FACTS}{rest}");
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    if shows_deleted(method, &rest) && !query.contains("return_deleted") {
        path = format!("{path}{}return_deleted=true", if query.is_empty() { '?' } else { '&' });
    }
    Ok(path)
}

/// True for what Permit's agent asks to see once more when it is gone.
fn shows_deleted(method: &Method, rest: &str) -> bool {
    let segments: Vec<&str> = rest.split('/').collect();
    let has_them = matches!(segments.as_slice(), ["users", _, "roles"] | ["role_assignments"]);
    method == Method::DELETE && has_them
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, uri: &str) -> Result<String, String> {
        path(method, &uri.parse().unwrap())
    }

    #[test]
    fn both_prefixes_mean_the_same_and_a_key_stays_as_it_was_sent() {
        for (uri, expected) in [
            ("/facts/users", "users"),
            ("/v2/facts/p1/e1/users", "users"),
            ("/facts/users/auth0%7Celon", "users/auth0%7Celon"),
            ("/v2/facts/a%2Fb/e/users/a%2Fb%20%C3%BC", "users/a%2Fb%20%C3%BC"),
            ("/facts/users?page=2&per_page=5", "users?page=2&per_page=5"),
            ("/facts/users/v2/facts/x", "users/v2/facts/x"),
            ("/facts/users/a\\b", "users/a%5Cb"),
            ("/facts/users/...", "users/..."),
        ] {
            assert_eq!(of(&Method::GET, uri), Ok(format!("{FACTS}{expected}")), "{uri}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_facts() {
        for uri in [
            "/facts/../../../token",
            "/facts/users/%2e%2E/x",
            "/facts/./x",
            "/v2/facts/p/e/users/.%2e",
        ] {
            assert!(of(&Method::GET, uri).is_err(), "{uri}");
        }
        // What names a project or an environment is left out.
        assert_eq!(of(&Method::GET, "/v2/facts/../../x"), Ok(format!("{FACTS}x")));
    }

    #[test]
    fn roles_that_are_taken_away_are_shown() {
        for (method, uri, expected) in [
            (Method::DELETE, "/facts/users/a/roles", "users/a/roles?return_deleted=true"),
            (
                Method::DELETE,
                "/facts/role_assignments?x=1",
                "role_assignments?x=1&return_deleted=true",
            ),
            (
                Method::DELETE,
                "/facts/role_assignments?return_deleted=false",
                "role_assignments?return_deleted=false",
            ),
            (Method::POST, "/facts/role_assignments", "role_assignments"),
            (Method::DELETE, "/facts/role_assignments/bulk", "role_assignments/bulk"),
            (Method::DELETE, "/facts/users/a", "users/a"),
        ] {
            assert_eq!(of(&method, uri), Ok(format!("{FACTS}{expected}")), "{method} {uri}");
        }
    }
}
