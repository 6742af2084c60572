//! A data source: a real HTTP server whose answers a test changes while it runs, and which can go
//! away and come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::server::Server;

/// An HTTP server on 127.0.0.1 that answers every method on every path. Stopped when dropped.
#[derive(Debug)]
pub struct Source {
    script: Arc<Script>,
    server: Server,
}

/// What a source answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    delay: Duration,
}

/// A request that a source got.
#[derive(Debug, Clone)]
pub struct Received {
    /// `GET`, `POST` …
    pub method: String,
    /// The path with its query, as sent.
    pub path: String,
    /// Header names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body as sent.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Script {
    replies: Mutex<Replies>,
    received: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Replies {
    by_path: HashMap<String, Reply>,
    otherwise: Reply,
}

// === impl Source ===

impl Source {
    /// A source on a free port that answers every request with `document` as JSON.
    ///
    /// # Errors
    /// No port or thread could be had.
    pub fn start(document: &Value) -> Result<Self> {
        let (count, _) = watch::channel(0);
        let replies = Replies { by_path: HashMap::new(), otherwise: Reply::json(document) };
        let script = Script { replies: Mutex::new(replies), received: Mutex::default(), count };
        let script = Arc::new(script);
        let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
        Ok(Self { script, server: Server::start("source", app)? })
    }

    /// `http://127.0.0.1:PORT` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.server.address(), path.trim_start_matches('/'))
    }

    /// From now on answers `reply` on every path without a reply of its own.
    pub fn reply(&self, reply: Reply) {
        self.replies().otherwise = reply;
    }

    /// From now on answers `reply` on `path` (without a query).
    pub fn reply_at(&self, path: &str, reply: Reply) {
        self.replies().by_path.insert(path.to_owned(), reply);
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        *self.script.count.borrow()
    }

    /// The requests so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.script.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until at least `count` requests came in all.
    ///
    /// # Errors
    /// `within` passed first.
    pub async fn wait_for_requests(&self, count: usize, within: Duration) -> Result<()> {
        let mut seen = self.script.count.subscribe();
        let enough = seen.wait_for(|seen| *seen >= count);
        match timeout(within, enough).await {
            Ok(done) => done.map(drop).context("the source ended"),
            Err(_) => bail!("{} of {count} requests came in {within:?}", self.count()),
        }
    }

    /// Goes away: the port refuses connections, and open ones are cut.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Comes back on the same port, with the same replies and count.
    ///
    /// # Errors
    /// The port was taken by something else in the meantime.
    pub fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }

    fn replies(&self) -> MutexGuard<'_, Replies> {
        self.script.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let received = Received {
        method: method.to_string(),
        path: path.to_owned(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    script.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    // The reply is chosen before the count is known, so that a test which waits for the count and
    // then changes the reply does not change this one.
    let reply = {
        let replies = script.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.by_path.get(uri.path()).unwrap_or(&replies.otherwise).clone()
    };
    script.count.send_modify(|count| *count += 1);
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap_or_else(|error| {
        let mut wrong = Response::new(Body::from(format!("the test's reply: {error}")));
        *wrong.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        wrong
    })
}

// === impl Reply ===

impl Reply {
    /// 200 with a JSON document.
    pub fn json(document: &Value) -> Self {
        Self::text("application/json", document.to_string())
    }

    /// 200 with `body`, said to be of `content_type`.
    pub fn text(content_type: &str, body: impl Into<String>) -> Self {
        Self::bytes(content_type, body.into())
    }

    /// 200 with a body that need not be text, said to be of `content_type`.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
            delay: Duration::ZERO,
        }
    }

    /// With another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sent only after `delay`.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

// === impl Received ===

impl Received {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, http_client};
    use serde_json::json;

    #[tokio::test]
    async fn replies_change_while_it_runs_and_requests_are_recorded() {
        let source = Source::start(&json!({"a": 1})).unwrap();
        let http = http_client().unwrap();
        let ask = |path: &str| Answer::of(http.get(source.url(path)).header("x-a", "b"));
        assert_eq!(ask("/one?x=1").await.unwrap().ok().unwrap(), json!({"a": 1}));
        source.reply(Reply::text("text/html", "<p>down</p>").status(500));
        source.reply_at("/two", Reply::json(&json!(2)));
        assert_eq!(ask("/one").await.unwrap().status, 500);
        assert_eq!(ask("/two").await.unwrap().body, json!(2));
        let received = source.received();
        assert_eq!(received[0].path, "/one?x=1");
        assert_eq!(received[0].header("x-a"), Some("b"));
        assert_eq!(source.count(), 3);
    }

    #[tokio::test]
    async fn a_stopped_source_refuses_and_cuts_then_comes_back_on_its_port() {
        let mut source = Source::start(&json!(1)).unwrap();
        let http = http_client().unwrap();
        let url = source.url("/");
        source.reply(Reply::json(&json!(1)).delay(Duration::from_secs(60)));
        let waiting = tokio::spawn(Answer::of(http.get(&url)));
        source.wait_for_requests(1, Duration::from_secs(10)).await.unwrap();
        source.stop();
        assert!(waiting.await.unwrap().is_err());
        assert!(Answer::of(http.get(&url)).await.is_err());
        source.restart().unwrap();
        source.reply(Reply::json(&json!(2)));
        assert_eq!(Answer::of(http.get(&url)).await.unwrap().body, json!(2));
    }
}
