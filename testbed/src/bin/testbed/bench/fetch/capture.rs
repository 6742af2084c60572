//! From the commit of a changed row in a real PostgreSQL to the first decision that shows it, with
//! the table watched in each of the two ways; beside it, the same row published by hand.
//!
//! The database keeps its promises here: a commit is answered when it is on disk. The time begins
//! when the statement is sent, so it has the commit in it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use testbed::{Agent, Functions, Postgres, Watcher};
use tokio_postgres::{Client, NoTls};

use crate::bench::report::{Figure, Report, Times};

const TOPIC: &str = "members";
/// Rows of the table, of which one changes.
const ROWS: u64 = 1_000;
const WARM_UP: u64 = 20;
const MOST: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(30);
const POLICY: &str = "package bench\n\nimport rego.v1\n\nround := data.members[\"7\"].round\n";
const DURABLE: [(&str, &str); 3] =
    [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

struct Rig {
    functions: Functions,
    agent: Agent,
    token: String,
    postgres: Postgres,
    client: Client,
    round: u64,
}

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    let rounds = rounds.min(MOST);
    let mut rig = Rig::start().await?;
    let mut watched = vec![];
    for mode in ["replication", "notify"] {
        let watcher = Watcher::builder(&rig.postgres, rig.functions.url(), &rig.token)
            .table("members")
            .arg("--topics")
            .arg(TOPIC)
            .arg("--mode")
            .arg(mode);
        let mut watcher = watcher.start().await?;
        watched.push((mode, rig.changes(report, rounds).await?));
        watcher.terminate().await?;
    }
    let by_hand = rig.by_hand(report, rounds).await?;

    let floor = Figure::milliseconds("floor: a row published by hand → decision, p50", by_hand);
    for (mode, (changed, committed)) in watched {
        let name = |what: &str| format!("{mode}: {what}");
        let p50 = Figure::milliseconds(name("changed row → decision, p50"), changed.median());
        report.add(p50.target(30.0).beside(&floor));
        let p99 = changed.percentile(99);
        report.add(Figure::milliseconds(name("changed row → decision, p99"), p99));
        report.add(Figure::milliseconds(name("of that the commit, p50"), committed.median()));
    }
    report.add(floor);
    Ok(())
}

impl Rig {
    async fn start() -> Result<Self> {
        let mut postgres = Postgres::builder();
        for (name, value) in DURABLE {
            postgres = postgres.option(name, value);
        }
        let postgres = postgres.start().await?;
        let table = format!(
            "CREATE TABLE members (id int PRIMARY KEY, name text, round bigint);
             INSERT INTO members SELECT n, 'member ' || n, 0 FROM generate_series(1, {ROWS}) n"
        );
        postgres.execute(&table).await?;
        let (client, connection) =
            tokio_postgres::connect(&postgres.url_with_password(), NoTls).await?;
        // It ends with the client.
        tokio::spawn(connection);
        let policy = tempfile::tempdir()?;
        fs::write(policy.path().join("bench.rego"), POLICY)?;
        let functions = Functions::start().await?;
        let agent = Agent::builder(functions.url(), functions.mint("client", json!({})).await?)
            .topics([TOPIC])
            .policy_dir(policy.path())
            .start()
            .await?;
        agent.wait_live(PATIENCE).await?;
        let token = functions.mint("datasource", json!({})).await?;
        Ok(Self { functions, agent, token, postgres, client, round: 0 })
    }

    /// From the statement to the decision, and to its answer.
    async fn changes(&mut self, report: &Report, rounds: u64) -> Result<(Times, Times)> {
        let update = self.client.prepare("UPDATE members SET round = $1 WHERE id = 7").await?;
        let (mut changed, mut committed) = (Vec::new(), Vec::new());
        for done in 0..WARM_UP + rounds {
            self.round += 1;
            let number = i64::try_from(self.round)?;
            let began = Instant::now();
            self.client.execute(&update, &[&number]).await?;
            let answered = began.elapsed();
            self.until_decided().await?;
            if done >= WARM_UP {
                committed.push(answered);
                changed.push(began.elapsed());
                report.progress(done - WARM_UP + 1, rounds, "changes");
            }
        }
        Ok((Times::new(changed), Times::new(committed)))
    }

    /// From a publish to the decision.
    async fn by_hand(&mut self, report: &Report, rounds: u64) -> Result<Duration> {
        let mut times = Vec::new();
        for done in 0..WARM_UP + rounds {
            self.round += 1;
            let row = json!({"id": 7, "name": "member 7", "round": self.round});
            let update = json!({"entries": [
                {"url": "", "topics": [TOPIC], "dst_path": "/members/7", "data": row},
            ]});
            let began = Instant::now();
            self.functions.publish_ok(&self.token, &update).await?;
            self.until_decided().await?;
            if done >= WARM_UP {
                times.push(began.elapsed());
                report.progress(done - WARM_UP + 1, rounds, "publishes");
            }
        }
        Ok(Times::new(times).median())
    }

    async fn until_decided(&self) -> Result<()> {
        let (input, round) = (json!({}), json!(self.round));
        self.agent.wait_decision("bench/round", &input, &round, PATIENCE).await
    }
}
