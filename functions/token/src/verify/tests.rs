use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::{
    Algorithm, AlgorithmSignature as _,
    alg::{Hs256, Hs256Key},
};
use serde_json::json;

use super::*;
use crate::{
    Settings,
    testkeys::{self, MASTER, NOW, Pair, encode, sign_with},
};

const ID: &str = "50a6cc432bb94e8f8af94f32440b1b60";

fn settings(pair: &Pair) -> Settings {
    Settings {
        master_token: Some("master".to_owned()),
        private_key: Some(pair.private.clone()),
        ..Settings::default()
    }
}

fn authority() -> Authority {
    Authority::new(&settings(&testkeys::ed25519(1))).unwrap()
}

fn mint(authority: &Authority) -> String {
    authority.mint(MASTER, b"{}", NOW).unwrap().token
}

fn payload() -> Value {
    json!({
        "iat": NOW.0 / 1_000,
        "exp": NOW.0 / 1_000 + 60,
        "aud": "https://api.opal.ac/v1/",
        "iss": "https://opal.ac/",
        "sub": ID,
        "peer_type": "client",
    })
}

/// The usual payload with some members changed; null takes one away.
fn with(changes: &Value) -> Value {
    let mut payload = payload();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => payload.as_object_mut().unwrap().remove(name),
            value => payload.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    payload
}

fn verify_payload(payload: &Value) -> Result<Claims, Problem> {
    authority().verify(&sign_with(1, &json!({"alg": "EdDSA"}), payload), NOW)
}

fn refusal(token: &str) -> String {
    let problem = authority().verify(token, NOW).unwrap_err();
    assert_eq!(problem.status, 401, "{problem}");
    problem.detail
}

#[test]
fn what_is_minted_is_accepted_with_every_algorithm() {
    let body = json!({
        "id": ID,
        "type": "datasource",
        "claims": {"permitted_topics": ["users"], "allowed_scopes": [], "x": 1},
    });
    for pair in testkeys::all() {
        let minting = Authority::new(&settings(&pair)).unwrap();
        let token = minting.mint(MASTER, body.to_string().as_bytes(), NOW).unwrap().token;
        let verifying =
            Authority::new(&Settings { public_keys: Some(pair.public), ..Settings::default() })
                .unwrap();
        for authority in [minting, verifying] {
            let claims = authority.verify(&token, NOW).unwrap();
            assert_eq!(claims.sub, ID);
            assert_eq!(claims.jti.map(|jti| jti.len()), Some(32));
            assert_eq!(claims.peer_type, Some(PeerType::Datasource));
            assert_eq!(claims.permitted_topics, Some(vec!["users".to_owned()]));
            assert_eq!(claims.allowed_scopes, Some(vec![]));
        }
    }
}

#[test]
fn what_opal_mints_is_accepted() {
    // Without `kid` and `jti` (`spec/opal-protocol.md` §3.2).
    let claims = verify_payload(&with(&json!({"x": 1}))).unwrap();
    assert_eq!((claims.jti, claims.peer_type), (None, Some(PeerType::Client)));
}

#[test]
fn a_token_signed_by_another_key_is_refused() {
    let ours = authority().jwks()["keys"][0]["kid"].clone();
    for (header, words) in [
        (json!({"alg": "EdDSA"}), "Could not decode access token: its signature"),
        (json!({"alg": "EdDSA", "kid": ours}), "Could not decode access token: its signature"),
        (
            json!({"alg": "EdDSA", "kid": "other"}),
            "Could not decode access token: the key that its `kid`",
        ),
    ] {
        let detail = refusal(&sign_with(2, &header, &payload()));
        assert!(detail.starts_with(words), "{detail}");
    }
    let others = Authority::new(&settings(&testkeys::ed25519(2))).unwrap();
    assert!(refusal(&mint(&others)).contains("not configured here"));
    // Our signature does not help against a `kid` that is not ours.
    let detail = refusal(&sign_with(1, &json!({"alg": "EdDSA", "kid": "other"}), &payload()));
    assert!(detail.contains("not configured here"), "{detail}");
}

