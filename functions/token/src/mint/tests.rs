use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

use super::*;
use crate::{
    Settings,
    testkeys::{self, MASTER, NOW},
};

fn authority() -> Authority {
    Authority::new(&Settings {
        master_token: Some("master\n".to_owned()),
        private_key: Some(testkeys::ed25519(1).private),
        ..Settings::default()
    })
    .unwrap()
}

fn mint(body: &str) -> Result<Minted, Problem> {
    authority().mint(MASTER, body.as_bytes(), NOW)
}

/// A part of a token: 0 its header, 1 its payload.
fn part(minted: &Minted, at: usize) -> Value {
    let text = minted.token.split('.').nth(at).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(text).unwrap()).unwrap()
}

#[test]
fn an_empty_body_asks_for_every_default() {
    for body in ["", " \n", "{}", r#"{"id":null,"type":null,"ttl":null,"claims":null}"#] {
        let minted = mint(body).unwrap();
        let payload = part(&minted, 1);
        assert_eq!(payload["iat"], NOW.0 / 1_000);
        assert_eq!(payload["exp"], NOW.0 / 1_000 + 1 + 365 * DAY);
        assert_eq!(payload["aud"], "https://api.opal.ac/v1/");
        assert_eq!(payload["iss"], "https://opal.ac/");
        assert_eq!(payload["peer_type"], "client");
        let id = parse_id(&minted.details.id).unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(payload["sub"], id.simple().to_string());
        assert_ne!(payload["jti"], payload["sub"]);
        assert_eq!(payload.as_object().unwrap().len(), 7);
    }
}

#[test]
fn the_answer_has_opals_shape() {
    let minted = mint(
        r#"{"id":"50a6cc43-2bb9-4e8f-8af9-4f32440b1b60","type":"datasource","ttl":3600,"claims":{"x":1}}"#,
    )
    .unwrap();
    let mut answer = serde_json::to_value(&minted).unwrap();
    assert_eq!(answer["token"].take(), minted.token);
    let details = json!({
        "id": "50a6cc43-2bb9-4e8f-8af9-4f32440b1b60",
        "type": "datasource",
        "expired": "2026-11-22T02:19:21.000000",
        "claims": {"peer_type": "datasource", "x": 1},
    });
    assert_eq!(answer, json!({"token": null, "type": "bearer", "details": details}));
    let payload = part(&minted, 1);
    assert_eq!(payload["sub"], "50a6cc432bb94e8f8af94f32440b1b60");
    assert_eq!(payload["x"], 1);
}

#[test]
fn what_opals_command_sends_is_accepted() {
    let body = r#"{"id":"8e59a2a7db1e4c4b9a3a7a6a1d2f3c4d","type":"datasource","ttl":2592000.0,"claims":{"a":1}}"#;
    let minted = authority().mint(Some("bearer master"), body.as_bytes(), NOW).unwrap();
    assert_eq!(minted.details.expired, "2026-12-22T01:19:21.000000");
}

#[test]
fn a_header_names_the_algorithm_and_the_key() {
    for pair in testkeys::all() {
        let authority = Authority::new(&Settings {
            master_token: Some("master".to_owned()),
            private_key: Some(pair.private),
            ..Settings::default()
        })
        .unwrap();
        let header = part(&authority.mint(MASTER, b"", NOW).unwrap(), 0);
        let kid = &authority.jwks()["keys"][0]["kid"];
        assert_eq!(header, json!({"alg": pair.algorithm, "typ": "JWT", "kid": kid}));
    }
}

#[test]
fn no_two_tokens_share_an_id() {
    let payloads: Vec<_> = (0..20).map(|_| part(&mint("").unwrap(), 1)).collect();
    for name in ["sub", "jti"] {
        let ids: std::collections::HashSet<_> =
            payloads.iter().map(|payload| payload[name].to_string()).collect();
        assert_eq!(ids.len(), payloads.len(), "{name}");
    }
}

