//! The embedded engine beside a real OPA, on the same policy and data.

use std::fs;
use std::process::{self, Command};
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Functions, Opa, http_client};
use tokio::time::{MissedTickBehavior, interval};

use super::super::report::{Figure, Report};
use super::client::{Ask, Load, load};
use super::{PATH, POLICY, grants_of_roles, question, roles_of_users};

const PATIENCE: Duration = Duration::from_secs(60);
const LASTING: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 8;
/// Updates a second, of so many entries each.
const UPDATES: u32 = 100;
const ENTRIES: u64 = 10;

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let functions = Functions::start().await?;
    let publisher = functions.mint("datasource", json!({})).await?;
    let policy = TempDir::new()?;
    fs::write(policy.path().join("rbac.rego"), POLICY)?;
    let client = functions.mint("client", json!({})).await?;
    let agent = Agent::builder(functions.url(), client).policy_dir(policy.path()).start().await?;
    agent.wait_live(PATIENCE).await?;
    let entry = |place: &str, data: Value| json!({"dst_path": place, "data": data});
    let update = json!({"entries": [
        entry("/roles_of_users", roles_of_users()), entry("/grants_of_roles", grants_of_roles())]});
    let seq = functions.publish_ok(&publisher, &update).await?;
    agent.wait_cursor(seq, PATIENCE).await?;
    let opa = Opa::start().await?;
    fill(&opa).await?;

    let asks: Vec<_> = (0..1_000).map(ask).collect();
    speed(report, &agent, &opa, &asks).await?;
    latency(report, &functions, &publisher, &agent, &opa, &asks).await
}

/// Many questions at a time. Who decides has a core of its own, and who asks the others: were they to
/// share, what is measured would be the asking.
async fn speed(report: &mut Report, agent: &Agent, opa: &Opa, asks: &[Ask]) -> Result<()> {
    let cores = available_parallelism()?.get();
    let all = format!("0-{}", cores - 1);
    let (one, others) =
        if cores > 1 { ("0", format!("1-{}", cores - 1)) } else { ("0", all.clone()) };
    pin(process::id(), &others)?;
    let mut per_second = Vec::new();
    for (pid, url) in [(opa.pid(), opa.url()), (agent.pid(), agent.decision_url())] {
        pin(pid, one)?;
        per_second.push(load(url, asks, CONNECTIONS, LASTING).await?.per_second);
        pin(pid, &all)?;
    }
    pin(process::id(), &all)?;
    let [opas, ours] = per_second.as_slice() else { bail!("two were measured") };
    let beside = Figure::new("OPA on one core, decisions a second", *opas, "/s");
    let figure = Figure::new("embedded on one core, decisions a second", *ours, "/s");
    report.add(figure.at_least(opas * 3.0).beside(&beside));
    report.add(beside);
    Ok(())
}

/// Lets all threads of a process run on these cores alone.
fn pin(pid: u32, cores: &str) -> Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--pid", "--cpu-list", cores, &pid.to_string()]);
    let done = taskset.output().context("taskset of util-linux is needed to give cores away")?;
    if !done.status.success() {
        bail!("taskset: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

fn ask(number: u64) -> Ask {
    let (body, is_allowed) = question(number);
    let expected = if is_allowed { "\"result\":true" } else { "\"result\":false" };
    Ask::post(PATH, None, &body.to_string(), expected)
}

async fn fill(opa: &Opa) -> Result<()> {
    let http = http_client()?;
    let put = |path: &str| http.put(format!("{}/v1/{path}", opa.url()));
    put("policies/rbac").body(POLICY).send().await?.error_for_status()?;
    let data = put("data/roles_of_users").json(&roles_of_users());
    data.send().await?.error_for_status()?;
    let data = put("data/grants_of_roles").json(&grants_of_roles());
    data.send().await?.error_for_status()?;
    Ok(())
}

/// One question at a time: with nothing else going on, and while data changes.
async fn latency(
    report: &mut Report,
    functions: &Functions,
    publisher: &str,
    agent: &Agent,
    opa: &Opa,
    asks: &[Ask],
) -> Result<()> {
    let opas = load(opa.url(), asks, 1, LASTING).await?;
    let idle = load(agent.decision_url(), asks, 1, LASTING).await?;
    let changing = async {
        let mut ticks = interval(Duration::from_secs(1) / UPDATES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for round in 0_u64.. {
            ticks.tick().await;
            let entries: Vec<_> = (0..ENTRIES)
                .map(|entry| {
                    let user = (round * ENTRIES + entry) % super::USERS;
                    let roles = json!([format!("role-{}", user % 50), "everybody", round]);
                    json!({"dst_path": format!("/roles_of_users/user-{user}"), "data": roles})
                })
                .collect();
            functions.publish_ok(publisher, &json!({ "entries": entries })).await?;
        }
        Ok::<(), anyhow::Error>(())
    };
    let busy: Load = tokio::select! {
        busy = load(agent.decision_url(), asks, 1, LASTING) => busy?,
        ended = changing => return ended,
    };
    let of = |what: &str, load: &Load, percent| {
        let time = load.times.percentile(percent);
        Figure::milliseconds(format!("{what}, one at a time, p{percent}"), time)
    };
    report.add(of("OPA, idle", &opas, 50));
    report.add(of("OPA, idle", &opas, 99));
    report.add(of("embedded, idle", &idle, 50));
    let floor = of("embedded, idle", &idle, 99);
    let what = format!("embedded, {ENTRIES} entries in each of {UPDATES} updates a second");
    report.add(of(&what, &busy, 50));
    report.add(of(&what, &busy, 99).target(1.0).beside(&floor));
    report.add(floor);
    Ok(())
}
