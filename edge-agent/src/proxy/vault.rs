//! The data plane, as the proxy uses it: whether it may be there, and facts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use protocol::plane::HEADER;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Config, ProxyError};
use crate::http::failure;
use crate::plane::BEHIND;
use crate::settings::Secret;

/// How long the proxy goes on without hearing that it may, in turns of its looks.
const SILENT_TURNS: u32 = 3;

/// How the id of a fact begins, and how long it is.
const FACT: (&str, usize) = ("fact_", 25);

/// Facts, and the grant.
#[derive(Debug)]
pub(super) struct Vault {
    http: reqwest::Client,
    base: Url,
    name: String,
    summary: Value,
    token: Secret,
    every: Duration,
    catch_up: Duration,
}

/// Why something is not done, with the status that the proxy's caller gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undone {
    pub(super) status: u16,
    pub(super) message: String,
}

/// Whether the proxy may be there, as far as is known.
#[derive(Debug)]
pub(super) struct Standing {
    began: Instant,
    patience: Duration,
    /// Milliseconds after `began` of the last time that it might.
    good: AtomicU64,
    refused: AtomicU8,
}

impl Standing {
    /// It was deployed just now.
    pub(super) fn new(every: Duration) -> Self {
        let patience = (every * SILENT_TURNS).max(Duration::from_millis(900));
        let began = Instant::now();
        Self { began, patience, good: AtomicU64::new(0), refused: AtomicU8::new(0) }
    }

    /// Why nothing may pass.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.refused.load(Ordering::Acquire) > 0 {
            return Some("the proxy's grant is revoked, over, or does not allow it any more");
        }
        let good = Duration::from_millis(self.good.load(Ordering::Acquire));
        let silent = self.began.elapsed().saturating_sub(good);
        (silent > self.patience)
            .then_some("the proxy cannot find out whether its grant still holds")
    }

    fn heard(&self, may: bool) {
        self.refused.store(u8::from(!may), Ordering::Release);
        if may {
            let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.good.store(now, Ordering::Release);
        }
    }
}

impl Vault {
    pub(super) fn new(http: reqwest::Client, config: &Config, token: Secret) -> Self {
        Self {
            http,
            base: config.data_plane.clone(),
            name: config.name.clone(),
            summary: config.summary(),
            token,
            every: config.grant_check_interval(),
            catch_up: config.catch_up(),
        }
    }

    fn request(&self, method: reqwest::Method, path: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url).header(HEADER, self.token.expose())
    }

    fn at(&self, method: reqwest::Method) -> reqwest::RequestBuilder {
        self.request(method, &["api", "v1", "proxies", &self.name])
    }

    /// Says that the proxy is deployed. As long as nobody answers it tries again, and so it does for
    /// a while if an agent answers that has not caught up.
    ///
    /// # Errors
    /// The grant does not let it, in a sentence that names one that would; or the agent does not
    /// catch up.
    pub(super) async fn deploy(&self) -> Result<(), ProxyError> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .with_jitter()
            .without_max_times()
            .build();
        let mut behind: Option<Instant> = None;
        loop {
            let mut longest = Duration::MAX;
            let trouble = match self.at(reqwest::Method::PUT).json(&self.summary).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.headers().contains_key(BEHIND) => {
                    let waited = behind.get_or_insert_with(Instant::now).elapsed();
                    let said = said(&answer.bytes().await.unwrap_or_default());
                    let left = self.catch_up.saturating_sub(waited);
                    if left.is_zero() {
                        return Err(ProxyError::Behind { seconds: self.catch_up.as_secs(), said });
                    }
                    longest = left.min(Duration::from_secs(1));
                    format!("the agent has not caught up{said}")
                }
                Ok(answer) if answer.status().is_client_error() => {
                    let status = answer.status();
                    let body = answer.bytes().await.unwrap_or_default();
                    return Err(ProxyError::Refused(format!(
                        "the data plane answered {status}{}; its token needs a grant such as \
                         {{\"allowed_http_methods\":[\"PUT\",\"POST\",\"GET\"],\"paths\":\
                         [\"/api/v1/proxies/{}\",\"/api/v1/facts\",\"/api/v1/facts/*\"]}}",
                        said(&body),
                        self.name
                    )));
                }
                Ok(answer) => format!("the data plane answered {}", answer.status()),
                Err(error) => failure(error),
            };
            let delay = delays.next().unwrap_or(Duration::from_secs(10)).min(longest);
            tracing::warn!(%trouble, retry_in_ms = %delay.as_millis(), "not deployed yet");
            tokio::time::sleep(delay).await;
        }
    }

    /// Looks again and again whether the proxy may be there.
    pub(super) async fn watch(self: Arc<Self>, standing: Arc<Standing>) {
        let mut turns = tokio::time::interval(self.every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was = true;
        loop {
            turns.tick().await;
            let asked = self.at(reqwest::Method::GET).timeout(self.every * SILENT_TURNS).send();
            let may = match asked.await {
                Ok(answer) if answer.status().is_success() => true,
                Ok(answer) if answer.status().is_client_error() => false,
                // Who hears nothing goes on for a while, and then refuses.
                _ => continue,
            };
            standing.heard(may);
            if may != was {
                tracing::warn!(may, "whether the proxy may be there has changed");
                was = may;
            }
        }
    }

    /// Keeps a value; the id of its fact, which is the known one if its scope has the value already:
    /// a request that is sent again does what it did. `place` names the value in an error.
    pub(super) async fn keep(
        &self,
        (fact_type, scope): (&str, Option<&str>),
        value: &str,
        place: &str,
    ) -> Result<String, Undone> {
        #[derive(Deserialize)]
        struct Kept {
            id: String,
        }
        let body = json!({
            "fact_type_slug": fact_type, "scope_custom_id": scope.unwrap_or_default(),
            "value": value });
        let asked = self.request(reqwest::Method::POST, &["api", "v1", "facts"]).json(&body);
        let answer = asked.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?;
        let kept = serde_json::from_slice::<Kept>(&body).ok().map(|kept| kept.id);
        if status.as_u16() == 400
            && let Some(known) = kept.as_ref().filter(|id| is_fact(id))
        {
            return Ok(known.clone());
        }
        if !status.is_success() {
            // What the caller sent is wrong, or what the proxy may do is.
            let status = if status.as_u16() == 400 { 400 } else { 503 };
            return Err(Undone { status, message: format!("{place}{}", said(&body)) });
        }
        kept.ok_or_else(|| Undone {
            status: 503,
            message: format!("{place}: the data plane answered without an id"),
        })
    }

    /// The value of a fact; none if it cannot be had.
    pub(super) async fn value(&self, id: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Found {
            value: String,
        }
        let asked = self.request(reqwest::Method::GET, &["api", "v1", "facts", id]);
        let answer = asked.send().await.ok().filter(|answer| answer.status().is_success())?;
        let body = answer.bytes().await.ok()?;
        serde_json::from_slice::<Found>(&body).ok().map(|found| found.value)
    }
}

