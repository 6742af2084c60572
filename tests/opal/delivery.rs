//! Who hears a publish, and how often: an opal-server and the functions side by side
//! (`spec/opal-protocol.md` §1.7, §4.5).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Answer, Api, Functions, OpalPeer, http_client};

use crate::behaviours::Behaviours;
use crate::support::{
    SOON, Stage, TEXT_BYTES, functions, inline, oversized, published, subscriber,
};

/// Long enough for what would come at once, if it came.
const QUIET: Duration = Duration::from_millis(400);
/// opal-client closes its socket at a frame that is larger.
const FRAME: usize = 1 << 20;

pub(crate) async fn run(stage: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let functions = functions()?.start().await?;
    for (side, api, notifies) in
        [("opal-server", stage.server().await?.api(), 3), ("functions", functions.api(), 1)]
    {
        let ds = api.mint("datasource", json!({})).await?;
        let name = |what: &str| format!("{side}: {what}");
        behaviours.show(&name("an update reaches who has a topic above it"), above(api, &ds)).await;
        behaviours
            .show(&name("an update does not reach who has a topic below it"), below(api, &ds))
            .await;
        behaviours.show(&name("nothing comes after unsubscribe"), unsubscribed(api, &ds)).await;
        behaviours
            .show(
                &name(&format!("three topics of one update, heard {notifies} ×")),
                several(api, &ds, notifies),
            )
            .await;
        behaviours.show(&name("a publisher does not hear itself"), itself(api)).await;
    }
    let api = functions.api();
    let ds = api.mint("datasource", json!({})).await?;
    behaviours.show("functions: one that does not answer holds up nobody", frozen(api, &ds)).await;
    behaviours.show("functions: a client cannot forge an update", forged(api, &ds)).await;
    behaviours.show("functions: a fetched patch is sent without data", patch(api, &ds)).await;
    behaviours
        .show(
            "functions: an update too large for a frame is fetched from the hub",
            large(&functions, &ds),
        )
        .await;
    let update = inline("policy_data", "/x", &json!({"text": "x".repeat(FRAME + FRAME / 2)}));
    behaviours
        .show(
            "functions: an update above 1 MB is refused, with what to do",
            refused(api, &ds, &update),
        )
        .await;
    let server = stage.server().await?.api();
    let ds = server.mint("datasource", json!({})).await?;
    behaviours
        .show("opal-server: one that does not answer holds up the others", held_up(server, &ds))
        .await;
    Ok(())
}

/// opal-server accepts it, and its clients close at a frame of that size and never have it.
async fn refused(api: &Api, ds: &str, update: &Value) -> Result<()> {
    let answer = api.publish(ds, update).await?;
    ensure!(answer.status == 413, "{answer:?}");
    let said = answer.body["detail"].as_str().unwrap_or_default();
    ensure!(said.contains("the limit is 1000000") && said.contains("`url`"), "{said}");
    Ok(())
}

async fn above(api: &Api, ds: &str) -> Result<()> {
    let mut peer = subscriber(api, &["above"]).await?;
    published(api, ds, &inline("above/b/c", "/x", &json!({"n": 1}))).await?;
    let (topic, data) = heard(peer.notified(SOON).await?)?;
    ensure!(topic == "above", "the topic is {topic}");
    let entry = &data["entries"][0];
    ensure!(entry["topics"] == json!(["above", "above/b", "above/b/c"]), "{entry}");
    ensure!(entry["data"] == json!({"n": 1}) && entry["dst_path"] == "/x", "{entry}");
    ensure!(entry["save_method"] == "PUT", "{entry}");
    Ok(())
}

async fn below(api: &Api, ds: &str) -> Result<()> {
    let mut peer = subscriber(api, &["below/b"]).await?;
    published(api, ds, &inline("below", "/x", &json!({"for": "others"}))).await?;
    published(api, ds, &inline("below/b", "/x", &json!({"for": "it"}))).await?;
    only(&mut peer).await
}

async fn unsubscribed(api: &Api, ds: &str) -> Result<()> {
    let mut peer = subscriber(api, &["left", "stayed"]).await?;
    let answer = peer.call("unsubscribe", &json!({"topics": ["left"]})).await?;
    ensure!(answer == true, "unsubscribe was answered {answer}");
    published(api, ds, &inline("left", "/x", &json!({"for": "others"}))).await?;
    published(api, ds, &inline("stayed", "/x", &json!({"for": "it"}))).await?;
    only(&mut peer).await
}

/// What is for it comes, and nothing else.
async fn only(peer: &mut OpalPeer) -> Result<()> {
    let (_, data) = heard(peer.notified(SOON).await?)?;
    ensure!(data["entries"][0]["data"]["for"] == "it", "{data} came");
    let more = peer.notified(QUIET).await?;
    ensure!(more.is_none(), "{more:?} came too");
    Ok(())
}

