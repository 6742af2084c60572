//! What a page in a real browser can do with a public grant.

use reqwest::Method;
use serde_json::json;
use testbed::{Functions, Part, Reply, Source, open_page};

use crate::support::can_run;

/// A page of another origin than the functions, which asks them and writes down what it was told.
fn page(functions: &str, token: &str) -> String {
    format!(
        r#"<!doctype html><title>sign up</title><pre id="out">nothing yet</pre><script>
        const ask = async (method, path, headers, body) => {{
            try {{
                const answer = await fetch("{functions}" + path, {{ method, headers, body }});
                return answer.status + " " + await answer.text();
            }} catch (error) {{ return "blocked: " + error; }}
        }};
        (async () => {{
            const key = {{ "X-OPV-GRANT-TOKEN": "{token}", "Content-Type": "application/json" }};
            const fact = JSON.stringify({{
                fact_type_slug: "email", value: "ada@example.com", scope_custom_id: "customer-7" }});
            const lines = [
                await ask("POST", "/js/v1/facts", key, fact),
                await ask("POST", "/js/v1/facts", {{}}, fact),
                await ask("GET", "/api/v1/facts/fact_x", key),
                await ask("POST", "/api/v1/facts", key, fact),
            ];
            document.getElementById("out").textContent = lines.join("\n");
        }})();
        </script>"#
    )
}

#[tokio::test]
async fn a_page_keeps_a_fact_with_a_public_grant_and_can_do_nothing_else() {
    if !can_run(&[Part::Browser]) {
        return;
    }
    let functions = crate::support::with_facts().start().await.unwrap();
    let token = public_grant(&functions).await;
    let site = Source::start(&json!({})).unwrap();
    let html = page(functions.url(), &token);
    site.reply_at("/sign-up", Reply::text("text/html", html));

    let shown = open_page(&site.url("/sign-up")).await.unwrap();

    let out = shown.split_once("<pre id=\"out\">").unwrap().1.split_once("</pre>").unwrap().0;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].starts_with("200 ") && lines[0].contains("fact_"), "{out}");
    assert!(!lines[0].contains("ada@") && !lines[0].contains("customer-7"), "{out}");
    // A refusal can be read by the page as well.
    assert!(lines[1].starts_with("400 ") && lines[1].contains("missing key"), "{out}");
    assert!(lines[2].starts_with("401 ") && lines[3].starts_with("401 "), "{out}");
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_allowed_keeps_nothing() {
    if !can_run(&[Part::Browser]) {
        return;
    }
    let plan =
        crate::support::with_facts().var("GIRASOL_ALLOWED_ORIGINS", "https://shop.example.com");
    let functions = plan.start().await.unwrap();
    let token = public_grant(&functions).await;
    let site = Source::start(&json!({})).unwrap();
    let html = page(functions.url(), &token);
    site.reply_at("/sign-up", Reply::text("text/html", html));

    let shown = open_page(&site.url("/sign-up")).await.unwrap();

    assert_eq!(shown.matches("blocked: ").count() - 1, 4, "{shown}");
}

async fn public_grant(functions: &Functions) -> String {
    let grant = json!({
        "domain": "sandbox.example.com",
        "allowed_http_methods": ["POST"],
        "paths": ["/js/v1/facts"],
    });
    let master = functions.master_token();
    let made = functions.request(Method::POST, "/api/v1/grants", Some(master), Some(&grant)).await;
    let made = made.unwrap();
    assert_eq!(made.status, 200, "{made:?}");
    made.body["token"].as_str().unwrap().to_owned()
}
