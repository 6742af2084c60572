//! Grants: what is made, what it allows, and what everybody else is told.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Answer, Functions};

use crate::plane::{
    DOMAIN, HEADER, ask, control, detail, fact, files_with, grant, in_seconds, keep, make, omni,
    request, said, show, until, with,
};
use crate::support::{can_run, with_facts};

const FACTS: &str = "/api/v1/facts";
const GRANTS: &str = "/api/v1/grants";
const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");

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
async fn the_control_plane_takes_the_master_token_or_a_grant_and_the_data_plane_no_master() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let ask_with = async |token: Option<&str>, path: &str| {
        functions.request(Method::GET, path, token, None).await.unwrap()
    };
    for path in [GRANTS, "/api/v1/grants/grant_x", "/api/v1/api_audits"] {
        let refused = ask_with(None, path).await;
        assert_eq!(said(&refused), (400, "missing key in request header"), "{path}");
        let both = ["Authorization: Bearer", HEADER];
        assert!(both.iter().all(|it| detail(&refused).contains(it)), "{path}: {refused:?}");
        assert_eq!(said(&ask_with(Some("wrong"), path).await), UNAUTHORIZED, "{path}");
    }
    let datasource = functions.mint("datasource", json!({})).await.unwrap();
    assert_eq!(said(&ask_with(Some(&datasource), GRANTS).await), UNAUTHORIZED);
    // A grant's token is no bearer's.
    let all = omni(&functions, DOMAIN).await;
    assert_eq!(said(&ask_with(Some(&all), GRANTS).await), UNAUTHORIZED);

    let master = functions.master_token();
    let refused = ask_with(Some(master), "/api/v1/fact_types").await;
    assert_eq!(said(&refused), (400, "missing key in request header"));
    let refused = request(&functions, Method::GET, FACTS).header(HEADER, "v1:a.example.com:x");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(!refused.headers().contains_key("www-authenticate"));
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
async fn a_grant_that_cannot_be_made_is_told_which_member_to_mend() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let good = || grant(&["GET"], &["*"]);
    for (member, value, words) in [
        ("domain", json!("localhost"), "domain: give a fully qualified domain name"),
        ("domain", json!("Sandbox.example.com"), "domain: write it in lower case"),
        ("domain", json!(null), "domain"),
        ("allowed_http_methods", json!([]), "allowed_http_methods: name at least one"),
        ("allowed_http_methods", json!(["GET", "PATCH"]), "allowed_http_methods[1]: give one of"),
        ("allowed_http_methods", json!(["get"]), "allowed_http_methods[0]: give one of"),
        ("paths", json!(["/a", "/foo*"]), "paths[1]: "),
        ("paths", json!(["x".repeat(2_000)]), "paths[0]: at most"),
        ("path_syntax", json!("glob"), "path_syntax: "),
        ("eft", json!("maybe"), "eft: "),
        ("expires_at", json!(in_seconds(-60)), "expires_at: this is in the past"),
        ("expires_at", json!("tomorrow"), "expires_at: give a time with its zone"),
        ("roles", json!(["a b"]), "roles[0]: "),
        ("role", json!("a".repeat(64)), "role: "),
        ("path", json!(["/a"]), "unknown field `path`"),
    ] {
        let body = with(good(), member, value);
        let refused = control(&functions, Method::POST, GRANTS, Some(&body)).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{body}");
        assert!(detail(&refused).contains(words), "{body}: {refused:?}");
    }
    let casbin = |path: &str| with(grant(&["GET"], &[path]), "path_syntax", "casbin");
    for path in ["/a(", "/(a{1000}){1000}", "/a\\"] {
        let refused = control(&functions, Method::POST, GRANTS, Some(&casbin(path))).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{path}");
        assert!(detail(&refused).starts_with("paths[0]: "), "{refused:?}");
    }
    for text in ["", "{", "[]", "null", "\"x\""] {
        let request = request(&functions, Method::POST, GRANTS).body(text);
        let request = request.bearer_auth(functions.master_token());
        let refused = Answer::of(request).await.unwrap();
        assert_eq!(said(&refused), (400, "Validation Error"), "{text}");
    }
    let refused =
        control(&functions, Method::POST, "/api/v1/grants?wait=some", Some(&good())).await;
    assert_eq!(said(&refused), (400, "Validation Error"));
    assert!(detail(&refused).contains("wait"), "{refused:?}");
    let listed = control(&functions, Method::GET, GRANTS, None).await.ok().unwrap();
    assert_eq!(listed, json!([]), "none of them was made");
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
    assert_eq!(types("/scopes/none/api/v1/fact_types").await.status, 404);
    assert_eq!(functions.get("/scopes/acme/api/v1/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn audits_say_who_asked_for_what_and_are_filtered_ordered_and_cut() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let value = "a value that nobody else may read";
    let id = keep(&functions, &token, &fact("any", value)).await;
    show(&functions, &token, &id).await;
    show(&functions, &token, "fact_none").await;
    let unknown = "v1:other.example.com:nobody";
    ask(&functions, unknown, Method::GET, "/api/v1/fact_types?slug=asked", None).await;
    let audits = async |query: &str| {
        let path = format!("/api/v1/api_audits?{query}");
        let answer = control(&functions, Method::GET, &path, None).await.ok().unwrap();
        answer.as_array().unwrap().clone()
    };

    let all = audits("").await;
    let shown: Vec<String> = all.iter().map(short).collect();
    let expected = [
        "control  POST /api/v1/grants 200".to_owned(),
        format!("data {DOMAIN} POST /api/v1/facts 200"),
        format!("data {DOMAIN} GET /api/v1/facts/{id} 200"),
        format!("data {DOMAIN} GET /api/v1/facts/fact_none 404"),
        "data other.example.com GET /api/v1/fact_types 401".to_owned(),
    ];
    assert_eq!(shown, expected);
    let text = Value::from(all.clone()).to_string();
    assert!(!text.contains(value) && !text.contains("asked") && !text.contains("nobody"), "{text}");
    assert_eq!(all[0]["created_at"], all[0]["updated_at"]);
    assert_eq!(all[0].as_object().unwrap().len(), 7, "{}", all[0]);

    for (query, at) in [
        ("domain=other.example.com", vec![4]),
        ("plane=data&http_method=POST", vec![1]),
        ("http_path=/api/v1/facts/fact_none", vec![3]),
        ("sent_http_status=401", vec![4]),
        ("plane=data&limit=2&offset=1", vec![2, 3]),
        ("plane=data&order_desc=true&limit=1", vec![4]),
        ("plane=data&order_by=sent_http_status&order_desc=1&limit=2", vec![3, 4]),
        ("plane=proxy", vec![]),
    ] {
        let found: Vec<String> = audits(query).await.iter().map(short).collect();
        let expected: Vec<String> = at.into_iter().map(|at: usize| expected[at].clone()).collect();
        assert_eq!(found, expected, "{query}");
    }
    for bad in ["limit=1001", "limit=x", "offset=-1", "plane=x", "sent_http_status=1", "order_by=x"]
    {
        let path = format!("/api/v1/api_audits?{bad}");
        let refused = control(&functions, Method::GET, &path, None).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{bad}");
        let name = bad.split('=').next().unwrap();
        assert!(detail(&refused).starts_with(name), "{bad}: {refused:?}");
    }
    // A grant sees those of its own domain.
    let own = ask(&functions, &token, Method::GET, "/api/v1/api_audits", None).await.ok().unwrap();
    assert!(own.as_array().unwrap().iter().all(|it| it["domain"] == DOMAIN), "{own}");
}

fn short(audit: &Value) -> String {
    let text = |member: &str| audit[member].as_str().unwrap();
    let [plane, domain, method, path] = ["plane", "domain", "http_method", "http_path"].map(text);
    format!("{plane} {domain} {method} {path} {}", audit["sent_http_status"])
}