#[test]
fn the_algorithm_comes_from_the_key_and_never_from_the_token() {
    let wrong = "Unknown JWT error: its algorithm";
    for name in ["none", "None", "", "HS256", "ES256", "RS256", "RS512", "eddsa", "Ed25519"] {
        let detail = refusal(&sign_with(1, &json!({"alg": name}), &payload()));
        assert!(detail.starts_with(wrong), "{name}: {detail}");
    }
    for pair in testkeys::all() {
        let authority = Authority::new(&settings(&pair)).unwrap();
        let kid = authority.jwks()["keys"][0]["kid"].clone();
        let check = |token: &str| {
            let problem = authority.verify(token, NOW).unwrap_err();
            assert_eq!(problem.status, 401);
            assert!(problem.detail.starts_with(wrong), "{}: {problem}", pair.algorithm);
        };

        // No signature at all.
        check(&format!("{}.{}.", encode(&json!({"alg": "none", "kid": kid})), encode(&payload())));

        // The public key as the secret of a symmetric algorithm.
        let jwk = authority.jwks()["keys"][0].to_string();
        for secret in [pair.public.as_bytes(), pair.public.trim().as_bytes(), jwk.as_bytes()] {
            let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid});
            let signed = format!("{}.{}", encode(&header), encode(&payload()));
            let signature = Hs256.sign(&Hs256Key::new(secret), signed.as_bytes());
            check(&format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature.as_bytes())));
        }
    }
}

#[test]
fn every_wrong_claim_is_refused_and_named() {
    let seconds = NOW.0 / 1_000;
    for (changes, words) in [
        (json!({"exp": seconds}), "Access token is expired; mint a new one at POST /token"),
        (json!({"exp": 0}), "Access token is expired"),
        (json!({"exp": -5}), "Access token is expired"),
        (json!({"exp": null}), "Unknown JWT error: the token has no `exp` claim"),
        (json!({"exp": "never"}), "Could not decode access token"),
        (json!({"exp": 1e300}), "Could not decode access token"),
        (json!({"nbf": seconds + 3_600}), "Access token is not valid yet"),
        (json!({"aud": null}), "Unknown JWT error: the token has no `aud` claim"),
        (json!({"aud": "https://other/"}), "Invalid access token: invalid audience claim"),
        (json!({"aud": "https://api.opal.ac/v1"}), "Invalid access token: invalid audience claim"),
        (json!({"aud": []}), "Invalid access token: invalid audience claim"),
        (json!({"aud": [7, "x"]}), "Invalid access token: invalid audience claim"),
        (json!({"aud": {}}), "Invalid access token: invalid audience claim"),
        (json!({"iss": null}), "Unknown JWT error: the token has no `iss` claim"),
        (json!({"iss": "https://other/"}), "Invalid access token: invalid issuer claim"),
        (json!({"iss": ["https://opal.ac/"]}), "Invalid access token: invalid issuer claim"),
        (json!({"sub": null}), "Unknown JWT error: the token has no `sub` claim"),
        (json!({"sub": "agent-1"}), "invalid sub claim"),
        (json!({"sub": ""}), "invalid sub claim"),
        (json!({"sub": 5}), "invalid sub claim"),
        (json!({"peer_type": "admin"}), "Invalid access token: `peer_type` must be client, "),
        (json!({"peer_type": 1}), "Invalid access token: `peer_type` must be"),
        (json!({"jti": 1}), "Invalid access token: `jti` must be"),
        (json!({"permitted_topics": "users"}), "Invalid access token: `permitted_topics` must be"),
        (json!({"permitted_topics": [1]}), "Invalid access token: `permitted_topics` must be"),
        (json!({"allowed_scopes": {}}), "Invalid access token: `allowed_scopes` must be"),
    ] {
        let problem = verify_payload(&with(&changes)).expect_err(words);
        assert_eq!(problem.status, 401, "{changes}");
        assert!(problem.detail.starts_with(words), "{changes}: {problem}");
    }
    // A restriction that is null is one that cannot be read, not one that is absent.
    let mut unreadable = payload();
    unreadable["permitted_topics"] = Value::Null;
    assert!(verify_payload(&unreadable).is_err());
}

#[test]
fn every_allowed_variety_of_a_claim_is_accepted() {
    for changes in [
        json!({"aud": ["https://other/", "https://api.opal.ac/v1/"]}),
        json!({"sub": "50a6cc43-2bb9-4e8f-8af9-4f32440b1b60"}),
        json!({"peer_type": null}),
        json!({"peer_type": "listener"}),
        json!({"iat": null}),
        json!({"permitted_topics": []}),
        json!({"exp": 9_999_999_999_u64}),
        json!({"unknown": {"a": [1, 2]}}),
    ] {
        verify_payload(&with(&changes)).unwrap_or_else(|problem| panic!("{changes}: {problem}"));
    }
}

