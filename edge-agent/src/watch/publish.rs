//! How updates get to the hub: one after the other, each until it is accepted.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use url::Url;

use super::WatchError;
use super::chunk::Update;
use crate::core::backoff::Backoff;
use crate::http::{self, HttpError, detail, display, failure};
use crate::runtime::seed;
use crate::settings::Secret;

/// For an answer to an update.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a hub that does not accept is asked again without giving up what waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a line is logged of what was published.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Nobody is waited for longer than this, whatever they say.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The hub that updates go to.
#[derive(Clone, Debug)]
pub struct Hub {
    url: Url,
    token: Secret,
    client: reqwest::Client,
}

/// Why an update was not accepted.
enum Refused {
    Later { reason: String, wait: Option<Duration> },
    Never(WatchError),
}

impl Hub {
    /// A hub by the address that takes its updates.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(url: Url, token: Secret) -> Result<Self, HttpError> {
        Ok(Self { url, token, client: http::client(TIMEOUT)? })
    }

    /// The address, to tell one hub from another.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Publishes an update, and again until the hub has accepted it.
    pub(super) async fn publish(&self, update: &Update) -> Result<(), WatchError> {
        let mut backoff = Backoff::new(seed());
        loop {
            match self.attempt(update).await {
                Ok(()) => return Ok(()),
                Err(Refused::Never(error)) => return Err(error),
                Err(Refused::Later { reason, wait }) => {
                    let wait = waiting(&mut backoff, wait);
                    let (hub, seconds) = (display(&self.url), wait.as_secs_f64());
                    tracing::warn!("{hub}: {reason}; again in {seconds:.1} s");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// The same, but not for long: whoever waits meanwhile must not wait for a hub that is away.
    pub(super) async fn publish_soon(&self, update: &Update) -> Result<(), WatchError> {
        let (begun, mut backoff) = (Instant::now(), Backoff::new(seed()));
        loop {
            match self.attempt(update).await {
                Ok(()) => return Ok(()),
                Err(Refused::Never(error)) => return Err(error),
                Err(Refused::Later { reason, wait }) => {
                    let wait = waiting(&mut backoff, wait);
                    if begun.elapsed() + wait > PATIENCE {
                        return Err(WatchError::retry(format!("{}: {reason}", display(&self.url))));
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(&self, update: &Update) -> Result<(), Refused> {
        let later = |reason| Refused::Later { reason, wait: None };
        let request = self.client.post(self.url.clone()).bearer_auth(self.token.expose());
        let request = request.header(CONTENT_TYPE, "application/json").body(update.body.clone());
        let response = request.send().await.map_err(|error| later(failure(error)))?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok());
        let wait = wait.and_then(|it| it.parse().ok()).map(Duration::from_secs);
        let body = response.bytes().await.map_err(|error| later(failure(error)))?;
        if status.is_success() {
            tracing::debug!(id = update.id, rows = update.rows, "published");
            // Only a hub says which number an update has.
            let is_hub = serde_json::from_slice::<serde_json::Value>(&body)
                .is_ok_and(|it| it.get("seq").is_some_and(serde_json::Value::is_u64));
            return if is_hub { Ok(()) } else { Err(later("answered no `seq`".to_owned())) };
        }
        let reason = format!("answered {}{}", status.as_u16(), detail(&body));
        match status.as_u16() {
            // A scope that is not there yet, or somebody who is busy.
            404 | 408 | 425 | 429 | 500.. => Err(Refused::Later { reason, wait }),
            401 | 403 => Err(Refused::Never(self.stop(&reason).hint(
                "is the token of type datasource, for this scope and these topics, and not over?",
            ))),
            _ => Err(Refused::Never(self.stop(&reason))),
        }
    }

    fn stop(&self, reason: &str) -> WatchError {
        WatchError::stop(format!("{}: {reason}", display(&self.url)))
    }
}

/// What was published since it was last said.
pub(super) struct Said {
    updates: u64,
    rows: usize,
    at: Instant,
}

impl Default for Said {
    fn default() -> Self {
        Self { updates: 0, rows: 0, at: Instant::now() }
    }
}

impl Said {
    /// One more. It is logged with the next one if that is soon.
    pub(super) fn published(&mut self, update: &Update) {
        self.updates += 1;
        self.rows += update.rows;
        if self.at.elapsed() >= SAY_EVERY {
            tracing::info!(updates = self.updates, rows = self.rows, "published");
            *self = Self::default();
        }
    }
}

/// How long to wait: as long as the hub says, within reason.
fn waiting(backoff: &mut Backoff, wanted: Option<Duration>) -> Duration {
    let own = Duration::from_millis(backoff.next_delay());
    wanted.map_or(own, |wanted| wanted.clamp(own, LONGEST_WAIT.max(own)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;

    use super::*;

    type Answers = Arc<Mutex<(Vec<(u16, &'static str)>, Vec<String>)>>;

    /// A hub that gives these answers, the last one first, and notes what it was sent.
    async fn hub(answers: &[(u16, &'static str)]) -> (Hub, Answers) {
        let script: Answers = Arc::new(Mutex::new((answers.to_vec(), vec![])));
        let take = async |State(script): State<Answers>, headers: HeaderMap, body: String| {
            let mut script = script.lock().unwrap();
            let token = headers["authorization"].to_str().unwrap().to_owned();
            script.1.push(format!("{token} {body}"));
            let (status, answer) = script.0.pop().unwrap();
            (StatusCode::from_u16(status).unwrap(), answer)
        };
        let router = Router::new().route("/data/config", post(take)).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/data/config", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        (Hub::new(Url::parse(&url).unwrap(), Secret::new("tok".to_owned())).unwrap(), script)
    }

    fn update() -> Update {
        Update { id: "i".to_owned(), body: "{}".to_owned(), rows: 1 }
    }

    #[tokio::test]
    async fn an_update_is_sent_until_a_hub_has_accepted_it() {
        let answers = [(200, r#"{"status":"ok","seq":7}"#), (200, "welcome"), (503, "")];
        let (hub, script) = hub(&answers).await;
        hub.publish(&update()).await.unwrap();
        assert_eq!(script.lock().unwrap().1, ["Bearer tok {}"; 3]);
    }

    #[tokio::test]
    async fn a_hub_that_is_away_is_not_waited_for_where_others_wait() {
        let (hub, script) = hub(&[(503, r#"{"detail":"busy"}"#); 20]).await;
        let error = hub.publish_soon(&update()).await.unwrap_err();
        assert!(!error.is_final && error.to_string().ends_with("answered 503: busy"), "{error}");
        assert!((3..10).contains(&script.lock().unwrap().1.len()));
    }

    #[tokio::test]
    async fn what_will_never_be_accepted_is_sent_once() {
        for (status, body, words) in [
            (
                401,
                r#"{"detail":"Access token is expired"}"#,
                "answered 401: Access token is expired",
            ),
            (422, r#"{"detail":"entries[0]: no"}"#, "answered 422: entries[0]: no"),
            (409, "", "answered 409"),
        ] {
            let (hub, script) = hub(&[(status, body)]).await;
            let error = hub.publish(&update()).await.unwrap_err();
            assert!(error.is_final && error.to_string().ends_with(words), "{error}");
            assert_eq!(script.lock().unwrap().1.len(), 1);
        }
    }
}
