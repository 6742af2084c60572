//! `HttpFetchProvider`: one HTTP request, whose answer is the data.

use futures::future::BoxFuture;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
};
use serde_json::value::RawValue;
use url::Url;

use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::http::{display, failure};
use crate::json::Json;
use config::{HttpConfig, Request};

mod config;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// OPAL's `HttpFetchProvider`.
pub struct HttpFetcher {
    means: Means,
}

impl HttpFetcher {
    /// Fetches with [`Means::http`].
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let request = settings_of::<HttpConfig>(source)?.request_or(Method::GET)?;
        let url = self.address(&source.url)?;
        let is_json = request.is_json;
        let (shown, response) = self.ask(url, request).await?;
        let named = |message: String| FetchError::new(format!("{shown} {message}"));
        let status = response.status();
        if !status.is_success() {
            return Err(named(format!("answered {status}")));
        }
        let kind = content_type(response.headers());
        let body = self.read(response).await.map_err(named)?;
        if is_json { json(&body, &kind) } else { text(body) }.map_err(named)
    }

    /// Sends `body`, which is JSON, to `url`, with a source's settings as OPAL's callbacks
    /// have them: `POST` unless they say otherwise, and their `data` instead of `body`.
    ///
    /// # Errors
    /// The settings are wrong, nobody answers, or the answer is not a success.
    pub async fn send(
        &self,
        url: &str,
        config: Option<&RawValue>,
        body: &str,
    ) -> Result<(), FetchError> {
        let source = Source { url: url.to_owned(), config: config.map(ToOwned::to_owned) };
        let mut request = settings_of::<HttpConfig>(&source)?.request_or(Method::POST)?;
        if request.body.is_none() {
            let json = HeaderValue::from_static("application/json");
            request.headers.entry(CONTENT_TYPE).or_insert(json);
            request.body = Some(body.to_owned());
        }
        let (shown, response) = self.ask(self.address(url)?, request).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(FetchError::new(format!("{shown} answered {status}"))),
        }
    }

    /// An address that may be fetched from.
    fn address(&self, text: &str) -> Result<Url, FetchError> {
        let url = Url::parse(text).map_err(|error| {
            FetchError::permanent(format!("url: {error}; give http://… or https://…"))
        })?;
        may_be_fetched(&self.means, &url).map_err(FetchError::permanent)?;
        Ok(url)
    }

    /// Sends the request, and again wherever a redirect points to.
    async fn ask(&self, url: Url, request: Request) -> Result<(String, Response), FetchError> {
        let Request { mut method, mut headers, mut body, .. } = request;
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            let shown = display(&url);
            let named = |message: String| FetchError::new(format!("{shown}: {message}"));
            let mut builder = self.means.http.request(method.clone(), url.clone());
            builder = builder.headers(headers.clone());
            if let Some(body) = &body {
                builder = builder.body(body.clone());
            }
            let response = builder.send().await.map_err(|error| named(failure(error)))?;
            let Some(next) = redirect(&url, &response) else {
                return Ok((shown, response));
            };
            let next = next.map_err(named)?;
            // Not the publisher's word but the server's, which may be another one tomorrow.
            may_be_fetched(&self.means, &next).map_err(FetchError::new)?;
            if next.origin() != url.origin() {
                // Headers were meant for the host that the publisher named, whatever they
                // are called; so was the body.
                headers.clear();
                body = None;
            }
            let status = response.status();
            let becomes_get = status == StatusCode::SEE_OTHER && method != Method::HEAD
                || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND)
                    && method == Method::POST;
            if becomes_get {
                method = Method::GET;
                body = None;
                headers.remove(CONTENT_TYPE);
                headers.remove(CONTENT_LENGTH);
            }
            url = next;
        }
        Err(FetchError::new(format!("{}: more than {MAX_REDIRECTS} redirects", display(&url))))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, String> {
        let limit = self.means.max_bytes;
        let too_large = || format!("answered more than the limit of {limit} bytes");
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(body),
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > limit => {
                    return Err(too_large());
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => return Err(format!("broke off: {}", failure(error))),
            }
        }
    }
}

impl Fetcher for HttpFetcher {
    fn name(&self) -> &'static str {
        "HttpFetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}

/// Refuses other schemes than HTTP's, and literal addresses that are never fetched from;
/// names are looked at when they are resolved.
fn may_be_fetched(means: &Means, url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Err(format!("url: `{scheme}` is not fetched from; give http://… or https://…"));
    }
    means.check_http(url).map_err(|refused| format!("{}: {refused}", display(url)))
}

/// Where a response says to go, if it does.
fn redirect(from: &Url, response: &Response) -> Option<Result<Url, String>> {
    let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| followed)?;
    let next = location.to_str().ok().and_then(|text| from.join(text).ok());
    Some(next.ok_or_else(|| "redirects to something that is not an address".to_owned()))
}

fn content_type(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).unwrap_or("no content type").trim().to_owned()
}

/// The answer as it came, so that numbers stay as they were written.
fn json(body: &[u8], kind: &str) -> Result<Json, String> {
    if body.trim_ascii().is_empty() {
        return Err("answered without a body".to_owned());
    }
    let value: Box<RawValue> = serde_json::from_slice(body)
        .map_err(|error| format!("answered {kind} that is not JSON: {error}"))?;
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => Ok(value.into()),
        Some(b'n') => Err("answered null: Fetched data is empty".to_owned()),
        _ => Err("answered a bare JSON value; data is an object or an array".to_owned()),
    }
}

fn text(body: Vec<u8>) -> Result<Json, String> {
    let text = String::from_utf8(body).map_err(|_| "answered text that is not UTF-8".to_owned())?;
    serde_json::to_string(&text).map(Json::known).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
