//! Answers that are held, with functions of a few lines in place of the real ones.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::http::Method;
use protocol::socket::Receipt;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;
use crate::runtime::waiting::tests::ending;

/// What the functions were asked for last, and how often.
#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    authorization: std::sync::Mutex<Option<String>>,
    target: std::sync::Mutex<String>,
}

/// An agent's facts routes, with functions behind.
struct Stage {
    agent: SocketAddr,
    waiters: Waiters,
    seen: Arc<Seen>,
    http: reqwest::Client,
}

/// The functions: `users/refused` is refused, everything else has the number that its key is.
async fn functions(State(seen): State<Arc<Seen>>, request: Request) -> Response<Body> {
    seen.asked.fetch_add(1, Ordering::Relaxed);
    let shown = request.headers().get(header::AUTHORIZATION);
    *seen.authorization.lock().unwrap() = shown.map(|it| it.to_str().unwrap().to_owned());
    *seen.target.lock().unwrap() = request.uri().to_string();
    let key = request.uri().path().rsplit('/').next().unwrap().to_owned();
    if key == "refused" {
        return Refusal(StatusCode::CONFLICT, "it is there".to_owned()).into_response();
    }
    let mut answer = (StatusCode::CREATED, Json(json!({ "key": key }))).into_response();
    if request.method() != Method::GET {
        answer.headers_mut().insert(SEQ, key.parse().unwrap());
        if key != UNCHANGED {
            answer.headers_mut().insert(upstream::UPDATE_ID, HeaderValue::from_static("u1"));
        }
    }
    answer
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What becomes of updates: 1 is applied, 2 is refused by the engine, 3 never comes.
fn end(seq: Seq) -> Option<Receipt> {
    (seq.0 < 3).then_some(Receipt { seq, applied: seq == Seq(1), error: None })
}

fn settings(token: Option<&str>) -> FactsSettings {
    let token = token.map(|token| Secret::new(token.to_owned()));
    FactsSettings {
        token,
        hold: Hold::Within(Duration::from_millis(20)),
        policy: TimeoutPolicy::Ignore,
    }
}

impl Stage {
    async fn new(settings: &FactsSettings, key: Option<&str>, topic: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let behind = Router::new().fallback(functions).with_state(Arc::clone(&seen));
        let server = serve(behind).await;
        Self::before(&format!("http://{server}"), seen, settings, key, topic).await
    }

    async fn before(
        server: &str,
        seen: Arc<Seen>,
        settings: &FactsSettings,
        key: Option<&str>,
        topic: &str,
    ) -> Self {
        let http = crate::http::client(Duration::from_secs(5)).unwrap();
        let upstream = Upstream::new(http.clone(), &Url::parse(server).unwrap(), "default");
        let topics = TopicSet::new([topic.to_owned()]).unwrap();
        let facts = Facts::new(upstream, ending(end), settings, &topics);
        let waiters = facts.waiters();
        let key = key.map(|key| Arc::new(Secret::new(key.to_owned())));
        Self { agent: serve(router(facts, key)).await, waiters, seen, http }
    }

    async fn plain() -> Self {
        Self::new(&settings(None), None, TOPIC).await
    }

    /// Writes a user whose number is its key; the status, ours, and the body.
    async fn put(&self, key: &str, headers: &[(&str, &str)]) -> (u16, Option<String>, Value) {
        let address = format!("http://{}/facts/users/{key}", self.agent);
        let mut request = self.http.put(address).json(&json!({}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let header = |name| answer.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
        let status = header(STATUS);
        let names_update = status.is_some() && key != UNCHANGED;
        assert_eq!(header(upstream::UPDATE_ID).is_some(), names_update);
        (answer.status().as_u16(), status, answer.json().await.unwrap())
    }
}

const WAIT: &str = "x-wait-timeout";
const POLICY: &str = "x-timeout-policy";
const APPLIED: &str = "1";
const REFUSED_HERE: &str = "2";
const NEVER: &str = "3";
/// Changes nothing, and this agent is not as far as the log.
const UNCHANGED: &str = "4";

#[tokio::test]
async fn an_answer_says_what_became_of_the_write_here() {
    let stage = Stage::plain().await;
    let too_late = Some("Timeout waiting for update to be received");
    let refused = Some("Update was received but could not be applied");
    for (key, headers, status, failure) in [
        (APPLIED, &[(WAIT, "5")][..], "applied", None),
        (APPLIED, &[(WAIT, "-1"), (POLICY, "fail")], "applied", None),
        (APPLIED, &[(WAIT, "0")], "not-waited", None),
        (NEVER, &[(WAIT, "0.01")], "timeout", None),
        (NEVER, &[(WAIT, "0.01"), (POLICY, "ignore")], "timeout", None),
        (NEVER, &[(WAIT, "0.01"), (POLICY, "fail")], "timeout", too_late),
        (NEVER, &[(WAIT, "0.01"), (POLICY, "FAIL")], "timeout", too_late),
        (NEVER, &[(WAIT, "0"), (POLICY, "fail")], "not-waited", None),
        // The settings of this agent: 20 ms, ignore.
        (NEVER, &[], "timeout", None),
        (NEVER, &[(WAIT, ""), (POLICY, "")], "timeout", None),
        (UNCHANGED, &[(WAIT, "0.01"), (POLICY, "fail")], "timeout", too_late),
        (REFUSED_HERE, &[(WAIT, "-1")], "failed", None),
        (REFUSED_HERE, &[(WAIT, "-1"), (POLICY, "fail")], "failed", refused),
    ] {
        let (code, ours, body) = stage.put(key, headers).await;
        let expected = match failure {
            None => (201, json!({ "key": key })),
            Some(detail) => (424, json!({ "detail": detail })),
        };
        assert_eq!((code, body), expected, "{key} {headers:?}");
        assert_eq!(ours.as_deref(), Some(status), "{key} {headers:?}");
    }
    assert_eq!(stage.waiters.count(), 0);
}

#[tokio::test]
async fn bad_headers_are_refused_before_anything_is_written() {
    let stage = Stage::plain().await;
    for headers in [(WAIT, "soon"), (WAIT, "nan"), (WAIT, "inf"), (POLICY, "retry")] {
        let (code, ours, body) = stage.put(APPLIED, &[headers]).await;
        assert_eq!((code, ours), (400, None), "{body}");
        assert!(body["detail"].as_str().unwrap().contains(headers.1), "{body}");
    }
    assert_eq!(stage.seen.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_refused_or_only_read_is_answered_at_once_and_as_it_came() {
    let stage = Stage::plain().await;
    let (code, ours, body) = stage.put("refused", &[(WAIT, "-1"), (POLICY, "fail")]).await;
    assert_eq!((code, ours, body), (409, None, json!({ "detail": "it is there" })));
    let read = stage.http.get(format!("http://{}/facts/users/{NEVER}", stage.agent));
    let read = read.header(WAIT, "-1").send().await.unwrap();
    assert_eq!((read.status().as_u16(), read.headers().get(STATUS)), (201, None));
    let path = "/v2/facts/p/e/users/a%7Cb%2Fc?x=y";
    let read = stage.http.get(format!("http://{}{path}", stage.agent)).send().await.unwrap();
    assert_eq!(read.status().as_u16(), 201);
    let target = stage.seen.target.lock().unwrap().clone();
    assert_eq!(target, "/v2/facts/default/default/users/a%7Cb%2Fc?x=y");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nobody_waiting() {
    let stage = Stage::plain().await;
    let mut socket = TcpStream::connect(stage.agent).await.unwrap();
    let request = format!(
        "PUT /facts/users/{NEVER} HTTP/1.1\r\nhost: a\r\nx-wait-timeout: -1\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    until(|| stage.waiters.count() == 1).await;
    drop(socket);
    until(|| stage.waiters.count() == 0).await;
}

/// A count tells nobody that it has changed.
async fn until(is_so: impl Fn() -> bool) {
    let watching = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), watching).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_does_not_get_facts_says_that_nobody_waited() {
    let stage = Stage::new(&settings(None), None, "billing").await;
    let (code, ours, _) = stage.put(APPLIED, &[]).await;
    assert_eq!((code, ours.as_deref()), (201, Some("not-waited")));
    let (code, ours, body) = stage.put(APPLIED, &[(POLICY, "fail")]).await;
    assert_eq!((code, ours.as_deref()), (424, Some("not-waited")));
    assert!(body["detail"].as_str().unwrap().contains("policy_data"), "{body}");
    assert_eq!(stage.put(APPLIED, &[(WAIT, "0"), (POLICY, "fail")]).await.0, 201);
}

#[tokio::test]
async fn what_a_caller_shows_is_passed_on_unless_there_is_a_token_for_it() {
    let shown = [("authorization", "bearer caller")];
    let stage = Stage::plain().await;
    assert_eq!(stage.put(APPLIED, &shown).await.0, 201);
    let passed = stage.seen.authorization.lock().unwrap().clone();
    assert_eq!(passed.as_deref(), Some("bearer caller"));

    let stage = Stage::new(&settings(Some("ours")), Some("caller"), TOPIC).await;
    assert_eq!(stage.put(APPLIED, &shown).await.0, 201);
    let passed = stage.seen.authorization.lock().unwrap().clone();
    assert_eq!(passed.as_deref(), Some("Bearer ours"));
    for wrong in [&[][..], &[("authorization", "Bearer other")], &[("authorization", "caller")]] {
        let (code, _, body) = stage.put(APPLIED, wrong).await;
        assert_eq!(code, 401);
        assert!(body["detail"].is_string(), "{body}");
    }
    assert_eq!(stage.seen.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn functions_that_cannot_be_reached_are_503_and_those_that_break_off_502() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", closed.local_addr().unwrap());
    let seen = Arc::<Seen>::default();
    let stage = Stage::before(&server, seen, &settings(None), None, TOPIC).await;
    let breaking = tokio::spawn(async move { drop(closed.accept().await) });
    let (code, ours, body) = stage.put(APPLIED, &[]).await;
    assert_eq!((code, ours), (502, None), "{body}");
    breaking.await.unwrap();
    let (code, ours, body) = stage.put(APPLIED, &[]).await;
    assert_eq!((code, ours), (503, None), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("cannot be reached"), "{body}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_what_to_do() {
    let stage = Stage::plain().await;
    let body = vec![b' '; MAX_UPDATE_BYTES + 1];
    let address = format!("http://{}/facts/bulk/users", stage.agent);
    let answer = stage.http.post(address).body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
    assert!(answer.text().await.unwrap().contains("send less at once"));
    assert_eq!(stage.seen.asked.load(Ordering::Relaxed), 0);
}
