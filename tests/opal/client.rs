//! The real opal-client of the functions, with a real OPA.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Functions, Opa, OpalClient, Reply, Source};

use crate::behaviours::Behaviours;
use crate::support::{
    Stage, TEXT_BYTES, base_data, expect_status, functions, inline, oversized, published,
    push_policy, wait_data, wait_for,
};

const DENY: &str = "package app.rbac\n\ndefault allow = false\n";
const ALLOW: &str = "package app.rbac\n\ndefault allow = true\n";
const MORE: &str = "package app.more\n\nis_there = true\n";
const CLIENT_ID: &str = "the-client";

struct Parts {
    functions: Functions,
    ds: String,
    token: String,
    source: Source,
    opa: Opa,
    client: OpalClient,
}

pub(crate) async fn run(_: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let parts = start().await?;
    let Parts { opa, client, .. } = &parts;
    let logs = client.logs();
    behaviours
        .show("the base data is in OPA", wait_data(opa, "base", &json!({"from": "base"}), logs))
        .await;
    behaviours
        .show("a policy's data.json is in OPA", wait_data(opa, "static", &json!({"s": 1}), logs))
        .await;
    behaviours.show("the policy decides", parts.decides("app/rbac/allow", &json!(false))).await;
    behaviours.show("an inline update", parts.inline_update()).await;
    behaviours.show("an update by URL", parts.fetched_update()).await;
    behaviours.show("an inline patch", parts.inline_patch()).await;
    behaviours.show("a patch by URL", parts.fetched_patch()).await;
    behaviours.show("an update of other topics is left alone", parts.other_topic()).await;
    behaviours.show("two topics, one fetch", parts.two_topics()).await;
    behaviours.show("an update too large for a frame", parts.large()).await;
    behaviours.show("a changed policy replaces the old one", parts.changed_policy()).await;
    behaviours.show("a report goes to the update's callback", parts.callback()).await;
    behaviours.show("a report is taken at /data/callback_report", parts.report()).await;
    behaviours.show("statistics and stats count it", parts.statistics()).await;
    behaviours.show("pubsub_client_info shows its two sockets", parts.client_info()).await;
    Ok(())
}

async fn start() -> Result<Parts> {
    let source = Source::start(&json!({}))?;
    source.reply_at("/base", Reply::json(&json!({"from": "base"})));
    let base = base_data(&source);
    let functions = functions()?.var(base.0, base.1).var("OPAL_STATISTICS_ENABLED", "true").start();
    let (functions, opa) = tokio::try_join!(functions, Opa::start())?;
    let ds = functions.mint("datasource", json!({})).await?;
    let token = functions.mint("client", json!({})).await?;
    let files =
        [("app/rbac.rego", DENY), ("app/more.rego", MORE), ("static/data.json", "{\"s\":1}")];
    push_policy(functions.api(), &ds, "/policy", &files).await?;
    let client = OpalClient::builder(functions.url(), &token, opa.url())
        .topics(&["policy_data", "policy_data/two"])
        .var("OPAL_SHOULD_REPORT_ON_DATA_UPDATES", "true")
        // Its own default has no token, and is tried five times before the others get a turn.
        .var("OPAL_DEFAULT_UPDATE_CALLBACKS", json!({"callbacks": []}).to_string())
        .var("OPAL_STATISTICS_ENABLED", "true")
        .var("OPAL_OPAL_CLIENT_STAT_ID", CLIENT_ID)
        .start()
        .await?;
    Ok(Parts { functions, ds, token, source, opa, client })
}

impl Parts {
    async fn publish(&self, update: &Value) -> Result<()> {
        published(self.functions.api(), &self.ds, update).await
    }

    async fn has(&self, path: &str, wanted: &Value) -> Result<()> {
        wait_data(&self.opa, path, wanted, self.client.logs()).await
    }

    async fn decides(&self, path: &str, wanted: &Value) -> Result<()> {
        wait_for(&format!("the decision {path}"), self.client.logs(), async || {
            let decision = self.opa.decide(path, &json!({})).await?["result"].clone();
            Ok((decision == *wanted).then_some(()).ok_or(decision))
        })
        .await
    }

    fn entry(&self, path: &str, url: &str, method: &str) -> Value {
        json!({"entries": [{
            "url": self.source.url(url), "topics": ["policy_data"], "dst_path": path,
            "save_method": method,
        }]})
    }

    async fn inline_update(&self) -> Result<()> {
        self.publish(&inline("policy_data", "/inline", &json!({"a": {"b": [1]}}))).await?;
        self.has("inline", &json!({"a": {"b": [1]}})).await
    }

    async fn fetched_update(&self) -> Result<()> {
        self.source.reply_at("/fetched", Reply::json(&json!({"fetched": true})));
        self.publish(&self.entry("/fetched", "/fetched", "PUT")).await?;
        self.has("fetched", &json!({"fetched": true})).await
    }

    async fn inline_patch(&self) -> Result<()> {
        self.publish(&inline("policy_data", "/patched", &json!({"bob": 1, "eve": 2}))).await?;
        self.has("patched", &json!({"bob": 1, "eve": 2})).await?;
        let patch = json!([
            {"op": "add", "path": "/carol", "value": {"role": "x"}},
            {"op": "remove", "path": "/bob"},
        ]);
        let mut update = inline("policy_data", "/patched", &patch);
        update["entries"][0]["save_method"] = json!("PATCH");
        self.publish(&update).await?;
        self.has("patched", &json!({"carol": {"role": "x"}, "eve": 2})).await
    }

