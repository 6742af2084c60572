//! Grants: what is made, what it allows, and what everybody else is told.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Answer, Functions};

use crate::plane::{
    DOMAIN, GRANTS, HEADER, UNAUTHORIZED, ask, control, detail, fact, files_with, grant,
    in_seconds, keep, make, omni, request, said, show, until, with,
};
use crate::support::{can_run, with_facts};

const FACTS: &str = "/api/v1/facts";

async fn post_fact(functions: &Functions, token: &str, path: &str) -> u16 {
    let body = fact("any", "x");
    ask(functions, token, Method::POST, path, Some(&body)).await.status
}

/// The statuses of what a token may ask, in the order of the four grants' table.
async fn statuses(functions: &Functions, token: &str, one: &str, other: &str) -> [u16; 7] {
    let path = |id: &str| format!("{FACTS}/{id}");
    let get = async |path: &str| ask(functions, token, Method::GET, path, None).await.status;
    [
        post_fact(functions, token, FACTS).await,
        get(&path(one)).await,
        get(&path(other)).await,
        get("/api/v1/facts?scope_custom_id=none").await,
        get("/api/v1/fact_types").await,
        post_fact(functions, token, "/js/v1/facts").await,
        ask(functions, token, Method::DELETE, &path("fact_none"), None).await.status,
    ]
}

