use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, Keys};

use crate::support::{can_run, functions, inline};

/// What a publisher with this token is told.
async fn publish_with(functions: &Functions, token: Option<&str>) -> (u16, String) {
    let body = inline("t", "/a", &json!({}));
    let answer = functions.request(Method::POST, "/data/config", token, Some(&body)).await.unwrap();
    (answer.status, answer.body["detail"]["error"].as_str().unwrap_or_default().to_owned())
}

/// Proves that nothing got into the log: the next update has this number.
async fn assert_next_seq(functions: &Functions, expected: u64) {
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let seq = functions.publish_ok(&token, &inline("t", "/a", &json!({}))).await.unwrap();
    assert_eq!(seq, expected);
}

fn encode(header: &Value, payload: &Value, signature: &str) -> String {
    [base64url(&header.to_string()), base64url(&payload.to_string()), signature.to_owned()]
        .join(".")
}

fn base64url(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for sextet in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * sextet) & 63) as usize]));
        }
    }
    out
}

#[tokio::test]
async fn without_a_master_token_nobody_mints() {
    if !can_run(&[]) {
        return;
    }
    let plan = Functions::builder().unwrap().without_var("GIRASOL_AUTH_MASTER_TOKEN");
    let functions = plan.start().await.unwrap();
    let answer =
        functions.request(Method::POST, "/token", Some("x"), Some(&json!({}))).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        answer.body["detail"].as_str().unwrap().contains("GIRASOL_AUTH_MASTER_TOKEN"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn without_keys_nobody_gets_in_and_the_settings_are_named() {
    if !can_run(&[]) {
        return;
    }
    let plan = Functions::builder()
        .unwrap()
        .without_var("GIRASOL_AUTH_PRIVATE_KEY")
        .without_var("GIRASOL_AUTH_PUBLIC_KEY");
    let functions = plan.start().await.unwrap();
    let body = inline("t", "/a", &json!({}));
    let answer =
        functions.request(Method::POST, "/data/config", Some("a.b.c"), Some(&body)).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        answer.body["detail"].as_str().unwrap().contains("GIRASOL_AUTH_PRIVATE_KEY"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_named_and_not_shown() {
    if !can_run(&[]) {
        return;
    }
    let bad = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleS1ieXRlcw==\n-----END PRIVATE KEY-----";
    let plan = Functions::builder().unwrap().var("GIRASOL_AUTH_PRIVATE_KEY", bad);
    let functions = plan.start().await.unwrap();
    let master = functions.master_token();
    let answer =
        functions.request(Method::POST, "/token", Some(master), Some(&json!({}))).await.unwrap();
    let detail = answer.body["detail"].as_str().unwrap();
    assert_eq!(answer.status, 503);
    assert!(detail.contains("GIRASOL_AUTH_PRIVATE_KEY"), "{detail}");
    assert!(!detail.contains("c2VjcmV0"), "{detail}");
}

#[tokio::test]
async fn minting_needs_the_master_token() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    for (token, words) in
        [(None, "Authorization header is required"), (Some("wrong"), "unauthorized")]
    {
        let answer =
            functions.request(Method::POST, "/token", token, Some(&json!({}))).await.unwrap();
        assert_eq!(answer.status, 401);
        assert!(answer.body["detail"]["error"].as_str().unwrap().contains(words), "{answer:?}");
    }
}

#[tokio::test]
async fn a_minted_token_is_described_as_opal_does() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let asked = json!({"type": "datasource", "ttl": "PT1H", "claims": {"team": "billing"}});
    let answer = functions
        .request(Method::POST, "/token", Some(functions.master_token()), Some(&asked))
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(answer["type"], "bearer");
    assert_eq!(answer["details"]["type"], "datasource");
    assert_eq!(answer["details"]["claims"], json!({"peer_type": "datasource", "team": "billing"}));
    assert!(answer["details"]["expired"].as_str().unwrap().starts_with("20"));
}

#[tokio::test]
async fn bad_token_requests_say_what_to_change() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    for (body, words) in [
        (json!({"type": "root"}), "type"),
        (json!({"ttl": -1}), "ttl"),
        (json!({"ttl": "soon"}), "ttl"),
        (json!({"id": "me"}), "id"),
        (json!({"claims": {"exp": 1}}), "exp"),
        (json!({"claims": {"permitted_topics": "users"}}), "permitted_topics"),
    ] {
        let answer = functions
            .request(Method::POST, "/token", Some(functions.master_token()), Some(&body))
            .await
            .unwrap();
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert!(answer.body["detail"][0].to_string().contains(words), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn a_publisher_without_a_good_token_is_refused_and_the_log_is_unchanged() {
    if !can_run(&[]) {
        return;
    }
    let (functions, good) = functions().await;
    let others =
        Functions::builder().unwrap().keys(&Keys::other_for_tests()).start().await.unwrap();
    let strangers = Functions::builder()
        .unwrap()
        .var("GIRASOL_AUTH_JWT_AUDIENCE", "https://else/")
        .start()
        .await
        .unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let payload = json!({"iat": now, "exp": now + 60, "aud": "https://api.opal.ac/v1/", "iss": "https://opal.ac/",
        "sub": "50a6cc432bb94e8f8af94f32440b1b60", "peer_type": "datasource"});
    let (head, signature) = good.rsplit_once('.').unwrap();
    let mut other_signature = signature.to_owned();
    other_signature.replace_range(10..11, if &signature[10..11] == "A" { "B" } else { "A" });

    let client = functions.mint("client", json!({})).await.unwrap();
    let by_another_key = others.mint("datasource", json!({})).await.unwrap();
    let other_audience = strangers.mint("datasource", json!({})).await.unwrap();
    let none = encode(&json!({"alg": "none", "typ": "JWT"}), &payload, "");
    let hs256 = encode(&json!({"alg": "HS256", "typ": "JWT"}), &payload, signature);
    let cases = [
        ("missing", None, "access token was not provided"),
        ("garbage", Some("garbage".to_owned()), "Could not decode access token"),
        ("alg none", Some(none), "algorithm"),
        ("another algorithm", Some(hs256), "algorithm"),
        ("another key", Some(by_another_key), "access token"),
        ("altered", Some(format!("{head}.{other_signature}")), "access token"),
        ("another audience", Some(other_audience), "audience"),
        ("a client's", Some(client), "expected: datasource"),
    ];
    for (name, token, words) in cases {
        let (status, error) = publish_with(&functions, token.as_deref()).await;
        assert_eq!(status, 401, "{name}: {error}");
        assert!(error.contains(words), "{name}: {error}");
        if let Some(token) = token.filter(|token| token.len() > 20) {
            assert!(!error.contains(&token), "{name}: a token is never repeated");
        }
    }
    assert_next_seq(&functions, 1).await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let short = functions.mint("datasource", json!({"ttl": 1})).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    loop {
        let (status, error) = publish_with(&functions, Some(&short)).await;
        if status == 401 {
            assert!(error.contains("Access token is expired"), "{error}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never expired");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn permitted_topics_limit_a_publisher() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let limited = functions
        .mint("datasource", json!({"claims": {"permitted_topics": ["users"]}}))
        .await
        .unwrap();
    assert_eq!(
        functions.publish_ok(&limited, &inline("users", "/u", &json!({}))).await.unwrap(),
        1
    );
    let answer = functions.publish(&limited, &inline("billing", "/b", &json!({}))).await.unwrap();
    assert_eq!(answer.status, 401);
    // Base sources become updates.
    let entry = json!({"url": "", "data": {}, "topics": ["billing"], "dst_path": "/b"});
    for (route, body) in [
        ("/data/config", json!({"config": {"entries": [entry]}})),
        ("/scopes", json!({"scope_id": "narrow", "data": {"entries": [entry]}})),
    ] {
        let put = functions.request(Method::PUT, route, Some(&limited), Some(&body));
        assert_eq!(put.await.unwrap().status, 401, "{route}");
    }
    assert_next_seq(&functions, 2).await;
}

#[tokio::test]
async fn the_key_set_holds_public_members_only() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let keys = functions.get("/.well-known/jwks.json").await.unwrap().ok().unwrap();
    let key = keys["keys"][0].as_object().unwrap();
    assert_eq!((key["kty"].as_str(), key["alg"].as_str()), (Some("OKP"), Some("EdDSA")));
    assert!(key.contains_key("kid") && !key.contains_key("d"), "{key:?}");
}