/// opal-client applies each copy that it gets.
async fn several(api: &Api, ds: &str, wanted: usize) -> Result<()> {
    let mut peer = subscriber(api, &["several", "several/a", "several/a/b"]).await?;
    published(api, ds, &inline("several/a/b", "/x", &json!({}))).await?;
    let mut count = 0;
    while peer.notified(QUIET).await?.is_some() {
        count += 1;
    }
    ensure!(count == wanted, "it was heard {count} times");
    Ok(())
}

async fn itself(api: &Api) -> Result<()> {
    let token = api.mint("datasource", json!({})).await?;
    let mut peer = OpalPeer::connect(&api.ws_url(), Some(&token)).await?.open()?;
    peer.subscribe(&["itself"]).await?;
    let mut other = subscriber(api, &["itself"]).await?;
    let update = inline("itself", "/x", &json!({}));
    let arguments = json!({"topics": ["itself"], "data": update, "sync": false});
    let answer = peer.call("publish", &arguments).await?;
    ensure!(answer == true, "publish was answered {answer}");
    heard(other.notified(SOON).await?)?;
    let back = peer.notified(QUIET).await?;
    ensure!(back.is_none(), "{back:?} came back");
    Ok(())
}

async fn frozen(api: &Api, ds: &str) -> Result<()> {
    let mut mute = subscriber(api, &["mute"]).await?;
    let mut other = subscriber(api, &["mute"]).await?;
    for number in 0..3 {
        published(api, ds, &inline("mute", "/x", &json!({"n": number}))).await?;
        ensure!(mute.unanswered(SOON).await?.is_some(), "the mute one did not get {number}");
        let (_, data) = heard(other.notified(SOON).await?)?;
        ensure!(data["entries"][0]["data"]["n"] == number, "{data}, not {number}");
    }
    Ok(())
}

async fn held_up(api: &Api, ds: &str) -> Result<()> {
    let mut mute = subscriber(api, &["mute"]).await?;
    let mut other = subscriber(api, &["mute"]).await?;
    published(api, ds, &inline("mute", "/x", &json!({}))).await?;
    ensure!(mute.unanswered(SOON).await?.is_some(), "the mute one did not get it");
    ensure!(other.notified(QUIET * 3).await?.is_none(), "the other one got it");
    Ok(())
}

async fn forged(api: &Api, ds: &str) -> Result<()> {
    let mut other = subscriber(api, &["forged"]).await?;
    let mut peer = subscriber(api, &[]).await?;
    let arguments =
        json!({"topics": ["forged"], "data": inline("forged", "/x", &json!({"for": "others"}))});
    // How it is refused is its own affair.
    let _ = peer.request("publish", &arguments).await;
    published(api, ds, &inline("forged", "/x", &json!({"for": "it"}))).await?;
    only(&mut other).await
}

/// opal-client drops a patch that is fetched and has `"data": null`.
async fn patch(api: &Api, ds: &str) -> Result<()> {
    let mut peer = subscriber(api, &["patch"]).await?;
    let entry = json!({
        "url": "http://127.0.0.1:9/patch", "topics": ["patch"], "dst_path": "/x",
        "save_method": "PATCH",
    });
    published(api, ds, &json!({ "entries": [entry] })).await?;
    let (_, data) = heard(peer.notified(SOON).await?)?;
    let entry = &data["entries"][0];
    ensure!(entry["save_method"] == "PATCH" && entry.get("data").is_none(), "{entry}");
    Ok(())
}

async fn large(functions: &Functions, ds: &str) -> Result<()> {
    let api = functions.api();
    let mut peer = subscriber(api, &["large"]).await?;
    published(api, ds, &oversized("large", "x")).await?;
    let (_, data) = heard(peer.notified(SOON).await?)?;
    ensure!(data.to_string().len() < FRAME, "a frame of {} bytes", data.to_string().len());
    ensure!(data["entries"][3]["data"] == json!({"n": 3}), "what fits is not sent inline");
    let entry = &data["entries"][400];
    ensure!(entry.get("data").is_none_or(Value::is_null), "it has data and a reference");
    let url = entry["url"].as_str().unwrap_or_default();
    let mut request = http_client()?.get(url);
    for (name, value) in entry["config"]["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    let fetched = Answer::of(request).await?.ok()?;
    let length = fetched["text"].as_str().map(str::len);
    ensure!(length == Some(TEXT_BYTES), "what {url} has is something else");
    let stranger = Answer::of(http_client()?.get(url)).await?;
    ensure!(stranger.status == 401, "without its key it is answered {}", stranger.status);
    Ok(())
}

fn heard(notify: Option<(String, Value)>) -> Result<(String, Value)> {
    notify.ok_or_else(|| anyhow::anyhow!("nothing came"))
}
