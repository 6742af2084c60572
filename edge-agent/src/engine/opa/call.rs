//! One call of OPA's REST API, and what its answer means.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use protocol::DataPath;
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{CONTENT_TYPE, IF_NONE_MATCH},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{
    marker::{self, Mark, Marker},
    metrics,
};
use crate::{
    engine::{EngineError, Undecided},
    http::{self, HttpError, display, failure},
    json::Json,
    settings::Secret,
};

/// A document of many megabytes takes OPA seconds to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// OPAL's, for its liveness probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// OPA's REST API.
pub(super) struct Rest {
    http: Client,
    url: Url,
    token: Option<Secret>,
    /// Writes that OPA has done for us, as far as we heard.
    writes: AtomicU64,
}

/// A request body with its content type.
pub(super) enum Body<'b> {
    Json(&'b str),
    Patch(&'b str),
    Rego(&'b str),
    None,
}

/// OPA's no to a module.
pub(super) struct Refused {
    /// Which module, and OPA's words.
    pub(super) why: String,
    /// It is not Rego, whatever other modules there are.
    pub(super) unreadable: bool,
}

/// OPA's error document.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    file: String,
    #[serde(default)]
    row: u64,
}

#[derive(Deserialize)]
struct Found<T> {
    result: Option<T>,
}

#[derive(Deserialize)]
struct Module {
    raw: String,
}

impl Rest {
    pub(super) fn new(url: Url, token: Option<Secret>) -> Result<Self, HttpError> {
        // A proxy would see the token and all of the data.
        let http = http::direct_client(WRITE_TIMEOUT)?;
        Ok(Self { http, url, token, writes: AtomicU64::new(0) })
    }

    /// Writes at a place of the data document.
    pub(super) async fn data(
        &self,
        method: Method,
        path: &DataPath,
        body: Body<'_>,
    ) -> Result<(), EngineError> {
        let segments = path.segments().iter().map(String::as_str);
        let response = self.call(method, self.address("data", segments), body).await?;
        match response.status().as_u16() {
            // 304: there already, to a request that asked to be told so.
            200 | 204 | 304 => Ok(()),
            _ => Err(refusal(response).await),
        }
    }

    /// Makes an empty object at `path`, and its parents, unless something is there.
    pub(super) async fn make_object(&self, path: &DataPath) -> Result<(), EngineError> {
        let url = self.address("data", path.segments().iter().map(String::as_str));
        let request = self.http.put(url).timeout(WRITE_TIMEOUT).header(IF_NONE_MATCH, "*");
        let request = request.header(CONTENT_TYPE, "application/json").body("{}");
        let response = self.send(request).await?;
        self.count(&response);
        match response.status().as_u16() {
            200 | 204 | 304 => Ok(()),
            _ => Err(refusal(response).await),
        }
    }

    /// Puts or deletes a policy module, unless OPA refuses; a module that is to go may be
    /// gone.
    pub(super) async fn policy(
        &self,
        method: Method,
        id: &str,
        body: Body<'_>,
    ) -> Result<Option<Refused>, EngineError> {
        let gone = method == Method::DELETE;
        let response = self.call(method, self.address("policies", id.split('/')), body).await?;
        let status = response.status();
        if status == StatusCode::OK || (gone && status == StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        let refusal = read_refusal(response).await;
        let unreadable = refusal.errors.iter().any(|error| error.code == "rego_parse_error");
        match judge(status, &refusal) {
            EngineError::Rejected(why) => {
                Ok(Some(Refused { why: format!("{id}: {why}"), unreadable }))
            }
            unavailable @ EngineError::Unavailable(_) => Err(unavailable),
        }
    }

    /// The text of a policy module, if there is one of that name.
    pub(super) async fn read_policy(&self, id: &str) -> Result<Option<String>, EngineError> {
        let url = self.address("policies", id.split('/'));
        let response = self.call(Method::GET, url, Body::None).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refusal(response).await),
        }
        let body = response.bytes().await.map_err(|error| self.unavailable(error))?;
        match serde_json::from_slice::<Found<Module>>(&body) {
            Ok(Found { result: Some(module) }) => Ok(Some(module.raw)),
            _ => Err(EngineError::Rejected(format!("{id}: OPA did not answer with its text"))),
        }
    }

    /// The document at a place, if there is one.
    pub(super) async fn read_data(&self, path: &DataPath) -> Result<Option<Json>, EngineError> {
        let url = self.address("data", path.segments().iter().map(String::as_str));
        let response = self.call(Method::GET, url, Body::None).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let body = response.bytes().await.map_err(|error| self.unavailable(error))?;
        let found = serde_json::from_slice::<Found<Box<RawValue>>>(&body);
        let found =
            found.map_err(|_| EngineError::Rejected("OPA did not answer JSON".to_owned()))?;
        Ok(found.result.map(Json::from))
    }

    /// The decision at a place, if it is defined. OPA goes on for as long as somebody waits for it.
    pub(super) async fn decide<'s>(
        &self,
        place: impl Iterator<Item = &'s str>,
        input: &Json,
    ) -> Result<Option<Json>, Undecided> {
        let engine = |error: EngineError| Undecided::Engine(error.to_string());
        let request = self.http.post(self.address("data", place)).timeout(WRITE_TIMEOUT);
        let request = request.header(CONTENT_TYPE, "application/json");
        let response = self.send(request.body(format!(r#"{{"input":{}}}"#, input.get())));
        // It is no write: it does not count as one.
        let response = response.await.map_err(engine)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => {
                return Err(Undecided::Input(refusal(response).await.to_string()));
            }
            _ => return Err(engine(refusal(response).await)),
        }
        let body = response.bytes().await.map_err(|error| engine(self.unavailable(error)))?;
        let found: Found<Box<RawValue>> = serde_json::from_slice(&body)
            .map_err(|_| Undecided::Engine("OPA did not answer JSON".to_owned()))?;
        Ok(found.result.map(Json::from))
    }

    /// What `data.girasol.agent` says, if it is there and is a marker.
    pub(super) async fn read_marker(&self) -> Result<Option<Mark>, EngineError> {
        let path = marker::path();
        let url = self.address("data", path.segments().iter().map(String::as_str));
        let response = self.send(self.http.get(url).timeout(PROBE_TIMEOUT)).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let body = response.bytes().await.map_err(|error| self.unavailable(error))?;
        Ok(serde_json::from_slice::<Found<Mark>>(&body).ok().and_then(|found| found.result))
    }

    /// Puts this run's marker.
    pub(super) async fn write_marker(&self, marker: &Marker) -> Result<(), EngineError> {
        let document = marker.document();
        self.data(Method::PUT, &marker::path(), Body::Json(&document)).await
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        body: Body<'_>,
    ) -> Result<Response, EngineError> {
        let is_read = method == Method::GET;
        let builder = self.http.request(method, url).timeout(WRITE_TIMEOUT);
        let (kind, text) = match body {
            Body::Json(text) => ("application/json", text),
            Body::Patch(text) => ("application/json-patch+json", text),
            Body::Rego(text) => ("text/plain", text),
            Body::None => {
                let response = self.send(builder).await?;
                if !is_read {
                    self.count(&response);
                }
                return Ok(response);
            }
        };
        let response = self.send(builder.header(CONTENT_TYPE, kind).body(text.to_owned())).await?;
        self.count(&response);
        Ok(response)
    }

    fn count(&self, response: &Response) {
        if metrics::is_done(response.status().as_str()) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many writes of policies and data OPA has done for others. Only a change of it
    /// means something. `None` if OPA does not show what it has done.
    pub(super) async fn foreign_writes(&self) -> Result<Option<u64>, EngineError> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("metrics");
        }
        let response = self.send(self.http.get(url).timeout(PROBE_TIMEOUT)).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let page = response.text().await.map_err(|error| self.unavailable(error))?;
        let ours = self.writes.load(Ordering::Relaxed);
        Ok(Some(metrics::writes(&page).wrapping_sub(ours)))
    }

    async fn send(&self, mut builder: reqwest::RequestBuilder) -> Result<Response, EngineError> {
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token.expose());
        }
        builder.send().await.map_err(|error| self.unavailable(error))
    }

    fn unavailable(&self, error: reqwest::Error) -> EngineError {
        EngineError::Unavailable(format!(
            "OPA at {}: {}; start it, or correct --opa-url",
            display(&self.url),
            failure(error)
        ))
    }

    /// `<url>/v1/<kind>/<segments>`, each segment escaped on its own.
    fn address<'s>(&self, kind: &str, segments: impl Iterator<Item = &'s str>) -> Url {
        let mut url = self.url.clone();
        // Fails only for an address without a host, which the settings refuse.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", kind]).extend(segments);
        }
        url
    }
}

