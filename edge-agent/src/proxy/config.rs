//! The proxy's file: TOML, of which an unknown member is an error.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use grants::pattern::Pattern;
use protocol::limits::MAX_SLUG_BYTES;
use protocol::plane::grants::PathSyntax;
use serde::Deserialize;
use url::Url;

use super::pointer::Pointer;

/// A file that cannot be used; what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

/// How the proxy is set up.
#[derive(Debug)]
pub(crate) struct Config {
    /// What it is called.
    pub(crate) name: String,
    /// Where it listens in the application's place.
    pub(crate) listen: SocketAddr,
    /// Where it says how it is, if it does.
    pub(crate) health_listen: Option<SocketAddr>,
    /// The application: `http` alone.
    pub(crate) upstream: Url,
    /// Where facts are kept and grants are checked: an agent's data plane, or the functions.
    pub(crate) data_plane: Url,
    /// What is asked whether a request may pass: a document of OPA's `/v1/data/…`.
    pub(crate) decision: Url,
    /// A file with the grant's token; else GIRASOL_GRANT_TOKEN has it.
    pub(crate) token_file: Option<PathBuf>,
    /// Bytes of a body that is rewritten.
    pub(crate) max_body_bytes: usize,
    /// Seconds in which a body that is taken apart has to be there.
    body_timeout_seconds: u64,
    /// Seconds for everything that the proxy asks.
    pub(crate) timeout_seconds: u64,
    /// Seconds for an agent to catch up, before the proxy can be deployed.
    catch_up_seconds: u64,
    /// Milliseconds between two looks at the grant.
    grant_check_ms: u64,
    /// What is rewritten.
    pub(crate) routes: Vec<Route>,
}

/// Requests whose bodies are rewritten, or whose answers are.
#[derive(Debug)]
pub(crate) struct Route {
    method: String,
    /// The path's pattern, as it is written.
    text: String,
    path: Pattern,
    /// Values that become facts.
    pub(crate) request: Vec<Replaced>,
    /// Facts that become values.
    pub(crate) response: Vec<Pointer>,
}

/// A place in a request's body.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// Where the values are.
    pub(crate) pointer: Pointer,
    /// Of which type they are.
    pub(crate) fact_type: String,
    /// Where the custom id of their scope is, if they have one.
    pub(crate) scope: Option<Pointer>,
    /// Whether an id of a fact is taken as one, and not as text like any other.
    pub(crate) accept_ids: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    listen: SocketAddr,
    health_listen: Option<SocketAddr>,
    upstream: String,
    data_plane: String,
    decision: String,
    token_file: Option<PathBuf>,
    #[serde(default = "max_body_bytes")]
    max_body_bytes: usize,
    #[serde(default = "body_timeout_seconds")]
    body_timeout_seconds: u64,
    #[serde(default = "timeout_seconds")]
    timeout_seconds: u64,
    #[serde(default = "catch_up_seconds")]
    catch_up_seconds: u64,
    #[serde(default = "grant_check_ms")]
    grant_check_ms: u64,
    #[serde(default)]
    routes: Vec<RouteText>,
}

/// A route as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteText {
    #[serde(default = "any_method")]
    method: String,
    path: String,
    #[serde(default)]
    accept_ids: bool,
    #[serde(default)]
    request: Vec<ReplacedText>,
    #[serde(default)]
    response: Vec<RestoredText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplacedText {
    pointer: String,
    fact_type: String,
    scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoredText {
    pointer: String,
}

fn max_body_bytes() -> usize {
    1 << 20
}

fn body_timeout_seconds() -> u64 {
    30
}

fn timeout_seconds() -> u64 {
    10
}

fn catch_up_seconds() -> u64 {
    60
}

fn grant_check_ms() -> u64 {
    300
}

fn any_method() -> String {
    "*".to_owned()
}

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The line or the member that is wrong, and what is possible.
    pub(crate) fn read(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
        let named = |member: &str, reason: &str| ConfigError(format!("{member}: {reason}"));
        let refuse = |member: &str, reason: String| Err(named(member, &reason));
        let is_name = |it: u8| it.is_ascii_alphanumeric() || b"_.-".contains(&it);
        let name = &file.name;
        if name.is_empty() || name.len() > MAX_SLUG_BYTES || !name.bytes().all(is_name) {
            return refuse("name", "give 1 to 64 letters, digits, `_`, `.` or `-`".to_owned());
        }
        let upstream = address(&file.upstream).map_err(|it| named("upstream", &it))?;
        if upstream.scheme() != "http" {
            return refuse("upstream", "give the application's http address".to_owned());
        }
        let data_plane = address(&file.data_plane).map_err(|it| named("data_plane", &it))?;
        let decision = address(&file.decision).map_err(|it| named("decision", &it))?;
        if !(1..=3_600).contains(&file.body_timeout_seconds) {
            return refuse("body_timeout_seconds", "give 1 to 3600".to_owned());
        }
        if file.timeout_seconds == 0 || !(10..=60_000).contains(&file.grant_check_ms) {
            return refuse(
                "timeout_seconds, grant_check_ms",
                "give at least 1, and 10 to 60000".to_owned(),
            );
        }
        let mut routes = vec![];
        for (at, route) in file.routes.iter().enumerate() {
            let read = Route::read(route);
            routes.push(read.map_err(|it| ConfigError(format!("routes[{at}].{it}")))?);
        }
        Ok(Self {
            name: file.name,
            listen: file.listen,
            health_listen: file.health_listen,
            upstream,
            data_plane,
            decision,
            token_file: file.token_file,
            max_body_bytes: file.max_body_bytes,
            body_timeout_seconds: file.body_timeout_seconds,
            timeout_seconds: file.timeout_seconds,
            catch_up_seconds: file.catch_up_seconds,
            grant_check_ms: file.grant_check_ms,
            routes,
        })
    }

    /// The time in which a body that is taken apart has to be there.
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds)
    }

    /// For how long an agent that has not caught up is waited for.
    pub(crate) fn catch_up(&self) -> Duration {
        Duration::from_secs(self.catch_up_seconds)
    }

    /// The time between two looks at the grant.
    pub(crate) fn grant_check_interval(&self) -> Duration {
        Duration::from_millis(self.grant_check_ms)
    }

    /// What is told of the proxy where it is deployed: methods, paths and pointers, no values.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let routes: Vec<_> = self.routes.iter().map(Route::summary).collect();
        serde_json::json!({ "routes": routes })
    }
}