#[test]
fn a_lifetime_is_seconds_or_a_duration() {
    for (ttl, milliseconds) in [
        ("1", 1_000),
        ("0.5", 500),
        ("2592000.0", 30 * DAY * 1_000),
        ("315360000", MAX_TTL_SECONDS * 1_000),
        (r#""PT1H30M""#, 5_400_000),
        (r#""P30D""#, 30 * DAY * 1_000),
        (r#""PT0.5S""#, 500),
        (r#""P10Y""#, MAX_TTL_SECONDS * 1_000),
        (r#""1 day, 00:00:01""#, (DAY + 1) * 1_000),
    ] {
        let minted = mint(&format!(r#"{{"ttl":{ttl}}}"#)).unwrap();
        let exp = NOW.plus(milliseconds).0.div_ceil(1_000);
        assert_eq!(part(&minted, 1)["exp"], exp, "{ttl}");
    }
}

#[test]
fn every_bad_body_is_refused_with_its_place() {
    let huge = format!(r#"{{"claims":{{"x":"{}"}}}}"#, "x".repeat(MAX_TOKEN_BYTES));
    let too_large = "x".repeat(limits::MAX_SMALL_BODY_BYTES + 1);
    for (body, status, words) in [
        ("{", 422, "not valid JSON"),
        ("[]", 422, "not an object"),
        ("null", 422, "not an object"),
        (r#"{"id":"agent-1"}"#, 422, "id: give a UUID"),
        (r#"{"id":"urn:uuid:50a6cc43-2bb9-4e8f-8af9-4f32440b1b60"}"#, 422, "id: give a UUID"),
        (r#"{"id":7}"#, 422, "id: invalid type"),
        (r#"{"type":"admin"}"#, 422, "type: unknown variant `admin`"),
        (r#"{"tll":60}"#, 422, "unknown field `tll`"),
        (r#"{"permitted_topics":["users"]}"#, 422, "unknown field `permitted_topics`"),
        (r#"{"ttl":0}"#, 422, "more than 0"),
        (r#"{"ttl":-60}"#, 422, "more than 0"),
        (r#"{"ttl":315360001}"#, 422, "at most 315360000 seconds (P3650D)"),
        (r#"{"ttl":1e300}"#, 422, "at most"),
        (r#"{"ttl":"PT0S"}"#, 422, "more than 0"),
        (r#"{"ttl":"-PT1H"}"#, 422, "more than 0"),
        (r#"{"ttl":"P9999Y"}"#, 422, "at most"),
        (r#"{"ttl":"P999999999Y"}"#, 422, "ISO-8601"),
        (r#"{"ttl":"soon"}"#, 422, "ISO-8601"),
        (r#"{"ttl":""}"#, 422, "ISO-8601"),
        (r#"{"ttl":"3600"}"#, 422, "number of seconds"),
        (r#"{"ttl":true}"#, 422, "number of seconds"),
        (r#"{"ttl":[1]}"#, 422, "number of seconds"),
        (r#"{"claims":[]}"#, 422, "claims: invalid type"),
        (r#"{"claims":{"permitted_topics":"users"}}"#, 422, "claims.permitted_topics: give"),
        (r#"{"claims":{"permitted_topics":null}}"#, 422, "claims.permitted_topics: give"),
        (r#"{"claims":{"permitted_topics":["a",1]}}"#, 422, "claims.permitted_topics: give"),
        (r#"{"claims":{"allowed_scopes":{}}}"#, 422, "claims.allowed_scopes: give"),
        (&huge, 422, "the limit is 8192; give fewer claims"),
        (&too_large, 413, "the limit is 65536"),
    ] {
        let problem = mint(body).unwrap_err();
        assert_eq!(problem.status, status, "{body}");
        assert!(problem.detail.contains(words), "{body}: {problem}");
    }
}

#[test]
fn extra_claims_may_not_override_ours() {
    for (name, instead) in RESERVED {
        let problem = mint(&json!({"claims": {name: "x"}}).to_string()).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains(&format!("`{name}` ({instead})")), "{problem}");
    }
    let both = mint(r#"{"claims":{"sub":1,"exp":2,"mine":3}}"#).unwrap_err();
    assert!(both.detail.contains("`id`") && both.detail.contains("`ttl`"), "{both}");
    assert!(!both.detail.contains("mine"), "{both}");
}

#[test]
fn only_the_master_token_mints() {
    for (authorization, words) in [
        (None, "Authorization header is required!"),
        (Some(""), "unauthorized to access this endpoint!"),
        (Some("master"), "unauthorized to access this endpoint!"),
        (Some("Bearer"), "unauthorized to access this endpoint!"),
        (Some("Bearer "), "unauthorized to access this endpoint!"),
        (Some("Bearer maste"), "unauthorized to access this endpoint!"),
        (Some("Bearer masters"), "unauthorized to access this endpoint!"),
        (Some("Bearer MASTER"), "unauthorized to access this endpoint!"),
        (Some("Basic master"), "unauthorized to access this endpoint!"),
        (Some("Bearer secret-guess"), "unauthorized to access this endpoint!"),
    ] {
        let problem = authority().mint(authorization, b"{}", NOW).unwrap_err();
        assert_eq!(problem.status, 401, "{authorization:?}");
        assert!(problem.detail.starts_with(words), "{authorization:?}: {problem}");
        assert!(!problem.detail.contains("guess"), "{problem}");
    }
    // Nor does a token that it minted.
    let client = format!("Bearer {}", mint("{}").unwrap().token);
    assert_eq!(authority().mint(Some(&client), b"{}", NOW).unwrap_err().status, 401);
}

#[test]
fn what_is_not_configured_is_named() {
    for master_token in [None, Some(String::new()), Some(" \n".to_owned())] {
        let open = Authority::new(&Settings { master_token, ..Settings::default() }).unwrap();
        for authorization in [None, Some("Bearer "), Some("Bearer master")] {
            let problem = open.mint(authorization, b"{}", NOW).unwrap_err();
            assert_eq!(problem.status, 503);
            assert!(problem.detail.starts_with("GIRASOL_AUTH_MASTER_TOKEN is not set"));
        }
    }
    let keyless = Authority::new(&Settings {
        master_token: Some("master".to_owned()),
        public_keys: Some(testkeys::ed25519(1).public),
        ..Settings::default()
    })
    .unwrap();
    let problem = keyless.mint(MASTER, b"{}", NOW).unwrap_err();
    assert_eq!(problem.status, 503);
    for words in ["GIRASOL_AUTH_PRIVATE_KEY", "edge-agent generate-keys"] {
        assert!(problem.detail.contains(words), "{problem}");
    }
    // Who does not know the master token learns nothing about the key.
    assert_eq!(keyless.mint(Some("Bearer x"), b"{}", NOW).unwrap_err().status, 401);
}

#[test]
fn a_minted_token_does_not_print() {
    let minted = mint("{}").unwrap();
    assert!(!format!("{minted:?}").contains(&minted.token));
}