/// What an answer that is not a success means.
async fn refusal(response: Response) -> EngineError {
    let status = response.status();
    judge(status, &read_refusal(response).await)
}

async fn read_refusal(response: Response) -> Refusal {
    let body = response.bytes().await.unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_default()
}

fn judge(status: StatusCode, refusal: &Refusal) -> EngineError {
    let mut message = format!("OPA answered {}", status.as_u16());
    if !refusal.message.is_empty() {
        message = format!("{message}: {}", refusal.message.replace('\n', " "));
    }
    for Detail { message: detail, location, .. } in &refusal.errors {
        let place = match location {
            Some(Location { file, row }) => format!("{file}:{row}: "),
            None => String::new(),
        };
        message = format!("{message}; {place}{detail}");
    }
    match status.as_u16() {
        // Not what was written is wrong but who writes it, which somebody will mend; an
        // update that is given up until then would be lost.
        401 | 403 => EngineError::Unavailable(format!("{message}; check --opa-token")),
        408 | 425 | 429 | 500.. => EngineError::Unavailable(message),
        _ => EngineError::Rejected(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_is_escaped_on_its_own() {
        let address = |base: &str, path: &str| {
            let rest = Rest::new(Url::parse(base).unwrap(), None).unwrap();
            let path = DataPath::parse(path).unwrap();
            rest.address("data", path.segments().iter().map(String::as_str)).to_string()
        };
        let opa = "http://localhost:8181";
        for (path, expected) in [
            ("", "http://localhost:8181/v1/data"),
            ("/a/b", "http://localhost:8181/v1/data/a/b"),
            ("/a b/ü?#", "http://localhost:8181/v1/data/a%20b/%C3%BC%3F%23"),
            ("/50%/a%2Fb", "http://localhost:8181/v1/data/50%25/a%252Fb"),
            ("/%2e%2e/%2e", "http://localhost:8181/v1/data/%252e%252e/%252e"),
        ] {
            assert_eq!(address(opa, path), expected);
        }
        assert_eq!(address("http://proxy/opa/", "a"), "http://proxy/opa/v1/data/a");
        assert_eq!(address("http://proxy/opa", "a"), "http://proxy/opa/v1/data/a");
    }
}
