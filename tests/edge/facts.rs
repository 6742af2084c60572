//! Facts: how they are kept and shown, and where their values are.

use reqwest::{Method, header};
use serde_json::{Value, json};
use testbed::{Answer, Functions};

use crate::plane::{
    DOMAIN, HEADER, VALUE, ask, control, detail, fact, files_with, grant, keep, make, omni,
    request, said, show, with,
};
use crate::support::{FACTS_KEYS, SOON, agent, can_run, inline, with_facts};

const FACTS: &str = "/api/v1/facts";
const TYPES: &str = "/api/v1/fact_types";
const SCOPES: &str = "/api/v1/scopes";
const KEYS: &str = "GIRASOL_FACTS_KEYS";
const NEW_KEY: &str = "k2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
fn in_scope(slug: &str, value: &str, scope: &str) -> Value {
    with(fact(slug, value), "scope_custom_id", scope)
}

async fn post(functions: &Functions, token: &str, path: &str, body: &Value) -> Answer {
    ask(functions, token, Method::POST, path, Some(body)).await
}

async fn get(functions: &Functions, token: &str, path: &str) -> Answer {
    ask(functions, token, Method::GET, path, None).await
}

async fn delete(functions: &Functions, token: &str, id: &str) -> Answer {
    ask(functions, token, Method::DELETE, &format!("{FACTS}/{id}"), None).await
}

#[tokio::test]
async fn a_fact_is_kept_listed_and_shown_and_then_forgotten() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let kept = post(&functions, &token, FACTS, &in_scope("email", VALUE, "customer 7")).await;
    let mut kept = kept.ok().unwrap();
    assert_eq!(kept["seq"], 2, "{kept}");
    kept.as_object_mut().unwrap().remove("seq");
    let id = kept["id"].as_str().unwrap().to_owned();
    let name = id.strip_prefix("fact_").unwrap();
    assert!(name.len() == 20 && name.bytes().all(|it| it.is_ascii_alphanumeric()), "{id}");
    let without_value = json!({
        "id": id, "scope_custom_id": "customer 7", "fact_type_slug": "email", "domain": DOMAIN });
    assert_eq!(kept, without_value);
    let shown = show(&functions, &token, &id).await.ok().unwrap();
    assert_eq!(shown, with(without_value.clone(), "value", VALUE));
    let listed = get(&functions, &token, "/api/v1/facts?scope_custom_id=customer%207").await;
    assert_eq!(listed.ok().unwrap(), json!([without_value]));
    let scope = get(&functions, &token, "/api/v1/scopes?custom_id=customer%207").await;
    assert!(scope.ok().unwrap()["id"].as_str().unwrap().starts_with("scope_"));

    let foreign = omni(&functions, "other.example.com").await;
    assert_eq!(said(&show(&functions, &foreign, &id).await), (404, "Not Found"));
    assert_eq!(said(&delete(&functions, &foreign, &id).await), (404, "Not Found"));
    let listed = get(&functions, &foreign, "/api/v1/facts?scope_custom_id=customer%207").await;
    assert_eq!(listed.ok().unwrap(), json!([]));

    let gone = delete(&functions, &token, &id).await.ok().unwrap();
    assert_eq!(gone, json!({"id": id, "seq": 4}));
    assert_eq!(said(&show(&functions, &token, &id).await), (404, "Not Found"));
    assert_eq!(said(&delete(&functions, &token, &id).await), (404, "Not Found"));
}

#[tokio::test]
async fn a_value_is_once_in_a_scope_and_as_often_as_it_likes_outside() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let first = keep(&functions, &token, &in_scope("email", VALUE, "a")).await;
    let again = post(&functions, &token, FACTS, &in_scope("email", VALUE, "a")).await;
    assert_eq!(said(&again), (400, "hashed_value already exists"));
    assert_eq!(again.body["id"], json!(first));
    assert!(!again.body.to_string().contains(VALUE), "{again:?}");
    for other in [
        in_scope("email", VALUE, "b"),
        in_scope("ascii", VALUE, "a"),
        in_scope("email", "charles@example.com", "a"),
        fact("email", VALUE),
        fact("email", VALUE),
        in_scope("email", VALUE, ""),
    ] {
        keep(&functions, &token, &other).await;
    }
    let foreign = omni(&functions, "other.example.com").await;
    keep(&functions, &foreign, &in_scope("email", VALUE, "a")).await;
    delete(&functions, &token, &first).await.ok().unwrap();
    keep(&functions, &token, &in_scope("email", VALUE, "a")).await;
}