#[test]
fn a_token_is_valid_until_the_very_millisecond_of_its_expiry() {
    let token = sign_with(1, &json!({"alg": "EdDSA"}), &with(&json!({"exp": 2_000_000_000})));
    let authority = authority();
    let end = Millis(2_000_000_000_000);
    assert!(authority.verify(&token, Millis(end.0 - 1)).is_ok());
    assert!(authority.verify(&token, end).is_err());
    assert!(authority.verify(&token, end.plus(1)).is_err());
}

#[test]
fn a_token_that_was_verified_before_expires_all_the_same() {
    let payload = with(&json!({"exp": 2_000_000_000, "nbf": 1_900_000_000}));
    let token = sign_with(1, &json!({"alg": "EdDSA"}), &payload);
    let (authority, end) = (authority(), Millis(2_000_000_000_000));
    let first = authority.verify(&token, Millis(end.0 - 2)).unwrap();
    assert_eq!(authority.verify(&token, Millis(end.0 - 1)), Ok(first));
    assert!(authority.verify(&token, end).unwrap_err().detail.contains("expired"));
    let early = authority.verify(&token, Millis(1_800_000_000_000)).unwrap_err();
    assert!(early.detail.contains("not valid yet"), "{early}");
    // One that differs in a byte of its signature is another token.
    let at = token.len() - 10;
    let mut forged = token.clone();
    forged.replace_range(at..=at, if token.as_bytes()[at] == b'A' { "B" } else { "A" });
    assert_eq!(authority.verify(&forged, Millis(end.0 - 1)).unwrap_err().status, 401);
}

#[test]
fn both_notations_of_a_subject_are_one() {
    let dashes = json!({"sub": "50A6CC43-2bb9-4e8f-8af9-4f32440b1b60"});
    assert_eq!(verify_payload(&with(&dashes)).unwrap().sub, ID);
}

#[test]
fn not_before_is_honoured_up_to_a_minute_of_clock_difference() {
    let start = 1_900_000_000_000;
    let payload = with(&json!({"nbf": start / 1_000, "exp": 2_000_000_000}));
    let token = sign_with(1, &json!({"alg": "EdDSA"}), &payload);
    assert!(authority().verify(&token, Millis(start - 60_001)).is_err());
    assert!(authority().verify(&token, Millis(start - 60_000)).is_ok());
}

#[test]
fn audience_and_issuer_can_be_set() {
    let ours = Authority::new(&Settings {
        audience: Some("us".to_owned()),
        issuer: Some("me".to_owned()),
        ..settings(&testkeys::ed25519(1))
    })
    .unwrap();
    let token = mint(&ours);
    assert!(ours.verify(&token, NOW).is_ok());
    let detail = refusal(&token);
    assert!(detail.contains("GIRASOL_AUTH_JWT_AUDIENCE"), "{detail}");
}

#[test]
fn a_changed_token_is_refused() {
    let token = mint(&authority());
    let parts: Vec<_> = token.split('.').collect();
    let raised = encode(&with(&json!({"peer_type": "datasource"})));
    refusal(&format!("{}.{raised}.{}", parts[0], parts[2]));
    let kid = authority().jwks()["keys"][0]["kid"].clone();
    let header = encode(&json!({"alg": "EdDSA", "typ": "jwt", "kid": kid}));
    refusal(&format!("{header}.{}.{}", parts[1], parts[2]));
}

#[test]
fn a_malformed_token_is_refused_and_nothing_worse() {
    let token = mint(&authority());
    let undecodable = "Could not decode access token";
    for malformed in [
        "",
        ".",
        "..",
        "...",
        "x",
        "a.b.c",
        "é.é.é",
        "e30.e30.",
        "eyJhbGciOiJFZERTQSJ9..",
        &format!("{token}."),
        &format!("{token}="),
        &format!(" {token}"),
        &format!("{token}.{token}"),
        &"x".repeat(MAX_TOKEN_BYTES + 1),
    ] {
        let detail = refusal(malformed);
        assert!(detail.starts_with(undecodable), "{malformed}: {detail}");
    }
    for header in
        [json!([]), json!(null), json!({}), json!({"alg": 1}), json!({"alg": "EdDSA", "kid": 1})]
    {
        let detail = refusal(&sign_with(1, &header, &payload()));
        assert!(detail.starts_with(undecodable), "{header}: {detail}");
    }
    for payload in [json!([]), json!(null), json!("x")] {
        let detail = verify_payload(&payload).unwrap_err().detail;
        assert!(detail.starts_with(undecodable), "{payload}: {detail}");
    }
    for pair in testkeys::all() {
        let authority = Authority::new(&settings(&pair)).unwrap();
        let token = mint(&authority);
        for end in 0..token.len() {
            let cut: String = token.chars().take(end).collect();
            assert_eq!(authority.verify(&cut, NOW).unwrap_err().status, 401);
        }
    }
}

