//! The memory that the same data takes in the agent and in a real OPA.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Agent, Functions, Opa, http_client};

use super::super::memory::resident_mib;
use super::super::report::{Figure, Report};

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of JSON, about.
const BYTES: usize = 50_000_000;
/// Users in each document.
const USERS: usize = 4_000;

/// What a user has, by number.
type Record = fn(&str, usize) -> Value;

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let roles: Record = |_, number| json!([format!("role-{}", number % 50), "everybody"]);
    let record: Record = |user, number| {
        json!({
            "email": format!("{user}@example.com"), "department": number % 40,
            "roles": ["viewer", "editor", "everybody"],
            "attributes": {"region": "eu", "level": number % 7, "active": true}})
    };
    both(report, "roles of users", roles).await?;
    both(report, "users with an address and attributes", record).await
}

async fn both(report: &mut Report, what: &str, record: Record) -> Result<()> {
    let functions = Functions::start().await?;
    let publisher = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let agent = Agent::builder(functions.url(), client).start().await?;
    agent.wait_live(PATIENCE).await?;
    let opa = Opa::start().await?;
    let http = http_client()?;
    let before = (resident_mib(agent.pid())?, resident_mib(opa.pid())?);
    let (mut bytes, mut part, mut last) = (0, 0, 0);
    while bytes < BYTES {
        let document: Value = (0..USERS)
            .map(|number| {
                let user = format!("user-{part}-{number}");
                let record = record(&user, number);
                (user, record)
            })
            .collect();
        bytes += document.to_string().len();
        let place = format!("/large/part-{part}");
        let put = http.put(format!("{}/v1/data{place}", opa.url())).json(&document);
        put.send().await?.error_for_status()?;
        let update = json!({"entries": [{"dst_path": place, "data": document}]});
        last = functions.publish_ok(&publisher, &update).await?;
        part += 1;
        let done = u64::try_from(bytes.min(BYTES) / 1_000_000)?;
        report.progress(done, u64::try_from(BYTES / 1_000_000)?, "MB");
    }
    agent.wait_cursor(last, PATIENCE).await?;
    let after = (resident_mib(agent.pid())?, resident_mib(opa.pid())?);
    #[expect(clippy::cast_precision_loss, reason = "some ten million bytes")]
    let megabytes = bytes as f64 / 1e6;
    let name = |who: &str| format!("{who}, memory for {megabytes:.0} MB of {what}");
    let opas = Figure::new(name("OPA"), after.1 - before.1, "MiB");
    let ours = Figure::new(name("agent"), after.0 - before.0, "MiB");
    report.add(ours.target((after.1 - before.1) / 4.0).beside(&opas));
    report.add(opas);
    Ok(())
}
