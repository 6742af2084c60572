//! Sources that say which version their data is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;

use super::*;

/// Data of a version that can be changed, and what was asked for.
#[derive(Clone, Default)]
struct Versioned {
    version: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Versioned {
    async fn answer(State(this): State<Self>, headers: HeaderMap) -> Response {
        let etag = format!("\"{}\"", this.version.load(Ordering::SeqCst));
        let wanted = headers.get("if-none-match").map(|it| it.to_str().unwrap().to_owned());
        this.asked.lock().unwrap().push(wanted.clone());
        if wanted.as_ref() == Some(&etag) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        let user = headers.get("authorization").map_or("nobody", |it| it.to_str().unwrap());
        let body = format!("{{\"for\":{user:?},\"version\":{etag}}}");
        ([("etag", etag), ("content-type", "application/json".to_owned())], body).into_response()
    }

    fn asked(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn versioned() -> (Versioned, String) {
    let state = Versioned::default();
    let router = Router::new()
        .route("/data", get(Versioned::answer).post(Versioned::answer))
        .route("/moved", get(|| async { Redirect::temporary("/data") }))
        .with_state(state.clone());
    (state, serve(router).await)
}

async fn get_with(fetcher: &HttpFetcher, url: &str, config: &str) -> Result<String, FetchError> {
    let config = Some(RawValue::from_string(config.to_owned()).unwrap());
    let data = fetcher.fetch(&Source { url: url.to_owned(), config }).await;
    data.map(|data| data.get().to_owned())
}

#[tokio::test]
async fn what_is_unchanged_is_not_sent_again_and_what_changed_is() {
    let (state, base) = versioned().await;
    let fetcher = fetcher();
    for path in ["/data", "/moved"] {
        let url = format!("{base}{path}");
        state.version.store(1, Ordering::SeqCst);
        let first = get_with(&fetcher, &url, "{}").await.unwrap();
        assert_eq!(first, r#"{"for":"nobody","version":"1"}"#);
        assert_eq!(get_with(&fetcher, &url, "{}").await.as_deref(), Ok(first.as_str()));
        state.version.store(2, Ordering::SeqCst);
        let second = get_with(&fetcher, &url, "{}").await.unwrap();
        assert_eq!(second, r#"{"for":"nobody","version":"2"}"#);
        assert_eq!(get_with(&fetcher, &url, "{}").await.as_deref(), Ok(second.as_str()));
        let version = |it: &str| Some(format!("\"{it}\""));
        assert_eq!(state.asked(), [None, version("1"), version("1"), version("2")], "{path}");
    }
}

#[tokio::test]
async fn other_credentials_are_not_answered_with_what_these_were_given() {
    let (state, base) = versioned().await;
    let (fetcher, url) = (fetcher(), format!("{base}/data"));
    for user in ["me", "you", "me"] {
        let config = format!(r#"{{"headers":{{"authorization":"{user}"}}}}"#);
        let got = get_with(&fetcher, &url, &config).await.unwrap();
        assert_eq!(got, format!(r#"{{"for":"{user}","version":"0"}}"#));
    }
    assert_eq!(state.asked(), [None, None, Some("\"0\"".to_owned())]);
}

#[tokio::test]
async fn only_a_plain_question_is_asked_conditionally() {
    let (state, base) = versioned().await;
    let (fetcher, url) = (fetcher(), format!("{base}/data"));
    let posted = r#"{"method":"post"}"#;
    let own = r#"{"headers":{"If-None-Match":"\"0\""}}"#;
    for config in [posted, posted, own] {
        let got = get_with(&fetcher, &url, config).await;
        if config == own {
            let error = got.unwrap_err().to_string();
            assert!(error.contains("304 Not Modified; config.headers has an If-None"), "{error}");
        }
    }
    assert_eq!(state.asked(), [None, None, Some("\"0\"".to_owned())]);
}