#[tokio::test]
async fn the_four_usual_grants_are_answered_as_they_are_asked_for_and_allow_that_alone() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let keeper = omni(&functions, DOMAIN).await;
    let one = keep(&functions, &keeper, &fact("any", "one")).await;
    let other = keep(&functions, &keeper, &fact("any", "other")).await;
    let single = format!("{FACTS}/{one}");
    for (name, body, expected) in [
        ("omni", grant(&["*"], &["*"]), [200, 200, 200, 200, 200, 200, 404]),
        (
            "a normal backend application",
            grant(&["POST", "GET"], &[FACTS, "/api/v1/facts/*"]),
            [200, 200, 200, 200, 401, 401, 401],
        ),
        ("a single fact", grant(&["GET"], &[&single]), [401, 200, 401, 401, 401, 401, 401]),
        (
            "public JS only",
            grant(&["POST"], &["/js/v1/facts"]),
            [401, 401, 401, 401, 401, 200, 401],
        ),
    ] {
        let made = control(&functions, Method::POST, GRANTS, Some(&body)).await.ok().unwrap();
        for member in ["domain", "allowed_http_methods", "paths"] {
            assert_eq!(made[member], body[member], "{name}");
        }
        let token = made["token"].as_str().unwrap();
        let secret = token.strip_prefix("v1:sandbox.example.com:").unwrap();
        assert!(secret.len() == 32 && secret.bytes().all(|it| it.is_ascii_alphanumeric()));
        assert_eq!(statuses(&functions, token, &one, &other).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_grant_without_paths_is_for_all_of_them() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    for paths in [json!(null), json!([])] {
        let body = with(grant(&["GET"], &[]), "paths", paths);
        let made = control(&functions, Method::POST, GRANTS, Some(&body)).await.ok().unwrap();
        assert_eq!(made["paths"], json!(["*"]));
        let token = made["token"].as_str().unwrap();
        let types = ask(&functions, token, Method::GET, "/api/v1/fact_types", None).await;
        assert_eq!(types.status, 200, "{types:?}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_is_nowhere_on_the_disk() {
    if !can_run(&[]) {
        return;
    }
    let mut functions = with_facts().start().await.unwrap();
    let made = make(&functions, &grant(&["*"], &["*"])).await;
    let secret = made.token.rsplit(':').next().unwrap();
    keep(&functions, &made.token, &fact("any", "x")).await;
    let one = format!("{GRANTS}/{}", made.id);
    for path in [GRANTS, &one, "/api/v1/grants?domain=sandbox.example.com", "/api/v1/api_audits"] {
        let shown = control(&functions, Method::GET, path, None).await.ok().unwrap().to_string();
        assert!(shown.contains(DOMAIN) && !shown.contains(secret), "{path}: {shown}");
        assert!(!shown.contains("token"), "{path}: {shown}");
    }
    // Who looks for it in the files would find it: what else is known of the grant is there.
    assert!(!files_with(functions.data_dir(), &made.id).is_empty());
    assert_eq!(files_with(functions.data_dir(), secret), [""; 0]);
    control(&functions, Method::DELETE, &one, None).await.ok().unwrap();
    functions.stop().await.unwrap();
    assert_eq!(files_with(functions.data_dir(), secret), [""; 0]);
    assert!(!functions.logs().to_string().contains(secret));
}

#[tokio::test]
async fn a_request_is_refused_in_the_order_of_token_path_grant_and_body() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let reader = make(&functions, &grant(&["GET"], &["*"])).await.token;
    let get = async |token: &str, path: &str| ask(&functions, token, Method::GET, path, None).await;

    let health = functions.get("/api/v1/healthz").await.unwrap();
    assert_eq!((health.status, health.body), (200, json!({"status": "OK"})));

    let missing = (400, "missing key in request header");
    assert_eq!(said(&functions.get("/api/v1/nothing").await.unwrap()), missing);
    for path in [FACTS, "/api/v1/nothing", "/js/v1/nothing", "/api/v1/a//b"] {
        assert_eq!(said(&get("", path).await), missing, "{path}");
    }
    for token in ["v1", "v1:a", "v1:a:b:c", "v2:sandbox.example.com:x", "V1:a:b", "nonsense"] {
        assert_eq!(said(&get(token, "/api/v1/a//b").await), (401, "invalid key"), "{token}");
    }
    for path in ["/api/v1/a//b", "/api/v1/facts%2Fx", "/api/v1/facts/x%0A", "/api/v1/%ff"] {
        let refused = get(&reader, path).await;
        assert_eq!(said(&refused), (400, "invalid path"), "{path}");
        assert!(!detail(&refused).is_empty(), "{path}");
    }
    let long = format!("/api/v1/facts/{}", "x".repeat(9_000));
    assert_eq!(said(&get(&reader, &long).await), (400, "invalid path"));

    let (_, secret) = reader.rsplit_once(':').unwrap();
    let elsewhere = format!("v1:other.example.com:{secret}");
    for token in ["v1:sandbox.example.com:unknown", "v1:a:b", "v1:*:x", &elsewhere] {
        assert_eq!(said(&get(token, "/api/v1/fact_types").await), UNAUTHORIZED, "{token}");
        assert_eq!(said(&get(token, "/api/v1/nothing").await), UNAUTHORIZED, "{token}");
    }
    // Who may not is not told what is wrong with the body, nor that there is no such method.
    let bad = json!({"fact_type_slug": 7});
    let refused = ask(&functions, &reader, Method::POST, FACTS, Some(&bad)).await;
    assert_eq!(said(&refused), UNAUTHORIZED);
    let refused = ask(&functions, &reader, Method::PUT, FACTS, Some(&bad)).await;
    assert_eq!(said(&refused), UNAUTHORIZED);

    assert_eq!(said(&get(&reader, "/api/v1/nothing").await), (404, "Not Found"));
    assert_eq!(said(&get(&reader, "/js/v1/nothing").await), (404, "Not Found"));
    assert_eq!(said(&get(&reader, "/api/v1/facts/fact_none").await), (404, "Not Found"));
    let all = omni(&functions, DOMAIN).await;
    let refused = ask(&functions, &all, Method::PUT, FACTS, Some(&bad)).await;
    assert_eq!(said(&refused), (405, "Method Not Allowed"));
    let refused = ask(&functions, &all, Method::POST, FACTS, Some(&bad)).await;
    assert_eq!(said(&refused), (400, "Validation Error"));
    // One slash at the end is as if it were not there, and the header has any case.
    assert_eq!(get(&reader, "/api/v1/fact_types/").await.status, 200);
    let lower = request(&functions, Method::GET, "/api/v1/fact_types");
    let lower = lower.header(HEADER.to_lowercase(), &reader);
    assert_eq!(Answer::of(lower).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_grant_makes_sees_and_revokes_grants_of_its_own_domain_only() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let body = with(grant(&["*"], &[GRANTS, "/api/v1/grants/*"]), "expires_at", in_seconds(3_600));
    let maker = make(&functions, &body).await;
    let foreign =
        make(&functions, &with(grant(&["*"], &["*"]), "domain", "other.example.com")).await;
    let by = async |method: Method, path: &str, body: Option<&Value>| {
        ask(&functions, &maker.token, method, path, body).await
    };

    let made = by(Method::POST, GRANTS, Some(&grant(&["GET"], &["*"]))).await.ok().unwrap();
    let token = made["token"].as_str().unwrap();
    let types = ask(&functions, token, Method::GET, "/api/v1/fact_types", None).await;
    assert_eq!(types.status, 200, "{types:?}");
    assert!(made["expires_at"].is_string(), "it ends no later than its maker: {made}");

    let other = with(grant(&["GET"], &["*"]), "domain", "other.example.com");
    assert_eq!(said(&by(Method::POST, GRANTS, Some(&other)).await), UNAUTHORIZED);
    let theirs = format!("{GRANTS}/{}", foreign.id);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(said(&by(method, &theirs, None).await), (404, "Not Found"));
    }
    let listed = by(Method::GET, GRANTS, None).await.ok().unwrap();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(maker.id), &made["id"]]);
    let listed = by(Method::GET, "/api/v1/grants?domain=other.example.com", None).await;
    assert_eq!(listed.ok().unwrap(), json!([]));
    // It may not ask for what its paths do not name.
    assert_eq!(said(&by(Method::GET, "/api/v1/api_audits", None).await), UNAUTHORIZED);

    let mine = format!("{GRANTS}/{}", made["id"].as_str().unwrap());
    by(Method::DELETE, &mine, None).await.ok().unwrap();
    let types = ask(&functions, token, Method::GET, "/api/v1/fact_types", None).await;
    assert_eq!(said(&types), UNAUTHORIZED);
    assert_eq!(said(&by(Method::DELETE, &mine, None).await), (404, "Not Found"));
}

