//! The control plane: who may ask it, what a bad grant is told, and what the audits say.

use reqwest::Method;
use serde_json::{Value, json};
use testbed::Answer;

use crate::plane::{
    DOMAIN, GRANTS, HEADER, UNAUTHORIZED, ask, control, detail, fact, grant, in_seconds, keep,
    make, omni, request, said, show, with,
};
use crate::support::{can_run, with_facts};

const FACTS: &str = "/api/v1/facts";

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

#[tokio::test]
async fn a_proxy_is_deployed_by_who_may_and_listed_in_its_domain() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let body = grant(&["PUT", "GET"], &["/api/v1/proxies", "/api/v1/proxies/*"]);
    let deployer = make(&functions, &body).await.token;
    let routes = json!({"routes": [{"path": "/users", "pointers": ["/email"]}]});
    let path = "/api/v1/proxies/shop";
    let deployed = ask(&functions, &deployer, Method::PUT, path, Some(&routes)).await.ok().unwrap();
    assert_eq!((&deployed["name"], &deployed["domain"]), (&json!("shop"), &json!(DOMAIN)));
    let listed = ask(&functions, &deployer, Method::GET, "/api/v1/proxies", None).await;
    assert_eq!(listed.ok().unwrap(), json!([deployed]));
    let listed = control(&functions, Method::GET, "/api/v1/api_audits?plane=proxy", None).await;
    assert_eq!(listed.ok().unwrap().as_array().unwrap().len(), 2);

    let foreign = omni(&functions, "other.example.com").await;
    let listed = ask(&functions, &foreign, Method::GET, "/api/v1/proxies", None).await;
    assert_eq!(listed.ok().unwrap(), json!([]));
    let public = make(&functions, &grant(&["POST"], &["/js/v1/facts"])).await.token;
    let refused = ask(&functions, &public, Method::PUT, path, Some(&routes)).await;
    assert_eq!(said(&refused), UNAUTHORIZED);
    let refused =
        ask(&functions, &deployer, Method::PUT, "/api/v1/proxies/a:b", Some(&routes)).await;
    assert_eq!(said(&refused), (400, "Validation Error"), "{refused:?}");
}

fn short(audit: &Value) -> String {
    let text = |member: &str| audit[member].as_str().unwrap();
    let [plane, domain, method, path] = ["plane", "domain", "http_method", "http_path"].map(text);
    format!("{plane} {domain} {method} {path} {}", audit["sent_http_status"])
}
