//! The `config` of an S3 source.

use s3::{Place, PlaceError, Signer, Style};
use serde::Deserialize;
use url::Url;

use crate::fetch::FetchError;

/// Where a bucket is whose region nobody names.
const REGION: &str = "us-east-1";

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct S3Config {
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    access_key_id: Option<String>,
    #[serde(default)]
    secret_access_key: Option<String>,
    #[serde(default)]
    session_token: Option<String>,
    #[serde(default)]
    path_style: Option<bool>,
}

/// What to ask for.
pub(super) struct Object {
    pub(super) url: Url,
    pub(super) key: String,
    pub(super) region: String,
    /// None for an object that is open to everybody.
    pub(super) keys: Option<Keys>,
}

/// What opens it.
pub(super) struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Keys {
    pub(super) fn signer<'s>(&'s self, region: &'s str) -> Signer<'s> {
        let Self { id, secret, token } = self;
        Signer { id, secret, token: token.as_deref(), region, service: "s3" }
    }
}

impl S3Config {
    /// Checks the settings and the address.
    ///
    /// # Errors
    /// Names what is wrong, not what it holds.
    pub(super) fn object(self, url: &str) -> Result<Object, FetchError> {
        let place =
            Place::parse(url).map_err(|error| FetchError::permanent(format!("url: {error}")))?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let keys = match (given(self.access_key_id), given(self.secret_access_key)) {
            (Some(id), Some(secret)) => Some(Keys { id, secret, token: given(self.session_token) }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(FetchError::permanent("config.secret_access_key: give it too"));
            }
            (None, Some(_)) => {
                return Err(FetchError::permanent("config.access_key_id: give it too"));
            }
        };
        let region = given(self.region).unwrap_or_else(|| REGION.to_owned());
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-';
        if !region.chars().all(is_plain) {
            return Err(FetchError::permanent("config.region: give one such as eu-central-1"));
        }
        let endpoint = given(self.endpoint);
        // Only AWS is sure to have a name for each bucket; one with dots has no certificate there.
        let path_style =
            self.path_style.unwrap_or(endpoint.is_some() || place.bucket.contains('.'));
        let style = if path_style { Style::Path } else { Style::Host };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let url = place.address(&endpoint, style).map_err(|error: PlaceError| {
            FetchError::permanent(format!("config.endpoint: {error}"))
        })?;
        Ok(Object { url, key: place.key, region, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(url: &str, config: &str) -> Result<Object, FetchError> {
        serde_json::from_str::<S3Config>(config).unwrap().object(url)
    }

    #[test]
    fn an_object_is_at_aws_or_at_the_endpoint() {
        for (url, config, address) in [
            ("s3://data/k", "{}", "https://data.s3.us-east-1.amazonaws.com/k"),
            ("s3://data/k", r#"{"region":"eu-1"}"#, "https://data.s3.eu-1.amazonaws.com/k"),
            ("s3://da.ta/k", "{}", "https://s3.us-east-1.amazonaws.com/da.ta/k"),
            ("s3://data/k", r#"{"path_style":true}"#, "https://s3.us-east-1.amazonaws.com/data/k"),
            ("s3://data/k", r#"{"endpoint":"http://h:9"}"#, "http://h:9/data/k"),
            ("s3://data/k", r#"{"endpoint":"http://h:9","path_style":false}"#, "http://data.h:9/k"),
        ] {
            let object = object(url, config).unwrap();
            assert_eq!(object.url.as_str(), address);
            assert!(object.keys.is_none());
        }
    }

    #[test]
    fn bad_settings_are_named_without_what_they_hold() {
        for (url, config, words) in [
            ("http://h/s3cret", "{}", "url: give s3://BUCKET/KEY"),
            ("s3://data/../s3cret", "{}", "url: no part of the key"),
            (
                "s3://data/k",
                r#"{"access_key_id":"s3cret"}"#,
                "config.secret_access_key: give it too",
            ),
            (
                "s3://data/k",
                r#"{"secret_access_key":"s3cret"}"#,
                "config.access_key_id: give it too",
            ),
            (
                "s3://data/k",
                r#"{"endpoint":"https://me:s3cret@h"}"#,
                "config.endpoint: give an endpoint",
            ),
            ("s3://data/k", r#"{"region":"s3cret.example.com/"}"#, "config.region: give one"),
        ] {
            let error = object(url, config).err().expect(config);
            assert!(error.is_permanent());
            let error = error.to_string();
            assert!(error.starts_with(words) && !error.contains("s3cret"), "{error}");
        }
    }
}
