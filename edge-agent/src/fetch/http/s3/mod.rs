//! `S3FetchProvider`: one object of an S3-compatible store, which is the data.
//!
//! It is asked for as any HTTP source is, conditionally and within the same limits, with a
//! signature where there are keys.
//!
//! | question | file |
//! |---|---|
//! | What can the settings say? | `config` |
//! | What is an object packed in? | `packed` |

use futures::future::BoxFuture;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use super::ask::{Answer, ask, read};
use super::body::{self, Kind};
use super::cache::{self, Cache, Key};
use super::config::Request;
use super::may_be_fetched;
use crate::clock;
use crate::fetch::{FetchError, Fetcher, Means, Source, settings_of};
use crate::json::Json;
use config::{Object, S3Config};
use packed::Packed;

mod config;
mod packed;

/// Where a store says that a bucket is.
const REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// Bytes of a refusal that are looked at for its code.
const MAX_REFUSAL: usize = 8 << 10;

/// What to do about a refusal, by its code or else its status.
const ADVICE: [(&str, &str); 9] = [
    ("NoSuchBucket", "is the bucket's name right?"),
    ("NoSuchKey", "there is no such object; is the key right?"),
    ("SignatureDoesNotMatch", "is config.secret_access_key right?"),
    ("InvalidAccessKeyId", "is config.access_key_id right?"),
    ("ExpiredToken", "config.session_token is too old"),
    ("RequestTimeTooSkewed", "this machine's clock is wrong"),
    ("AccessDenied", "the keys in config do not allow this, or there are none"),
    ("403", "the keys in config do not allow this, or there are none"),
    ("404", "are the bucket's name and the key right?"),
];

/// Objects of S3-compatible storage.
pub struct S3Fetcher {
    means: Means,
    cache: Cache,
}

impl S3Fetcher {
    /// Fetches with [`Means::http`].
    #[must_use]
    pub fn new(means: Means) -> Self {
        Self { means, cache: Cache::default() }
    }

    async fn fetch(&self, source: &Source) -> Result<Json, FetchError> {
        let object = settings_of::<S3Config>(source)?.object(&source.url)?;
        may_be_fetched(&self.means, &object.url).map_err(FetchError::permanent)?;
        let key = Key::of(source);
        let kept = self.cache.get(&key);
        let headers = signed(&object)?;
        let request = Request { method: Method::GET, headers, body: None, is_json: true };
        let asked = ask(&self.means, object.url.clone(), request, kept.as_ref()).await?;
        let Answer { url, shown, response } = asked;
        let named = |message: String| FetchError::new(format!("{shown} {message}"));
        if let (StatusCode::NOT_MODIFIED, Some(kept)) = (response.status(), &kept) {
            return kept.data().map_err(named);
        }
        if !response.status().is_success() {
            return Err(named(refusal(response).await));
        }
        let mut headers = response.headers().clone();
        let etag = cache::etag(&headers);
        let packed = Packed::of(&object.key);
        if let Some(kind) = packed.content_type() {
            // Stores say "bytes" of most things; the name says more.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let kind = Kind::of(&headers).map_err(named)?;
        let body = read(response, self.means.max_bytes).await.map_err(named)?;
        let body = packed.unpack(body, self.means.max_bytes).await.map_err(named)?;
        let data = body::json(body, &kind).map_err(named)?;
        if let Some(etag) = etag {
            self.cache.keep(key, url, etag, &data).await;
        }
        Ok(data)
    }
}

impl Fetcher for S3Fetcher {
    fn name(&self) -> &str {
        "S3FetchProvider"
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.fetch(source))
    }
}

/// The headers that open an object; none for one that is open to everybody.
fn signed(object: &Object) -> Result<HeaderMap, FetchError> {
    let Some(keys) = &object.keys else { return Ok(HeaderMap::new()) };
    let signer = keys.signer(&object.region);
    let headers = signer.sign_get(&::s3::host(&object.url), object.url.path(), clock::now());
    headers
        .into_iter()
        .map(|(name, text)| {
            let value = HeaderValue::try_from(text).map(|mut value| {
                value.set_sensitive(true);
                (HeaderName::from_static(name), value)
            });
            value.map_err(|_| {
                FetchError::permanent(
                    "config: access_key_id, session_token and region are plain text without line \
                     breaks",
                )
            })
        })
        .collect()
}

/// What the store said: its status and its code, which is a word, but nothing else of its body,
/// which may repeat what it was sent.
async fn refusal(response: Response) -> String {
    let status = response.status();
    let region = response.headers().get(REGION).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let body = read(response, MAX_REFUSAL).await.unwrap_or_default();
    let code = code(&body);
    let number = status.as_u16().to_string();
    let advice = ADVICE.iter().find(|(of, _)| code.as_deref() == Some(*of));
    let advice = advice.or_else(|| ADVICE.iter().find(|(of, _)| *of == number));
    let hint = match (status.is_redirection(), region, advice) {
        (true, Some(region), _) if is_word(&region) => {
            format!("; the bucket is in config.region {region}")
        }
        (true, ..) => "; the bucket is elsewhere: give config.region or config.endpoint".to_owned(),
        (false, _, Some((_, advice))) => format!("; {advice}"),
        (false, _, None) => String::new(),
    };
    let code = code.map_or_else(String::new, |code| format!(" ({code})"));
    format!("answered {status}{code}{hint}")
}

/// The text between `<Code>` and `</Code>`.
fn code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.to_owned()).filter(|code| is_word(code))
}

fn is_word(text: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
    (1..=60).contains(&text.len()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusals_code_is_a_word_or_nothing() {
        for (body, expected) in [
            ("<?xml?><Error><Code>NoSuchKey</Code><Key>k</Key></Error>", Some("NoSuchKey")),
            ("<Error><Code>an s3cret</Code></Error>", None),
            ("<Error><Code></Code></Error>", None),
            ("<Code>NoEnd", None),
            ("not found", None),
        ] {
            assert_eq!(code(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(code(b"\xff<Code>A</Code>").as_deref(), Some("A"));
    }

    #[test]
    fn keys_are_sent_as_headers_that_are_not_shown() {
        let config =
            r#"{"access_key_id":"ID","secret_access_key":"s3cret","session_token":"t0ken"}"#;
        let config: S3Config = serde_json::from_str(config).unwrap();
        let headers = signed(&config.object("s3://data/key").unwrap()).unwrap();
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        for name in ["authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        let shown = format!("{headers:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");

        let config: S3Config = serde_json::from_str("{}").unwrap();
        assert!(signed(&config.object("s3://data/key").unwrap()).unwrap().is_empty());
        let config = r#"{"access_key_id":"I\nD","secret_access_key":"s3cret"}"#;
        let config: S3Config = serde_json::from_str(config).unwrap();
        assert!(signed(&config.object("s3://data/key").unwrap()).unwrap_err().is_permanent());
    }
}