#[tokio::test]
async fn a_value_fits_its_type_or_is_refused_without_being_repeated() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let own = json!({"slug": "employee", "validation": "E[0-9]{6}"});
    let made = post(&functions, &token, TYPES, &own).await.ok().unwrap();
    let id = made["id"].clone();
    let shown = json!({
        "id": id, "slug": "employee", "built_in": false, "validation": "E[0-9]{6}" });
    assert_eq!(made, shown);
    for (slug, good, bad) in [
        ("email", "a@example.com", "a.example.com-no-mail"),
        ("phone_number", "+1 (555) 123-4567", "not-a-phone"),
        ("url", "https://example.com/x", "ftp://example.com/x"),
        ("ssn", "123-45-6789", "123-45-678x"),
        ("ssnstrict", "123-45-6789", "666-45-6789"),
        ("ascii", "plain", "Ω-omega-value"),
        ("uuid", "67e55044-10b1-426f-9247-bb680e5fe0c8", "67e55044-no"),
        ("employee", "E123456", "xE1234567"),
    ] {
        keep(&functions, &token, &fact(slug, good)).await;
        let refused = post(&functions, &token, FACTS, &fact(slug, bad)).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{slug}");
        assert!(!refused.body.to_string().contains(bad), "{slug}: {refused:?}");
    }
    let listed = get(&functions, &token, "/api/v1/fact_types?builtin=false").await;
    assert_eq!(listed.ok().unwrap(), json!([shown]));
    let listed = get(&functions, &token, "/api/v1/fact_types?slug=ssn&builtin=true").await;
    assert_eq!(listed.ok().unwrap().as_array().unwrap().len(), 1);
    let refused = get(&functions, &token, "/api/v1/fact_types?builtin=perhaps").await;
    assert!(detail(&refused).starts_with("builtin: "), "{refused:?}");

    for (slug, validation, words) in [
        ("employee", json!(null), "there is a type `employee`"),
        ("email", json!(null), "built in"),
        ("Up", json!(null), "slug: give 1 to 64"),
        ("", json!(null), "slug: give 1 to 64"),
        ("ahead", json!("(?!a)b"), "validation: give a regular expression"),
        ("open", json!("a("), "validation: give a regular expression"),
        ("large", json!("(a{1000}){1000}"), "validation: the expression is too large"),
    ] {
        let body = json!({"slug": slug, "validation": validation});
        let refused = post(&functions, &token, TYPES, &body).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{slug}");
        assert!(detail(&refused).contains(words), "{slug}: {refused:?}");
    }
    // A type is its domain's.
    let foreign = omni(&functions, "other.example.com").await;
    let refused = post(&functions, &foreign, FACTS, &fact("employee", "E123456")).await;
    assert!(detail(&refused).contains("there is no such type"), "{refused:?}");
}

#[tokio::test]
async fn a_fact_that_cannot_be_kept_is_told_why() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let most = 32 << 10;
    keep(&functions, &token, &fact("any", &"x".repeat(most))).await;
    for (body, words) in [
        (fact("any", &"x".repeat(most + 1)), "the limit is 32768"),
        (fact("nothing", "x"), "there is no such type"),
        (json!({"value": "x"}), "fact_type_slug"),
        (json!({"fact_type_slug": "any"}), "value"),
        (
            json!({"fact_type_slug": "any", "value": 7_318_315}),
            "value: something else than a string",
        ),
        (in_scope("any", "x", &"s".repeat(257)), "scope_custom_id: at most 256 bytes"),
        (in_scope("any", "x", "a\nb"), "scope_custom_id: at most 256 bytes"),
        (json!([]), "not an object: give {…}"),
    ] {
        let refused = post(&functions, &token, FACTS, &body).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{refused:?}");
        assert!(detail(&refused).contains(words), "{words}: {refused:?}");
        assert!(!detail(&refused).contains("7318315"), "{refused:?}");
    }
    let refused = post(&functions, &token, FACTS, &fact("any", &"x".repeat(300_000))).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    let refused = get(&functions, &token, FACTS).await;
    assert!(detail(&refused).starts_with("scope_custom_id: "), "{refused:?}");
}