/// True if a text looks like the id of a fact.
pub(super) fn is_fact(text: &str) -> bool {
    text.len() == FACT.1
        && text
            .strip_prefix(FACT.0)
            .is_some_and(|id| id.bytes().all(|it| it.is_ascii_alphanumeric()))
}

fn unreachable(error: reqwest::Error) -> Undone {
    Undone { status: 503, message: format!("the data plane: {}", failure(error)) }
}

/// What a refusal of the data plane says.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
        detail: Option<String>,
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { message, detail: Some(detail) }) => format!(": {message}: {detail}"),
        Ok(Refusal { message, detail: None }) => format!(": {message}"),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use testbed::{Reply, Source};

    use super::*;

    const KNOWN: &str = "fact_AAAAAAAAAAAAAAAAAAAA";

    /// The example's, with its data plane here.
    fn vault(plane: &Source) -> Vault {
        let example = include_str!("../../../examples/proxy/proxy.toml");
        let here = plane.url("");
        let file = example.replace("http://127.0.0.1:28000", here.trim_end_matches('/'));
        let config = Config::read(&file).unwrap();
        let http = crate::http::client(Duration::from_secs(5)).unwrap();
        Vault::new(http, &config, Secret::new("v1:a:b".to_owned()))
    }

    #[tokio::test]
    async fn a_value_that_its_scope_has_already_is_the_known_fact() {
        let plane = Source::start(&json!({})).unwrap();
        let vault = vault(&plane);
        for (status, body, expected) in [
            (200, json!({"id": KNOWN}), Ok(KNOWN)),
            (400, json!({"message": "hashed_value already exists", "id": KNOWN}), Ok(KNOWN)),
            (400, json!({"message": "Validation Error"}), Err(400)),
            (400, json!({"message": "elsewhere", "id": "request-7"}), Err(400)),
            (401, json!({"message": "Unauthorized", "id": KNOWN}), Err(503)),
            (200, json!({}), Err(503)),
        ] {
            plane.reply(Reply::json(&body).status(status));
            let kept = vault.keep(("email", Some("u")), "a@example.com", "/email").await;
            let kept = kept.as_deref().map_err(|undone| undone.status);
            assert_eq!(kept, expected, "{status} {body}");
        }
    }

    #[test]
    fn without_a_word_that_it_may_nothing_passes_after_a_while() {
        let standing = Standing::new(Duration::from_millis(10));
        assert_eq!(standing.problem(), None);
        standing.heard(false);
        assert!(standing.problem().unwrap().contains("revoked"));
        standing.heard(true);
        assert_eq!(standing.problem(), None);
        let silent = Standing { patience: Duration::ZERO, ..Standing::new(Duration::from_secs(1)) };
        while silent.began.elapsed().is_zero() {}
        assert!(silent.problem().unwrap().contains("cannot find out"));
    }
}
