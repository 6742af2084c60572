//! 100,000 rows of a real PostgreSQL, from the publish of their address to the first decision that
//! shows the last of them, and what they cost the process that has them; the real opal-client with
//! `opal-fetcher-postgres` does the same, with the same PostgreSQL, an opal-server and an OPA.
//!
//! Who asks for decisions waits a little between two questions, on both sides, so that the
//! questions do not take the machine from those who are to answer.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use testbed::{Agent, Api, Functions, Opa, OpalClient, OpalServer, Postgres};
use tokio::time::sleep;

use super::table::{ROWS, TABLES, Table};
use crate::bench::memory::{forget_peak, peak_mib, resident_mib};
use crate::bench::report::{Figure, Report, Times};

const TOPIC: &str = "rows";
/// `undefined` until there are rows; the number of the round that the last row was fetched in.
const POLICY: &str = "package bench\n\nimport rego.v1\n\nround := data.rows[{last}].round\n";
const ASK_EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(120);
/// What a process takes for its work it may give back.
const SETTLE: Duration = Duration::from_secs(2);
/// Each takes opal-client several seconds.
const MOST_OF_CLIENT: u64 = 3;
const PROVIDERS: &str = "opal_common.fetcher.providers,opal_fetcher_postgres.provider";

/// Someone who is asked for decisions.
enum Decides<'a> {
    Agent(&'a Agent),
    Opa(&'a Opa),
}

/// What one side needed.
struct Measured {
    times: Times,
    idle: f64,
    peak: f64,
    steady: f64,
}

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let server = Postgres::start().await?;
    for table in &TABLES {
        table.make(&server).await?;
        let json = table.json_bytes(&server).await? / f64::from(1 << 20);
        let ours = ours(report, &server, table, rounds).await?;
        let theirs = theirs(report, &server, table, rounds.min(MOST_OF_CLIENT)).await?;
        add(report, table, json, &ours, &theirs);
    }
    Ok(())
}

fn add(report: &mut Report, table: &Table, json: f64, ours: &Measured, theirs: &Measured) {
    let name = |what: &str| format!("{ROWS} rows of {}: {what}", table.name);
    report.add(Figure::new(name("their JSON"), json, "MiB"));
    let peer = Figure::milliseconds(
        name("opal-client and OPA, publish → decision, median"),
        theirs.times.median(),
    );
    let time = Figure::milliseconds(name("publish → decision, median"), ours.times.median());
    report.add(time.target(1_000.0).beside(&peer));
    report.add(Figure::milliseconds(name("publish → decision, max"), ours.times.max()));
    report.add(peer);
    let faster = theirs.times.median().as_secs_f64() / ours.times.median().as_secs_f64();
    report.add(Figure::new(name("times faster than opal-client"), faster, "×").at_least(10.0));
    let steady = (ours.steady - ours.idle) / json;
    report.add(Figure::new(name("memory over idle, of the JSON"), steady, "×").target(4.0));
    let peak = (ours.peak - ours.idle) / json;
    report.add(Figure::new(name("peak memory over idle, of the JSON"), peak, "×"));
    for (what, ours, theirs) in [
        ("idle", ours.idle, theirs.idle),
        ("with the rows", ours.steady, theirs.steady),
        ("at its peak", ours.peak, theirs.peak),
    ] {
        let peer = Figure::new(name(&format!("opal-client and OPA, {what}")), theirs, "MiB");
        report.add(Figure::new(name(&format!("agent, {what}")), ours, "MiB").beside(&peer));
        report.add(peer);
    }
}

