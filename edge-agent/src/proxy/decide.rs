//! Whether a request may pass: the engine is asked, and only its `true` lets anything through.

use serde_json::{Value, json};
use url::Url;

/// What the engine says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may pass.
    Allowed,
    /// It may not: the engine said so, or the decision is undefined.
    Denied,
    /// Nobody could decide; why, for the log.
    Nobody(String),
}

/// Asks the engine.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    http: reqwest::Client,
    decision: Url,
}

impl Decider {
    pub(super) fn new(http: reqwest::Client, decision: Url) -> Self {
        Self { http, decision }
    }

    /// Asks about an input.
    pub(super) async fn ask(&self, input: Value) -> Decision {
        let asked = self.http.post(self.decision.clone()).json(&json!({ "input": input }));
        let nobody = |error: reqwest::Error| Decision::Nobody(crate::http::failure(error));
        let answer = match asked.send().await {
            Ok(answer) => answer,
            Err(error) => return nobody(error),
        };
        let status = answer.status();
        match answer.bytes().await {
            Ok(body) => read(status.as_u16(), &body),
            Err(error) => nobody(error),
        }
    }
}

/// What an answer of the engine means.
fn read(status: u16, body: &[u8]) -> Decision {
    if status != 200 {
        return Decision::Nobody(format!("the engine answered {status}"));
    }
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
        return Decision::Nobody("the engine answered no object".to_owned());
    };
    match answer.get("result") {
        Some(Value::Bool(true)) => Decision::Allowed,
        Some(Value::Object(result)) if result.get("allow") == Some(&Value::Bool(true)) => {
            Decision::Allowed
        }
        _ => Decision::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_lets_anything_through() {
        for yes in [r#"{"result":true}"#, r#"{"result":{"allow":true,"why":"x"}}"#] {
            assert_eq!(read(200, yes.as_bytes()), Decision::Allowed, "{yes}");
        }
        for no in [
            "{}",
            r#"{"result":false}"#,
            r#"{"result":null}"#,
            r#"{"result":"true"}"#,
            r#"{"result":1}"#,
            r#"{"result":[true]}"#,
            r#"{"result":{}}"#,
            r#"{"result":{"allow":"true"}}"#,
            r#"{"result":{"allow":false}}"#,
            r#"{"allow":true}"#,
        ] {
            assert_eq!(read(200, no.as_bytes()), Decision::Denied, "{no}");
        }
        for (status, body) in [
            (200, ""),
            (200, "true"),
            (200, "[{\"result\":true}]"),
            (200, "<html>"),
            (201, r#"{"result":true}"#),
            (204, ""),
            (301, r#"{"result":true}"#),
            (400, r#"{"result":true}"#),
            (404, r#"{"code":"undefined_document"}"#),
            (500, r#"{"result":true}"#),
            (503, r#"{"result":true}"#),
        ] {
            assert!(
                matches!(read(status, body.as_bytes()), Decision::Nobody(_)),
                "{status} {body}"
            );
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_decides_nothing() {
        let http = crate::http::direct_client(std::time::Duration::from_secs(1)).unwrap();
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{free}/v1/data/x")).unwrap();
        let decided = Decider::new(http, url).ask(json!({})).await;
        assert!(matches!(decided, Decision::Nobody(_)), "{decided:?}");
    }
}