#[tokio::test]
async fn a_denial_that_is_added_to_a_grant_overrides_it_and_goes_with_it() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let base = make(&functions, &grant(&["*"], &["*"])).await;
    let id = keep(&functions, &base.token, &fact("any", "x")).await;
    let denial = with(grant(&["DELETE", "GET"], &["/api/v1/facts/:id"]), "eft", "deny");
    let added = make(&functions, &with(denial, "grant_id", base.id.clone())).await;
    assert_eq!(added.token, "", "it has no token of its own");
    assert_eq!(said(&show(&functions, &base.token, &id).await), UNAUTHORIZED);
    assert_eq!(post_fact(&functions, &base.token, FACTS).await, 200);

    let denial = format!("{GRANTS}/{}", added.id);
    control(&functions, Method::DELETE, &denial, None).await.ok().unwrap();
    assert_eq!(show(&functions, &base.token, &id).await.status, 200);

    let more = with(grant(&["GET"], &["/js/*"]), "grant_id", base.id.clone());
    let more = make(&functions, &more).await;
    control(&functions, Method::DELETE, &format!("{GRANTS}/{}", base.id), None).await.ok().unwrap();
    let gone = control(&functions, Method::GET, &format!("{GRANTS}/{}", more.id), None).await;
    assert_eq!(said(&gone), (404, "Not Found"));
    let nobody = with(grant(&["GET"], &["*"]), "grant_id", base.id);
    let refused = control(&functions, Method::POST, GRANTS, Some(&nobody)).await;
    assert_eq!(refused.status, 404, "{refused:?}");
    assert!(detail(&refused).starts_with("grant_id: "), "{refused:?}");
}

#[tokio::test]
async fn a_token_may_what_its_roles_may_in_its_domain() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let nothing = grant(&["GET"], &["/js/v1/nothing"]);
    let token = make(&functions, &with(nothing.clone(), "roles", json!(["support"]))).await.token;
    let types =
        async || said(&ask(&functions, &token, Method::GET, "/api/v1/fact_types", None).await).0;
    assert_eq!(types().await, 401);
    let reads = grant(&["GET"], &["/api/v1/fact_types"]);
    let elsewhere = with(with(reads.clone(), "role", "support"), "domain", "other.example.com");
    make(&functions, &elsewhere).await;
    assert_eq!(types().await, 401, "a role is one of its domain");

    // The role leads on to another one, which may.
    make(&functions, &with(with(nothing, "role", "support"), "roles", json!(["reader"]))).await;
    let role = make(&functions, &with(reads, "role", "reader")).await;
    assert_eq!(role.token, "", "a role has no token");
    assert_eq!(types().await, 200);
    // A role's name is no token.
    let pretended =
        ask(&functions, "v1:sandbox.example.com:reader", Method::GET, FACTS, None).await;
    assert_eq!(said(&pretended), UNAUTHORIZED);

    control(&functions, Method::DELETE, &format!("{GRANTS}/{}", role.id), None).await.ok().unwrap();
    assert_eq!(types().await, 401);
}

