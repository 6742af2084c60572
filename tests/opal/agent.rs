//! The edge agent of a real opal-server, with the embedded engine and with a real OPA.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Agent, Api, Engine, Opa, OpalServer, Reply, Source};

use crate::behaviours::Behaviours;
use crate::support::{SOON, Stage, base_data, inline, published, wait_for};

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let source = Source::start(&json!({}))?;
    source.reply_at("/base", Reply::json(&json!({"from": "base"})));
    let base = base_data(&source);
    let server = OpalServer::builder()
        .secure()?
        .file("static/data.json", "{\"s\":1}")
        .var("OPAL_STATISTICS_ENABLED", "true")
        .var(base.0, base.1);
    let (mut server, opa) = tokio::try_join!(server.start(), Opa::start())?;
    let ds = server.api().mint("datasource", json!({})).await?;
    let token = server.api().mint("client", json!({})).await?;
    for (name, engine) in
        [("embedded engine", Engine::Regorus), ("OPA", Engine::Opa(opa.url().to_owned()))]
    {
        let agent = Agent::builder(server.api().url(), token.clone())
            .engine(engine)
            .topics(["policy_data", "policy_data/two"])
            .var("OPAL_STATISTICS_ENABLED", "true")
            .var("OPAL_OPAL_CLIENT_STAT_ID", "the-agent")
            .var("OPAL_SHOULD_REPORT_ON_DATA_UPDATES", "true")
            .start()
            .await?;
        let test = Test { agent: &agent, api: server.api(), ds: &ds, source: &source };
        let name = |what: &str| format!("{name}: {what}");
        behaviours
            .show(&name("it gets live"), async { agent.wait_live(SOON).await.map(drop) })
            .await;
        behaviours.show(&name("base data"), test.decides("base", &json!({"from": "base"}))).await;
        behaviours.show(&name("policy"), test.decides("app/rbac/allow", &json!(false))).await;
        behaviours
            .show(&name("a policy's data.json"), test.decides("static", &json!({"s": 1})))
            .await;
        behaviours.show(&name("an inline update"), test.inline_update()).await;
        behaviours.show(&name("an update by URL"), test.fetched_update()).await;
        behaviours.show(&name("two topics, one fetch"), test.two_topics()).await;
        behaviours.show(&name("a report goes to the update's callback"), test.callback()).await;
        behaviours.show(&name("statistics"), test.statistics()).await;
        let changed = async {
            let repository = server.repository();
            let text = "package app.rbac\n\nallow := true\n";
            repository
                .change(&[
                    ("app/rbac.rego", text),
                    ("app/more.rego", "package app.more\n\nis := 1\n"),
                ])
                .await?;
            test.decides("app/rbac/allow", &json!(true)).await?;
            test.decides("app/more/is", &json!(1)).await?;
            repository.delete(&["app/more.rego"]).await?;
            test.decides("app/more/is", &Value::Null).await?;
            let text = "package app.rbac\n\nallow := false\n";
            repository.change(&[("app/rbac.rego", text)]).await?;
            test.decides("app/rbac/allow", &json!(false)).await
        };
        behaviours.show(&name("a commit changes the policy"), changed).await;
        let restarted = async {
            let text = "package app.rbac\n\nallow := \"restarted\"\n";
            server.stop().await?;
            server.repository().change(&[("app/rbac.rego", text)]).await?;
            source.reply_at("/base", Reply::json(&json!({"from": "later"})));
            server.restart().await?;
            let test = Test { agent: &agent, api: server.api(), ds: &ds, source: &source };
            test.decides("base", &json!({"from": "later"})).await?;
            test.decides("app/rbac/allow", &json!("restarted")).await?;
            published(server.api(), &ds, &inline("policy_data", "/again", &json!({"n": 1})))
                .await?;
            test.decides("again", &json!({"n": 1})).await
        };
        behaviours.show(&name("a restart of the server is caught up with"), restarted).await;
        let text = "package app.rbac\n\nallow := false\n";
        server.repository().change(&[("app/rbac.rego", text)]).await?;
        source.reply_at("/base", Reply::json(&json!({"from": "base"})));
        server.restart().await?;
    }
    let bad = Agent::builder(server.api().url(), "wrong").start().await?;
    behaviours
        .show("a wrong token shows in the health", async {
            wait_for("the health to name the token", bad.logs(), async || {
                let (status, health) = bad.healthz().await?;
                let named = status == 503 && health.to_string().contains("token");
                Ok(named.then_some(()).ok_or(health))
            })
            .await
        })
        .await;
    Ok(())
}