#[tokio::test]
async fn a_scope_is_made_once_and_found_by_its_custom_id_in_its_domain() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let made = post(&functions, &token, SCOPES, &json!({"custom_id": "c-1"})).await.ok().unwrap();
    // The vault's own code calls it so.
    let again = post(&functions, &token, SCOPES, &json!({"type": "c-1"})).await.ok().unwrap();
    assert_eq!(again, made);
    assert_eq!(made["custom_id"], "c-1");
    let path = "/api/v1/scopes?custom_id=c-1";
    assert_eq!(get(&functions, &token, path).await.ok().unwrap(), made);
    let foreign = omni(&functions, "other.example.com").await;
    assert_eq!(said(&get(&functions, &foreign, path).await), (404, "Not Found"));
    let theirs = post(&functions, &foreign, SCOPES, &json!({"custom_id": "c-1"})).await;
    assert_ne!(theirs.ok().unwrap()["id"], made["id"]);
    for body in [json!({}), json!({"custom_id": ""}), json!({"custom_id": 7})] {
        let refused = post(&functions, &token, SCOPES, &body).await;
        assert_eq!(said(&refused), (400, "Validation Error"), "{body}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_keep_a_fact_and_read_the_answer() {
    if !can_run(&[]) {
        return;
    }
    let functions = with_facts().start().await.unwrap();
    let token = make(&functions, &grant(&["POST"], &["/js/v1/facts"])).await.token;
    let origin = "https://shop.example.com";
    let asked = request(&functions, Method::OPTIONS, "/js/v1/facts")
        .header(header::ORIGIN, origin)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,x-opv-grant-token");
    let preflight = asked.send().await.unwrap();
    assert_eq!(preflight.status(), 200);
    let told = |name: &str| preflight.headers()[name].to_str().unwrap();
    assert_eq!(told("access-control-allow-origin"), origin);
    assert!(told("access-control-allow-headers").contains("x-opv-grant-token"));
    assert!(told("access-control-allow-methods").contains("POST"));

    let body = in_scope("email", VALUE, "customer-7");
    for (sent, status) in [(token.as_str(), 200), ("", 400), ("v1:a.example.com:x", 401)] {
        let request = request(&functions, Method::POST, "/js/v1/facts").json(&body);
        let answer = request.header(header::ORIGIN, origin).header(HEADER, sent);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["access-control-allow-origin"], origin, "{status}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains(VALUE) && !text.contains("customer-7"), "{text}");
    }
    // Its scope is dropped, so that a page learns of nobody's value.
    let keeper = omni(&functions, DOMAIN).await;
    let listed = get(&functions, &keeper, "/api/v1/facts?scope_custom_id=customer-7").await;
    assert_eq!(listed.ok().unwrap(), json!([]));
    assert_eq!(post(&functions, &token, "/js/v1/facts", &body).await.status, 200, "once more");
}

#[tokio::test]
async fn a_value_is_nowhere_on_the_disk_and_in_no_log_whatever_becomes_of_the_fact() {
    if !can_run(&[]) {
        return;
    }
    // Retention gives up what a fact said, so that the hub says it again.
    let mut functions = with_facts().var("GIRASOL_LOG_MAX_BYTES", "20000").start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let publisher = functions.mint("datasource", json!({})).await.unwrap();
    let in_files = |functions: &Functions, text: &str| files_with(functions.data_dir(), text);

    let scoped = keep(&functions, &token, &in_scope("email", VALUE, "a")).await;
    let free = keep(&functions, &token, &fact("email", VALUE)).await;
    post(&functions, &token, FACTS, &in_scope("email", VALUE, "a")).await;
    post(&functions, &token, FACTS, &fact("url", VALUE)).await;
    // Who looks would find it: what else is known of the fact is there.
    assert!(!in_files(&functions, &scoped).is_empty() && !in_files(&functions, &free).is_empty());
    assert_eq!(in_files(&functions, VALUE), [""; 0], "while it is kept");

    let large = "y".repeat(5_000);
    for n in 0..12 {
        let update = inline("t", &format!("/n{n}"), &json!({"text": large}));
        functions.publish_ok(&publisher, &update).await.unwrap();
    }
    let shown = show(&functions, &token, &scoped).await.ok().unwrap();
    assert_eq!(shown["value"], VALUE);
    let path = "/log?after=0&topics=facts:sandbox.example.com";
    let log = functions.request(Method::GET, path, Some(&publisher), None).await.unwrap();
    let log = log.ok().unwrap();
    assert!(log["floor"].as_u64() > Some(3), "what it said first is gone: {log}");
    assert_eq!(log["updates"].as_array().unwrap().len(), 2, "both are there again: {log}");
    assert_eq!(in_files(&functions, VALUE), [""; 0], "after it was said again");

    functions.restart().await.unwrap();
    let shown = show(&functions, &token, &free).await.ok().unwrap();
    assert_eq!(shown["value"], VALUE);
    for id in [&scoped, &free] {
        delete(&functions, &token, id).await.ok().unwrap();
    }
    assert_eq!(in_files(&functions, VALUE), [""; 0], "after it was forgotten");
    functions.stop().await.unwrap();
    assert_eq!(in_files(&functions, VALUE), [""; 0], "when nothing runs");
    assert!(!functions.logs().to_string().contains(VALUE));
}

#[tokio::test]
async fn keys_are_rotated_by_a_new_one_before_the_old_and_by_sealing_anew() {
    if !can_run(&[]) {
        return;
    }
    let mut functions = with_facts().start().await.unwrap();
    let token = omni(&functions, DOMAIN).await;
    let id = keep(&functions, &token, &in_scope("email", VALUE, "a")).await;
    let value = async |functions: &Functions, id: &str| {
        show(functions, &token, id).await.ok().unwrap()["value"].clone()
    };

    functions.set_var(KEYS, &format!("{NEW_KEY},{FACTS_KEYS}"));
    functions.restart().await.unwrap();
    assert_eq!(value(&functions, &id).await, VALUE);
    let again = post(&functions, &token, FACTS, &in_scope("email", VALUE, "a")).await;
    assert_eq!(said(&again), (400, "hashed_value already exists"), "by the old key's print");
    let newer = keep(&functions, &token, &fact("email", "new@example.com")).await;

    // Without the old key, and nothing sealed anew: what it sealed has to wait, the rest does not.
    functions.set_var(KEYS, NEW_KEY);
    functions.restart().await.unwrap();
    let refused = show(&functions, &token, &id).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(detail(&refused).contains("the key `k1` is not in GIRASOL_FACTS_KEYS"), "{refused:?}");
    assert_eq!(value(&functions, &newer).await, "new@example.com");

    functions.set_var(KEYS, &format!("{NEW_KEY},{FACTS_KEYS}"));
    functions.restart().await.unwrap();
    let reseal = "/api/v1/fact_keys/reseal";
    let refused = ask(&functions, &token, Method::POST, reseal, None).await;
    assert_eq!(said(&refused), (401, "Unauthorized"), "keys are of all domains");
    let done = control(&functions, Method::POST, reseal, None).await.ok().unwrap();
    // The fact, and the update that tells agents of it.
    assert_eq!(done, json!({"resealed": 2, "left": 0}));
    let done = control(&functions, Method::POST, reseal, None).await.ok().unwrap();
    assert_eq!(done, json!({"resealed": 0, "left": 0}));

    functions.set_var(KEYS, NEW_KEY);
    functions.restart().await.unwrap();
    assert_eq!(value(&functions, &id).await, VALUE);
    let again = post(&functions, &token, FACTS, &in_scope("email", VALUE, "a")).await;
    assert_eq!(said(&again), (400, "hashed_value already exists"), "by the new key's print");
    let agent = agent(&functions, &["facts:sandbox.example.com"]).await.start().await.unwrap();
    let fact = format!("girasol/facts/{DOMAIN}/{id}/value");
    agent.wait_decision(&fact, &json!({}), &json!(VALUE), SOON).await.unwrap();
}

#[tokio::test]
async fn without_a_key_no_fact_is_kept_and_the_setting_is_named_and_not_shown() {
    if !can_run(&[]) {
        return;
    }
    let bad = "k1:c2hvcnQ=";
    for plan in [Functions::builder().unwrap(), with_facts().var(KEYS, bad)] {
        let functions = plan.start().await.unwrap();
        let token = omni(&functions, DOMAIN).await;
        let refused = post(&functions, &token, FACTS, &fact("email", VALUE)).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(detail(&refused).contains(KEYS), "{refused:?}");
        assert!(!refused.body.to_string().contains("c2hvcnQ"), "{refused:?}");
        assert!(!functions.logs().to_string().contains("c2hvcnQ"));
        // Nothing else stops.
        assert_eq!(get(&functions, &token, TYPES).await.status, 200);
        let publisher = functions.mint("datasource", json!({})).await.unwrap();
        functions.publish_ok(&publisher, &inline("t", "/a", &json!({}))).await.unwrap();
    }
}