/// An address of the file.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.host_str().is_some());
    let url = url.ok_or("give an http or https address")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a credential has no place in an address".to_owned());
    }
    Ok(url)
}

impl Route {
    fn read(text: &RouteText) -> Result<Self, String> {
        let path = Pattern::read(&text.path, PathSyntax::Safe);
        let path = path.map_err(|error| format!("path: {error}"))?;
        let pointer = |member: &str, text: &str| {
            Pointer::read(text).map_err(|reason| format!("{member}: {reason}"))
        };
        let mut request = vec![];
        for (at, it) in text.request.iter().enumerate() {
            let scope = it.scope.as_deref().map(|text| pointer("scope", text)).transpose();
            request.push(Replaced {
                pointer: pointer("pointer", &it.pointer)
                    .map_err(|error| format!("request[{at}].{error}"))?,
                fact_type: it.fact_type.clone(),
                scope: scope.map_err(|error| format!("request[{at}].{error}"))?,
                accept_ids: text.accept_ids,
            });
        }
        let mut response = vec![];
        for (at, it) in text.response.iter().enumerate() {
            let read = pointer("pointer", &it.pointer);
            response.push(read.map_err(|error| format!("response[{at}].{error}"))?);
        }
        let method = text.method.to_ascii_uppercase();
        Ok(Self { method, text: text.path.clone(), path, request, response })
    }

    /// What is told of it where the proxy is deployed.
    fn summary(&self) -> serde_json::Value {
        let request = self.request.iter().map(
            |it| serde_json::json!({ "pointer": it.pointer.text(), "fact_type": it.fact_type }),
        );
        let response: Vec<&str> = self.response.iter().map(Pointer::text).collect();
        serde_json::json!({
            "method": self.method, "path": self.text,
            "request": request.collect::<Vec<_>>(), "response": response })
    }

    /// Says in the log what it is about.
    pub(crate) fn tell(&self) {
        let replaced = self.request.iter();
        let replaced = replaced.map(|it| format!("{} ({})", it.pointer.text(), it.fact_type));
        let restored: Vec<&str> = self.response.iter().map(Pointer::text).collect();
        tracing::info!(
            method = %self.method, path = %self.text,
            replaced = %replaced.collect::<Vec<_>>().join(", "),
            restored = %restored.join(", "), "a route");
    }

    /// True if it is about this request.
    pub(crate) fn is_about(&self, method: &str, path: &str) -> bool {
        (self.method == "*" || self.method == method) && self.path.matches(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../examples/proxy/proxy.toml");

    #[test]
    fn the_example_is_a_file_that_can_be_used() {
        let config = Config::read(FILE).unwrap();
        assert_eq!(config.name, "billing");
        let about = |method, path| config.routes.iter().any(|it| it.is_about(method, path));
        assert!(about("POST", "/users") && about("GET", "/users/7"));
        assert!(!about("GET", "/users/7/x") && !about("PUT", "/users"));
        let summary = config.summary();
        assert!(!summary.to_string().contains("127.0.0.1"));
        let first = serde_json::json!({
            "method": "POST", "path": "/users",
            "request": [{"pointer": "/email", "fact_type": "email"}], "response": ["/email"] });
        assert_eq!(summary["routes"][0], first);
    }

    #[test]
    fn a_file_that_cannot_be_used_says_where_and_why() {
        for (from, to, why) in [
            ("name = \"billing\"", "nmae = \"billing\"", "unknown field `nmae`"),
            ("name = \"billing\"", "name = \"a b\"", "name: give 1 to 64"),
            ("listen = \"127.0.0.1:28001\"", "listen = \"here\"", "listen"),
            ("upstream = \"http:", "upstream = \"https:", "upstream: give the application's http"),
            ("decision = \"http://", "decision = \"http://me:secret@", "decision: a credential"),
            ("name = \"billing\"", "name = \"b\"\nbody_timeout_seconds = 0", "give 1 to 3600"),
            ("path = \"/users\"", "path = \"/users*\"", "routes[0].path: "),
            ("pointer = \"/email\"", "pointer = \"email\"", "routes[0].request[0].pointer: "),
        ] {
            assert!(FILE.contains(from), "{from}");
            let error = Config::read(&FILE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(why), "{to}: {error}");
        }
    }
}