struct Test<'a> {
    agent: &'a Agent,
    api: &'a Api,
    ds: &'a str,
    source: &'a Source,
}

impl Test<'_> {
    async fn decides(&self, path: &str, wanted: &Value) -> Result<()> {
        wait_for(&format!("{path} to be {wanted}"), self.agent.logs(), async || {
            let decision = self.agent.decide(path, &json!({})).await;
            let decision = decision.map_or(Value::Null, |answer| answer["result"].clone());
            Ok((decision == *wanted).then_some(()).ok_or(decision))
        })
        .await
    }

    async fn inline_update(&self) -> Result<()> {
        published(self.api, self.ds, &inline("policy_data", "/inline", &json!({"n": [1]}))).await?;
        self.decides("inline", &json!({"n": [1]})).await
    }

    async fn fetched_update(&self) -> Result<()> {
        self.source.reply_at("/fetched", Reply::json(&json!({"fetched": true})));
        let entry = json!({"url": self.source.url("/fetched"), "topics": ["policy_data"], "dst_path": "/fetched"});
        published(self.api, self.ds, &json!({ "entries": [entry] })).await?;
        self.decides("fetched", &json!({"fetched": true})).await
    }

    /// An opal-server sends such an update once for each of the topics.
    async fn two_topics(&self) -> Result<()> {
        let fetches = || {
            let received = self.source.received();
            received.iter().filter(|request| request.path == "/two").count()
        };
        let before = fetches();
        self.source.reply_at("/two", Reply::json(&json!({"two": 2})));
        let entry = json!({"url": self.source.url("/two"), "topics": ["policy_data/two"], "dst_path": "/two"});
        published(self.api, self.ds, &json!({"id": format!("two-{before}"), "entries": [entry]}))
            .await?;
        self.decides("two", &json!({"two": 2})).await?;
        published(self.api, self.ds, &inline("policy_data", "/after_two", &json!({"n": before})))
            .await?;
        self.decides("after_two", &json!({"n": before})).await?;
        ensure!(fetches() == before + 1, "it fetched {} times", fetches() - before);
        Ok(())
    }

    async fn callback(&self) -> Result<()> {
        let reports = || {
            let received = self.source.received();
            received.into_iter().filter(|request| request.path == "/callback").collect::<Vec<_>>()
        };
        let before = reports().len();
        let mut update = inline("policy_data", "/reported", &json!({"n": 1}));
        update["id"] = json!("reported");
        update["callback"] = json!({"callbacks": [self.source.url("/callback")]});
        published(self.api, self.ds, &update).await?;
        let report = wait_for("a report", self.agent.logs(), async || {
            Ok(reports().get(before).cloned().ok_or(Value::Null))
        });
        let report: Value = serde_json::from_slice(&report.await?.body)?;
        ensure!(report["update_id"] == "reported", "{report}");
        ensure!(report["reports"][0]["saved"] == true, "{report}");
        Ok(())
    }

    async fn statistics(&self) -> Result<()> {
        let token = self.api.mint("client", json!({})).await?;
        wait_for("the agent in the statistics", self.agent.logs(), async || {
            let statistics = self.api.get("/statistics", Some(&token)).await?.ok()?;
            let there = statistics["clients"].get("the-agent").is_some();
            Ok(there.then_some(()).ok_or(statistics))
        })
        .await
    }
}
