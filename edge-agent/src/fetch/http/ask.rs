//! Asks, follows redirects, and reads no more than the limit.

use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, IF_NONE_MATCH, LOCATION},
};
use url::Url;

use super::cache::Kept;
use super::config::Request;
use super::may_be_fetched;
use crate::fetch::{FetchError, Means};
use crate::http::{display, failure};
use crate::net::confined;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Memory that is taken at once because a server says that so much will come.
const MAX_PROMISED: usize = 1 << 20;

/// What came, and from where.
pub(super) struct Answer {
    pub(super) url: Url,
    /// The address without its secrets.
    pub(super) shown: String,
    pub(super) response: Response,
}

/// Sends the request, and again wherever a redirect points to. Where `kept` is from, the server
/// is asked for something else only.
pub(super) async fn ask(
    means: &Means,
    url: Url,
    request: Request,
    kept: Option<&Kept>,
) -> Result<Answer, FetchError> {
    let Request { mut method, mut headers, mut body, .. } = request;
    let mut url = url;
    for _ in 0..=MAX_REDIRECTS {
        let shown = display(&url);
        let named = |message: String| FetchError::new(format!("{shown}: {message}"));
        let mut builder = means.http.request(method.clone(), url.clone()).headers(headers.clone());
        if let Some(kept) = kept.filter(|kept| kept.url == url) {
            builder = builder.header(IF_NONE_MATCH, kept.etag.clone());
        }
        if let Some(body) = &body {
            builder = builder.body(body.clone());
        }
        let response = builder.send().await.map_err(|error| named(failure(error)))?;
        let Some(next) = redirect(&url, &response) else {
            return Ok(Answer { url, shown, response });
        };
        let mut next = next.map_err(named)?;
        // Not the publisher's word but the server's, which may be another one tomorrow. Elsewhere
        // no secret goes along.
        confined::released(|| may_be_fetched(means, &next)).map_err(FetchError::new)?;
        if next.origin() == url.origin() {
            stay_logged_in(&url, &mut next);
        } else {
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

/// Where a response says to go, if it does.
fn redirect(from: &Url, response: &Response) -> Option<Result<Url, String>> {
    let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| followed)?;
    let next = location.to_str().ok().and_then(|text| from.join(text).ok());
    Some(next.ok_or_else(|| "redirects to something that is not an address".to_owned()))
}

/// A server that names itself does not repeat the user and password of the address.
fn stay_logged_in(from: &Url, next: &mut Url) {
    if next.username().is_empty() && next.password().is_none() {
        // These fail only for addresses that are not HTTP's.
        let _ = next.set_username(from.username());
        let _ = next.set_password(from.password());
    }
}

/// The body; `limit` holds for what comes out where it is compressed.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let too_large = || format!("answered more than the limit of {limit} bytes (fetch_max_bytes)");
    let promised = response.content_length().map(usize::try_from);
    let promised = promised.map_or(0, |length| length.unwrap_or(usize::MAX));
    if promised > limit {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(promised.min(MAX_PROMISED));
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

/// A header's text; nothing if it has none that can be read.
pub(super) fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
