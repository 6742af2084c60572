//! Requests, and what comes back.

use std::fmt;

use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    /// As it is sent: with its escapes and its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<String>,
}

/// Whoever is asked.
pub(crate) struct Side {
    http: reqwest::Client,
    url: String,
}

/// An answer, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) location: String,
    pub(crate) body: String,
}

// === impl Ask ===

impl Ask {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), ..Self::default() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self::new("POST", path).body(body)
    }

    pub(crate) fn body(self, body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What names it in lists: one line.
    pub(crate) fn name(&self) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!(" [{name}: {value}]")).collect();
        let body = self.body.as_deref().map(|body| format!(" {}", body.replace('\n', "\\n")));
        format!("{} {}{headers}{}", self.method, self.path, body.unwrap_or_default())
    }

    /// Sends it to whoever is at `base`.
    pub(crate) async fn send(&self, http: &reqwest::Client, base: &str) -> Answer {
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        let mut request = http.request(method, format!("{base}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer =
            request.send().await.unwrap_or_else(|error| panic!("{}: {error:?}", self.name()));
        let header = |name| {
            let value = answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            value.unwrap_or_default()
        };
        let (kind, location) = (header(header::CONTENT_TYPE), header(header::LOCATION));
        Answer {
            status: answer.status().as_u16(),
            kind,
            location,
            body: answer.text().await.unwrap(),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut: String = self.body.chars().take(600).collect();
        write!(f, "{} {} {} {}", self.status, self.kind, self.location, cut.trim_end())
    }
}

impl Side {
    /// Everybody may ask.
    pub(crate) fn open(url: &str) -> Self {
        Self { http: http(), url: url.to_owned() }
    }

    /// Whoever has this token may ask.
    pub(crate) fn guarded(url: &str, token: &str) -> Self {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        let http = http_builder().default_headers(headers).build().unwrap();
        Self { http, url: url.to_owned() }
    }

    pub(crate) async fn answer(&self, ask: &Ask) -> Answer {
        ask.send(&self.http, &self.url).await
    }
}

/// A client that follows nothing.
pub(crate) fn http() -> reqwest::Client {
    http_builder().build().unwrap()
}

fn http_builder() -> reqwest::ClientBuilder {
    let builder = testbed::http_client_builder().unwrap();
    builder.redirect(reqwest::redirect::Policy::none())
}
