//! `HttpFetchProvider`: one HTTP request, whose answer is the data.
//!
//! | question | file |
//! |---|---|
//! | How is a source's `config` read? | `config` |
//! | How is it asked, and where do redirects lead? | `ask` |
//! | What does an answer mean that has no data? | `refusal` |
//! | How does a body become JSON? | `body` |
//! | What is kept so that it need not be sent again? | `cache` |
//! | How is S3-compatible storage asked, which is HTTP with signatures? | `s3` |

use futures::future::BoxFuture;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, IF_NONE_MATCH},
};
use serde_json::value::RawValue;
use url::Url;

use super::{FetchError, Fetcher, Means, Source, settings_of};
use crate::http::display;
use crate::json::Json;
use ask::{Answer, ask, read};
use body::Kind;
use cache::{Cache, Key};
use config::{HttpConfig, Request};

mod ask;
mod body;
mod cache;
mod config;
mod refusal;
#[cfg(feature = "s3")]
pub(super) mod s3;

/// OPAL's `HttpFetchProvider`.
pub struct HttpFetcher {
    means: Means,
    cache: Cache,
}

impl HttpFetcher {
    /// Fetches with [`Means::http`].
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, cache: Cache::default() }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let request = settings_of::<HttpConfig>(source)?.request_or(Method::GET)?;
        let url = self.address(&source.url)?;
        let is_json = request.is_json;
        let key = may_be_kept(&request).then(|| Key::of(source));
        let kept = key.as_ref().and_then(|key| self.cache.get(key));
        let Answer { url, shown, response } = ask(&self.means, url, request, kept.as_ref()).await?;
        let named = |message: String| FetchError::new(format!("{shown} {message}"));
        // Only who was asked on that condition can say so; a redirect may have led elsewhere.
        if let (StatusCode::NOT_MODIFIED, Some(kept)) = (response.status(), &kept)
            && kept.url == url
        {
            return kept.data().map_err(named);
        }
        if !response.status().is_success() {
            return Err(refusal::of(&shown, &response));
        }
        let kind = Kind::of(response.headers()).map_err(named)?;
        let etag = cache::etag(response.headers());
        let body = read(response, self.means.max_bytes).await.map_err(named)?;
        let data = if is_json { body::json(body, &kind) } else { body::text(body, &kind) };
        let data = data.map_err(named)?;
        if let (Some(key), Some(etag)) = (key, etag) {
            self.cache.keep(key, url, etag, &data).await;
        }
        Ok(data)
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
        let Answer { shown, response, .. } =
            ask(&self.means, self.address(url)?, request, None).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refusal::of(&shown, &response))
    }

    /// An address that may be fetched from.
    fn address(&self, text: &str) -> Result<Url, FetchError> {
        let url = Url::parse(text).map_err(|error| {
            FetchError::permanent(format!("url: {error}; give http://… or https://…"))
        })?;
        may_be_fetched(&self.means, &url).map_err(FetchError::permanent)?;
        Ok(url)
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

/// Answers to other questions are not the same data, and whoever asks conditionally wants to
/// hear the answer himself.
fn may_be_kept(request: &Request) -> bool {
    request.method == Method::GET
        && request.body.is_none()
        && !request.headers.contains_key(IF_NONE_MATCH)
}

/// Refuses other schemes than HTTP's, and what the limits of reach refuse; names are looked
/// at again when they are resolved.
fn may_be_fetched(means: &Means, url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme();
        return Err(format!("url: `{scheme}` is not fetched from; give http://… or https://…"));
    }
    means.check_http(url).map_err(|refused| format!("{}: {refused}", display(url)))
}

#[cfg(test)]
mod tests;
