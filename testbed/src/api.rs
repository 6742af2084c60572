//! The HTTP that the functions and a real opal-server share, so that both are asked the same way.

use anyhow::{Context as _, Result, anyhow};
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Answer, http_client};

/// A control plane by its URL and its master token: Girasol's functions, or an opal-server.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    master_token: String,
    http: reqwest::Client,
}

// === impl Api ===

impl Api {
    pub(crate) fn new(url: String, master_token: String) -> Result<Self> {
        Ok(Self { url, master_token, http: http_client()? })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `ws://127.0.0.1:PORT/ws`.
    pub fn ws_url(&self) -> String {
        format!("{}/ws", self.url.replacen("http", "ws", 1))
    }

    /// The master token; empty when there is none.
    pub fn master_token(&self) -> &str {
        &self.master_token
    }

    /// Sends one request; `token` goes into `Authorization: Bearer`.
    ///
    /// # Errors
    /// Nobody answered. An answer that is an error by its status is not one here.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request).await.with_context(|| format!("asking for {path}"))
    }

    /// `GET path`.
    ///
    /// # Errors
    /// Those of [`Api::request`].
    pub async fn get(&self, path: &str, token: Option<&str>) -> Result<Answer> {
        self.request(Method::GET, path, token, None).await
    }

    /// Mints a token of `kind` (`client`, `datasource`, `listener`) with the master token. The
    /// members of `extra`, for instance `ttl` and `claims`, are added to the request.
    ///
    /// # Errors
    /// It was refused; the message has the answer.
    pub async fn mint(&self, kind: &str, extra: Value) -> Result<String> {
        let mut body = json!({ "type": kind });
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        let master = Some(self.master_token.as_str());
        let answer = self.request(Method::POST, "/token", master, Some(&body)).await?;
        let body = answer.ok().context("minting a token")?;
        let token = body.get("token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| anyhow!("the answer to POST /token has no `token`: {body}"))
    }

    /// Publishes `update` (`POST /data/config`).
    ///
    /// # Errors
    /// Those of [`Api::request`].
    pub async fn publish(&self, token: &str, update: &Value) -> Result<Answer> {
        self.request(Method::POST, "/data/config", Some(token), Some(update)).await
    }
}
