//! A user that is written through the agent and waited for, and a check right after.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testbed::{Agent, Functions, http_client};

use super::super::report::{Figure, Report, Times};
use super::USERS;

const PATIENCE: Duration = Duration::from_secs(60);
/// Syncs that are each followed by a check, for a thousand rounds.
const PER_ROUND: u64 = 10;
const MANY: usize = 100;

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let functions = Functions::start().await?;
    let publisher = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let agent = Agent::builder(functions.url(), client.clone()).start().await?;
    agent.wait_live(PATIENCE).await?;
    let viewer = json!({"viewer": {"grants": {"document": ["read"]}}});
    let others: Value = (0..USERS).map(|user| (format!("user-{user}"), json!({}))).collect();
    let grants = json!({"entries": [
        {"dst_path": "/role_permissions/__tenant", "data": viewer},
        {"dst_path": "/users", "data": others}]});
    let seq = functions.publish_ok(&publisher, &grants).await?;
    agent.wait_cursor(seq, PATIENCE).await?;

    let http = http_client()?;
    let url = |path: &str| format!("{}{path}", agent.local_url());
    let check = json!({"user": {"key": "ada"}, "action": "read",
        "resource": {"type": "document", "tenant": "default"}, "context": {}});
    let role = json!({"role": "viewer", "tenant": "default"});
    let user = json!({"key": "ada", "email": "ada@example.com"});
    let (mut times, mut checks, mut stale) = (Vec::new(), Vec::new(), 0_u64);
    let syncs = rounds * PER_ROUND;
    for round in 0..syncs {
        // A user that is synchronised, and a right that comes and goes.
        let began = Instant::now();
        let put = http.put(url("/facts/users/ada")).bearer_auth(&publisher);
        let put = put.header("X-Wait-Timeout", "15").json(&user);
        put.send().await?.error_for_status()?;
        times.push(began.elapsed());
        let method = if round.is_multiple_of(2) { Method::POST } else { Method::DELETE };
        let change = http.request(method, url("/facts/users/ada/roles"));
        let change = change.bearer_auth(&publisher).header("X-Wait-Timeout", "15").json(&role);
        change.send().await?.error_for_status()?;
        let began = Instant::now();
        let answer = http.post(url("/allowed")).json(&check).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        checks.push(began.elapsed());
        let is_allowed = answer.get("allow").and_then(Value::as_bool);
        if is_allowed != Some(round.is_multiple_of(2)) {
            stale += 1;
        }
        report.progress(round + 1, syncs, "syncs");
    }
    let times = Times::new(times);
    report.add(Figure::milliseconds("users.sync, p50", times.median()).target(25.0));
    report.add(Figure::milliseconds("users.sync, p99", times.percentile(99)));
    let checks = Times::new(checks);
    let name = |percent| format!("a check by the built-in policy, {USERS} users, {percent}");
    report.add(Figure::milliseconds(name("p50"), checks.median()));
    report.add(Figure::milliseconds(name("p99"), checks.percentile(99)));
    #[expect(clippy::cast_precision_loss, reason = "a benchmark has fewer than 2^52 rounds")]
    report.add(Figure::new(format!("stale of {syncs} checks"), stale as f64, "checks").target(0.0));

    let starts = (0..MANY).map(|number| {
        let agent = Agent::builder(functions.url(), client.clone());
        agent.arg("--agent-name").arg(format!("agent-{number}")).start()
    });
    let others = try_join_all(starts).await?;
    for other in &others {
        other.wait_live(PATIENCE).await?;
    }
    let path = "/v2/facts/p/e/users/ada?wait=all&timeout=15";
    let mut times = Vec::new();
    for _ in 0..rounds.min(200) {
        let began = Instant::now();
        let answer = functions.request(Method::PUT, path, Some(&publisher), Some(&user)).await?;
        if answer.status != 200 {
            bail!("PUT {path} answered {}: {}", answer.status, answer.body);
        }
        times.push(began.elapsed());
    }
    let p99 = Times::new(times).percentile(99);
    report.add(Figure::milliseconds("wait=all over 101 agents, p99", p99).target(100.0));
    Ok(())
}