    async fn fetched_patch(&self) -> Result<()> {
        self.publish(&inline("policy_data", "/by_url", &json!({"n": 1}))).await?;
        self.has("by_url", &json!({"n": 1})).await?;
        let patch = json!([{"op": "replace", "path": "/n", "value": 2}]);
        self.source.reply_at("/patch", Reply::json(&patch));
        self.publish(&self.entry("/by_url", "/patch", "PATCH")).await?;
        self.has("by_url", &json!({"n": 2})).await
    }

    async fn other_topic(&self) -> Result<()> {
        self.publish(&inline("others", "/others", &json!({"n": 1}))).await?;
        // What comes later on the same socket says that the other is not on its way.
        self.publish(&inline("policy_data", "/after_others", &json!({"n": 1}))).await?;
        self.has("after_others", &json!({"n": 1})).await?;
        ensure!(self.opa.data("others").await?.is_null(), "it was applied");
        Ok(())
    }

    /// It has subscribed to both topics of the entry; an opal-server has it fetch twice.
    async fn two_topics(&self) -> Result<()> {
        let fetches = || {
            let received = self.source.received();
            received.iter().filter(|request| request.path == "/two").count()
        };
        self.source.reply_at("/two", Reply::json(&json!({"two": 2})));
        let mut update = self.entry("/two", "/two", "PUT");
        update["entries"][0]["topics"] = json!(["policy_data/two"]);
        self.publish(&update).await?;
        self.has("two", &json!({"two": 2})).await?;
        self.publish(&inline("policy_data", "/after_two", &json!({"n": 1}))).await?;
        self.has("after_two", &json!({"n": 1})).await?;
        ensure!(fetches() == 1, "it fetched {} times", fetches());
        Ok(())
    }

    async fn large(&self) -> Result<()> {
        self.publish(&oversized("policy_data", "large")).await?;
        let text = wait_for("the large text", self.client.logs(), async || {
            let data = self.opa.data("large/text/text").await?;
            Ok(data.as_str().map(str::len).ok_or(Value::Null))
        });
        let length = text.await?;
        ensure!(length == TEXT_BYTES, "it has {length} characters");
        self.has("large/n399", &json!({"n": 399})).await
    }

    async fn changed_policy(&self) -> Result<()> {
        let before = wait_for("the policies", self.client.logs(), async || {
            Ok((self.opa.decide("app/more/is_there", &json!({})).await?["result"] == true)
                .then_some(())
                .ok_or(Value::Null))
        });
        before.await?;
        let files = [("app/rbac.rego", ALLOW)];
        push_policy(self.functions.api(), &self.ds, "/policy", &files).await?;
        self.decides("app/rbac/allow", &json!(true)).await?;
        self.decides("app/more/is_there", &Value::Null).await
    }

    async fn callback(&self) -> Result<()> {
        self.source.reply_at("/callback", Reply::json(&json!({})));
        let mut update = inline("policy_data", "/reported", &json!({"n": 1}));
        update["id"] = json!("reported");
        update["callback"] = json!({"callbacks": [self.source.url("/callback")]});
        self.publish(&update).await?;
        let report = wait_for("a report", self.client.logs(), async || {
            let received = self.source.received();
            let report = received.iter().rfind(|request| request.path == "/callback");
            Ok(report.cloned().ok_or(Value::Null))
        });
        let report: Value = serde_json::from_slice(&report.await?.body)?;
        ensure!(report["update_id"] == "reported", "{report}");
        ensure!(report["reports"][0]["saved"] == true, "{report}");
        Ok(())
    }

    async fn report(&self) -> Result<()> {
        let report = json!({"update_id": "x", "reports": [], "policy_hash": null, "user_data": {}});
        let (path, api) = ("/data/callback_report", self.functions.api());
        let post = reqwest::Method::POST;
        let answer = api.request(post.clone(), path, Some(&self.token), Some(&report)).await?;
        ensure!(answer.status == 200 && answer.body == json!({}), "{answer:?}");
        expect_status(&api.request(post.clone(), path, None, Some(&report)).await?, 401)?;
        let wrong = json!({"reports": "none"});
        expect_status(&api.request(post, path, Some(&self.token), Some(&wrong)).await?, 422)
    }

    async fn statistics(&self) -> Result<()> {
        let api = self.functions.api();
        wait_for("both sockets in the statistics", self.client.logs(), async || {
            let statistics = api.get("/statistics", Some(&self.token)).await?.ok()?;
            let channels = statistics["clients"][CLIENT_ID].as_array().map_or(0, Vec::len);
            Ok((channels == 2).then_some(()).ok_or(statistics))
        })
        .await?;
        let stats = api.get("/stats", Some(&self.token)).await?.ok()?;
        ensure!(stats["client_count"] == 1 && stats["server_count"] == 1, "{stats}");
        ensure!(stats["uptime"].is_string() && stats["version"].is_string(), "{stats}");
        Ok(())
    }

    async fn client_info(&self) -> Result<()> {
        let info =
            self.functions.api().get("/pubsub_client_info", Some(&self.token)).await?.ok()?;
        let mut topics: Vec<&Value> = info
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, peer)| &peer["subscribed_topics"])
            .collect();
        topics.sort_by_key(ToString::to_string);
        ensure!(topics.len() == 2 && topics.contains(&&json!(["policy:."])), "{info}");
        for peer in info.as_object().into_iter().flatten().map(|(_, peer)| peer) {
            for member in ["client_id", "connect_time", "refcount", "query_params"] {
                ensure!(peer.get(member).is_some(), "{peer} has no {member}");
            }
        }
        Ok(())
    }
}
