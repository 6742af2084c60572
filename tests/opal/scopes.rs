//! Scopes (`spec/opal-protocol.md` §2.5), with a real opal-client of one. With an opal-server
//! such a client never applies scoped data (§4.6).

use std::sync::Arc;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Functions, Opa, OpalClient, Reply, Source};

use crate::behaviours::Behaviours;
use crate::support::{Stage, expect_status, functions, inline, push_policy, wait_data, wait_for};

const POLICY: &str = "package app.scoped\n\ndefault name = \"s1\"\n";

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let source = Source::start(&json!({"from": "scope"}))?;
    source.reply_at("/users", Reply::json(&json!({"ann": 1})));
    let functions = functions()?.start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    behaviours.show("a scope is put, listed, read and deleted", crud(&functions, &ds)).await;
    let put = put(&functions, &ds, &scope("s1", &source)).await?;
    ensure!(put == 201, "PUT /scopes was answered {put}");
    push_policy(functions.api(), &ds, "/scopes/s1/policy", &[("app/scoped.rego", POLICY)]).await?;
    behaviours.show("who may read a scope", readers(&functions)).await;

    let opa = Opa::start().await?;
    let token = functions.mint("client", json!({"claims": {"allowed_scopes": ["s1"]}})).await?;
    let client = OpalClient::builder(functions.url(), &token, opa.url())
        .topics(&["users"])
        .var("OPAL_SCOPE_ID", "s1")
        .start()
        .await?;
    let logs = client.logs();
    let users = json!({"ann": 1});
    let base = wait_data(&opa, "users", &users, logs);
    behaviours.show("a client of a scope has its base data", base).await;
    let policy = wait_for("the scope's policy", logs, async || {
        let name = opa.decide("app/scoped/name", &json!({})).await?["result"].clone();
        Ok((name == "s1").then_some(()).ok_or(name))
    });
    behaviours.show("a client of a scope has its policy", policy).await;
    let incremental = async {
        let update = inline("users/keys", "/incremental", &json!({"n": 1}));
        let route = "/scopes/s1/data/update";
        let answer = functions.request(Method::POST, route, Some(&ds), Some(&update)).await?;
        expect_status(&answer, 200)?;
        wait_data(&opa, "incremental", &json!({"n": 1}), logs).await
    };
    behaviours.show("a client of a scope gets an update of it", incremental).await;
    let apart = async {
        let elsewhere = inline("users", "/elsewhere", &json!({"n": 1}));
        functions.publish(&ds, &elsewhere).await?.ok()?;
        let after = inline("users", "/after", &json!({"n": 1}));
        let route = "/scopes/s1/data/update";
        functions.request(Method::POST, route, Some(&ds), Some(&after)).await?.ok()?;
        wait_data(&opa, "after", &json!({"n": 1}), logs).await?;
        ensure!(opa.data("elsewhere").await?.is_null(), "an update of another scope came");
        Ok(())
    };
    behaviours.show("a client of a scope gets nothing of others", apart).await;
    Ok(())
}

fn scope(id: &str, source: &Source) -> Value {
    json!({
        "scope_id": id,
        "policy": {
            "source_type": "git", "url": "file:///nowhere", "branch": "master",
            "auth": {"auth_type": "none"}, "directories": ["."],
        },
        "data": {"entries": [
            {"url": source.url("/users"), "topics": ["users"], "dst_path": "/users"},
        ]},
    })
}

async fn put(functions: &Functions, ds: &str, scope: &Value) -> Result<u16> {
    Ok(functions.request(Method::PUT, "/scopes", Some(ds), Some(scope)).await?.status)
}

async fn crud(functions: &Functions, ds: &str) -> Result<()> {
    let source = Source::start(&json!({}))?;
    let ask = async |method, path: &str| functions.request(method, path, Some(ds), None).await;
    ensure!(
        put(functions, ds, &scope("passing", &source)).await? == 201,
        "PUT is not answered 201"
    );
    let listed = ask(Method::GET, "/scopes").await?.ok()?;
    let has =
        |id: &str| listed.as_array().into_iter().flatten().any(|scope| scope["scope_id"] == id);
    ensure!(has("passing"), "{listed}");
    let read = ask(Method::GET, "/scopes/passing").await?.ok()?;
    ensure!(read["scope_id"] == "passing" && read["policy"].get("auth").is_none(), "{read}");
    expect_status(&ask(Method::DELETE, "/scopes/passing").await?, 204)?;
    expect_status(&ask(Method::DELETE, "/scopes/passing").await?, 204)?;
    let gone = ask(Method::GET, "/scopes/passing").await?;
    expect_status(&gone, 404)?;
    ensure!(gone.body == json!({"detail": "No such scope: passing"}), "{gone:?}");
    expect_status(
        &functions.request(Method::PUT, "/scopes", Some(ds), Some(&json!({}))).await?,
        422,
    )
}

async fn readers(functions: &Functions) -> Result<()> {
    for (claims, status) in [
        (json!({}), 403),
        (json!({"allowed_scopes": ["s2"]}), 403),
        (json!({"allowed_scopes": ["s1"]}), 200),
        (json!({"allowed_scopes": ["s2", "s1"]}), 200),
    ] {
        let token = functions.mint("client", json!({ "claims": claims })).await?;
        for path in ["/scopes/s1/policy", "/scopes/s1/data"] {
            let answer = functions.api().get(path, Some(&token)).await?;
            expect_status(&answer, status)
                .map_err(|error| error.context(format!("{path} with {claims}")))?;
        }
    }
    Ok(())
}