async fn ours(report: &Report, server: &Postgres, table: &Table, rounds: u64) -> Result<Measured> {
    let functions = Functions::start().await?;
    let policy = tempfile::tempdir()?;
    fs::write(policy.path().join("bench.rego"), policy_text())?;
    let token = functions.mint("client", json!({})).await?;
    let agent = Agent::builder(functions.url(), token)
        .topics([TOPIC])
        .policy_dir(policy.path())
        .start()
        .await?;
    agent.wait_live(PATIENCE).await?;
    sleep(SETTLE).await;
    let processes = [agent.pid()];
    let measured =
        side(report, functions.api(), Decides::Agent(&agent), &processes, server, table, rounds);
    measured.await.with_context(|| format!("the agent wrote:\n{}", agent.logs()))
}

async fn theirs(
    report: &Report,
    server: &Postgres,
    table: &Table,
    rounds: u64,
) -> Result<Measured> {
    let opal = OpalServer::builder().secure()?.file("bench.rego", &policy_text()).start().await?;
    let token = opal.api().mint("client", json!({})).await?;
    let opa = Opa::start().await?;
    let client = OpalClient::builder(opal.api().url(), &token, opa.url())
        .topics(&[TOPIC])
        .var("OPAL_FETCH_PROVIDER_MODULES", PROVIDERS)
        // Its own default gives such a table up.
        .var("OPAL_FETCHING_CALLBACK_TIMEOUT", "100")
        .spawn()?;
    until_subscribed(opal.api(), &token).await?;
    sleep(SETTLE).await;
    let processes = [client.pid(), opa.pid()];
    let measured = side(report, opal.api(), Decides::Opa(&opa), &processes, server, table, rounds);
    measured.await.with_context(|| format!("the opal-client wrote:\n{}", client.logs()))
}

async fn side(
    report: &Report,
    api: &Api,
    decides: Decides<'_>,
    processes: &[u32],
    server: &Postgres,
    table: &Table,
    rounds: u64,
) -> Result<Measured> {
    let token = api.mint("datasource", json!({})).await?;
    let sum =
        |of: fn(u32) -> Result<f64>| processes.iter().map(|pid| of(*pid)).sum::<Result<f64>>();
    let idle = sum(resident_mib)?;
    processes.iter().try_for_each(|pid| forget_peak(*pid))?;
    let mut times = Vec::new();
    let mut peak = 0.0;
    let mut steady = 0.0;
    for round in 1..=rounds {
        let began = Instant::now();
        let update = table.update(server, TOPIC, round);
        api.publish(&token, &update).await?.ok()?;
        until_decided(&decides, round).await?;
        times.push(began.elapsed());
        if round == 1 {
            // Later ones replace rows that are there: more at the peak than the question is about.
            peak = sum(peak_mib)?;
            sleep(SETTLE).await;
            steady = sum(resident_mib)?;
        }
        report.progress(round, rounds, table.name);
    }
    Ok(Measured { times: Times::new(times), idle, peak, steady })
}

async fn until_decided(decides: &Decides<'_>, round: u64) -> Result<()> {
    let began = Instant::now();
    loop {
        let answer = match decides {
            Decides::Agent(agent) => agent.decide("bench/round", &json!({})).await,
            Decides::Opa(opa) => opa.decide("bench/round", &json!({})).await,
        };
        if answer.as_ref().is_ok_and(|answer| answer.get("result") == Some(&json!(round))) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("round {round} was not decided on in {PATIENCE:?}; the last answer: {answer:?}");
        }
        sleep(ASK_EVERY).await;
    }
}

/// Waits until the server has the client's subscription.
async fn until_subscribed(api: &Api, token: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let info = api.get("/pubsub_client_info", Some(token)).await?.ok()?;
        let has = |peer: &Value| {
            let topics = peer.get("subscribed_topics").and_then(Value::as_array);
            topics.is_some_and(|topics| topics.iter().any(|it| it == TOPIC))
        };
        if info.as_object().is_some_and(|peers| peers.values().any(has)) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the opal-client did not subscribe in {PATIENCE:?}: {info}");
        }
        sleep(ASK_EVERY).await;
    }
}

fn policy_text() -> String {
    POLICY.replace("{last}", &(ROWS - 1).to_string())
}