#[test]
fn a_header_that_demands_an_extension_is_refused() {
    let detail =
        refusal(&sign_with(1, &json!({"alg": "EdDSA", "crit": ["b64"], "b64": false}), &payload()));
    assert!(detail.contains("`crit`"), "{detail}");
}

#[test]
fn a_refusal_repeats_nothing_of_the_token() {
    let marked = with(&json!({"peer_type": "mark", "sub": "mark", "aud": "mark"}));
    for (seed, header) in [
        (1, json!({"alg": "EdDSA"})),
        (1, json!({"alg": "mark"})),
        (1, json!({"alg": "EdDSA", "kid": "mark"})),
        (2, json!({"alg": "EdDSA"})),
    ] {
        let token = sign_with(seed, &header, &marked);
        let detail = refusal(&token);
        assert!(!detail.contains("mark"), "{detail}");
        assert!(token.split('.').all(|part| !detail.contains(part)), "{detail}");
    }
}

#[test]
fn a_key_that_is_replaced_still_verifies_while_it_is_listed() {
    let [old, new] = [testkeys::p256(3), testkeys::ed25519(4)];
    let token = mint(&Authority::new(&settings(&old)).unwrap());
    let rotated =
        Authority::new(&Settings { public_keys: Some(old.public), ..settings(&new) }).unwrap();
    assert!(rotated.verify(&token, NOW).is_ok());
    assert!(rotated.verify(&mint(&rotated), NOW).is_ok());
    let done = Authority::new(&settings(&new)).unwrap();
    assert_eq!(done.verify(&token, NOW).unwrap_err().status, 401);
}

#[test]
fn a_token_without_a_kid_is_tried_with_every_key() {
    let public_keys =
        [testkeys::rsa(), testkeys::p256(1), testkeys::ed25519(2), testkeys::ed25519(1)]
            .map(|pair| pair.public)
            .concat();
    let many = Authority::new(&Settings { public_keys: Some(public_keys), ..Settings::default() })
        .unwrap();
    assert!(many.verify(&sign_with(1, &json!({"alg": "EdDSA"}), &payload()), NOW).is_ok());
    assert!(many.verify(&sign_with(3, &json!({"alg": "EdDSA"}), &payload()), NOW).is_err());
}

#[test]
fn a_key_from_a_key_set_is_found_by_the_kid_it_came_with() {
    let mut set = authority().jwks();
    set["keys"][0]["kid"] = "2024-a".into();
    let settings = Settings { public_keys: Some(set.to_string()), ..Settings::default() };
    let reading = Authority::new(&settings).unwrap();
    let token = |kid| sign_with(1, &json!({"alg": "EdDSA", "kid": kid}), &payload());
    assert!(reading.verify(&token("2024-a"), NOW).is_ok());
    assert!(reading.verify(&token("2024-b"), NOW).is_err());
}

#[test]
fn a_header_carries_a_token_behind_bearer_in_any_case() {
    let authority = authority();
    let token = mint(&authority);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert!(authority.authenticate(Some(&format!("{scheme} {token}")), NOW).is_ok());
        assert!(authority.authenticate(Some(&format!(" {scheme}   {token} ")), NOW).is_ok());
    }
    for header in
        [None, Some(""), Some("Bearer"), Some("Bearer  "), Some(&token), Some("Basic eA==")]
    {
        let problem = authority.authenticate(header, NOW).unwrap_err();
        assert_eq!(problem.status, 401);
        assert_eq!(
            problem.detail,
            "access token was not provided; send 'Authorization: Bearer <token>'"
        );
    }
    let master = authority.authenticate(MASTER, NOW).unwrap_err();
    assert!(master.detail.starts_with("Could not decode access token"), "{master}");
}

#[test]
fn without_keys_the_settings_are_named() {
    let keyless = Authority::new(&Settings::default()).unwrap();
    let token = mint(&authority());
    for problem in
        [keyless.verify(&token, NOW).unwrap_err(), keyless.authenticate(None, NOW).unwrap_err()]
    {
        assert_eq!(problem.status, 503);
        for words in ["GIRASOL_AUTH_PRIVATE_KEY", "GIRASOL_AUTH_PUBLIC_KEY"] {
            assert!(problem.detail.contains(words), "{problem}");
        }
    }
}