#[tokio::test]
async fn a_grant_that_is_over_allows_nothing() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let body = with(grant(&["GET"], &["*"]), "expires_at", in_seconds(3));
    let token = make(&functions, &body).await.token;
    let types = async || {
        let answer = ask(&functions, &token, Method::GET, "/api/v1/fact_types", None).await;
        answer.status
    };
    assert_eq!(types().await, 200);
    until("the grant is over", async || types().await == 401).await;
}

#[tokio::test]
async fn what_was_revoked_stays_refused_and_what_was_made_stays_allowed_over_restarts() {
    if !can_run(&[]) {
        return;
    }
    let mut functions = with_facts().start().await.unwrap();
    let stays = make(&functions, &grant(&["GET"], &["*"])).await;
    let goes = make(&functions, &grant(&["GET"], &["*"])).await;
    let path = format!("{GRANTS}/{}?wait=all&timeout=5", goes.id);
    let gone = control(&functions, Method::DELETE, &path, None).await.ok().unwrap();
    assert_eq!(
        gone,
        json!({"id": goes.id, "seq": 3, "complete": true, "receipts": [], "expected": 0}),
    );
    for restarted in [false, true] {
        if restarted {
            functions.restart().await.unwrap();
        }
        let types = async |token: &str| {
            ask(&functions, token, Method::GET, "/api/v1/fact_types", None).await
        };
        assert_eq!(types(&stays.token).await.status, 200, "restarted: {restarted}");
        assert_eq!(said(&types(&goes.token).await), UNAUTHORIZED, "restarted: {restarted}");
    }
}

#[tokio::test]
async fn what_a_path_means_depends_on_the_syntax_that_was_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    // A point is any character in casbin's, and itself in ours.
    let body = grant(&["GET"], &["/api/v1/fact.types"]);
    let safe = make(&functions, &body).await.token;
    let casbin = make(&functions, &with(body, "path_syntax", "casbin")).await.token;
    for (token, status) in [(safe, 401), (casbin, 200)] {
        let answer = ask(&functions, &token, Method::GET, "/api/v1/fact_types", None).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn a_scope_has_grants_of_its_own_and_their_paths_are_without_it() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let datasource = functions.mint("datasource", json!({})).await.unwrap();
    let scope = json!({"scope_id": "acme", "data": {"entries": []}});
    let put = functions.request(Method::PUT, "/scopes", Some(&datasource), Some(&scope)).await;
    assert_eq!(put.unwrap().status, 201);
    let body = grant(&["GET"], &["/api/v1/fact_types"]);
    let made = control(&functions, Method::POST, "/scopes/acme/api/v1/grants", Some(&body)).await;
    let made = made.ok().unwrap();
    let token = made["token"].as_str().unwrap();
    let types = async |path: &str| ask(&functions, token, Method::GET, path, None).await;
    assert_eq!(types("/scopes/acme/api/v1/fact_types").await.status, 200);
    assert_eq!(said(&types("/scopes/acme/api/v1/scopes").await), UNAUTHORIZED);
    assert_eq!(said(&types("/api/v1/fact_types").await), UNAUTHORIZED);
    // Who has no token of a scope cannot tell whether it is there; who makes grants can.
    assert_eq!(said(&types("/scopes/none/api/v1/fact_types").await), UNAUTHORIZED);
    let made = control(&functions, Method::POST, "/scopes/none/api/v1/grants", Some(&body)).await;
    assert_eq!(made.status, 404);
    assert_eq!(functions.get("/scopes/acme/api/v1/healthz").await.unwrap().status, 200);
}
