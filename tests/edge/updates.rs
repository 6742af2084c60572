use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{can_run, functions, inline};

#[tokio::test]
async fn every_bad_update_is_told_what_to_change_and_the_log_is_unchanged() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let entry = |members: Value| json!({ "entries": [members] });
    let topics: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let cases = [
        (json!([]), 422, "object"),
        (json!({}), 422, "entries"),
        (json!({"entries": []}), 422, "at least one entry"),
        (json!({"entries": {}}), 422, "entries"),
        (json!({"id": 7, "entries": []}), 422, "id"),
        (entry(json!({})), 422, "url"),
        (entry(json!({"url": 7})), 422, r#""entries",0,"url""#),
        (entry(json!({"url": "billing"})), 422, "absolute address"),
        (entry(json!({"url": "http://h", "save_method": "POST"})), 422, "PUT"),
        (entry(json!({"url": "http://h", "dst_path": "/a/../b"})), 422, "dst_path"),
        (entry(json!({"url": "http://h", "dst_path": "/a//b"})), 422, "dst_path"),
        (entry(json!({"url": "http://h", "topics": []})), 422, "topic"),
        (entry(json!({"url": "http://h", "topics": [""]})), 422, "topic"),
        (entry(json!({"url": "http://h", "topics": topics})), 422, "the limit is 128"),
        (entry(json!({"url": "http://h", "topics": ["__opal_stats_add"]})), 422, "reserved"),
        (entry(json!({"data": {}, "save_method": "PATCH"})), 422, "JSON Patch"),
        (
            entry(
                json!({"save_method": "PATCH", "data": [{"op": "move", "from": "/a", "path": "/b"}]}),
            ),
            422,
            "`add`, `remove`, `replace`",
        ),
        (entry(json!({"data": {"large": "x".repeat(1_100_000)}})), 413, "limit"),
    ];
    for (body, status, words) in cases {
        let answer = functions.publish(&token, &body).await.unwrap();
        let shown = body.to_string().chars().take(100).collect::<String>();
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        let detail = answer.body["detail"].to_string();
        assert!(detail.contains(words), "{shown}: {detail}");
    }
    assert_eq!(functions.publish_ok(&token, &inline("t", "/a", &json!({}))).await.unwrap(), 1);
}

#[tokio::test]
async fn malformed_json_is_a_422_as_in_opal() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let url = format!("{}/data/config", functions.url());
    for body in [&b"{"[..], b"", b"not json", b"\xff\xfe"] {
        let request =
            testbed::http_client().unwrap().post(&url).bearer_auth(&token).body(body.to_vec());
        let answer = testbed::Answer::of(request).await.unwrap();
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body["detail"][0]["type"] == "json_invalid", "{answer:?}");
    }
    assert_eq!(functions.publish_ok(&token, &inline("t", "/a", &json!({}))).await.unwrap(), 1);
}

#[tokio::test]
async fn the_same_id_has_one_number_and_another_body_under_it_is_a_conflict() {
    if !can_run(&[]) {
        return;
    }
    let (functions, token) = functions().await;
    let mut update = inline("t", "/a", &json!({"n": 1}));
    update["id"] = json!("mine");
    for _ in 0..2 {
        let answer = functions.publish(&token, &update).await.unwrap().ok().unwrap();
        assert_eq!(answer, json!({"status": "ok", "id": "mine", "seq": 1}));
    }
    update["reason"] = json!("another");
    assert_eq!(functions.publish(&token, &update).await.unwrap().status, 409);
    assert_eq!(functions.publish_ok(&token, &inline("t", "/a", &json!({}))).await.unwrap(), 2);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/healthcheck", 200),
        (Method::DELETE, "/token", 405),
        (Method::GET, "/nope", 404),
        (Method::GET, "/ws", 426),
    ] {
        let answer = functions.request(method, path, None, None).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
}
