//! What changes in a real PostgreSQL, in the agents' decisions.

use serde_json::{Value, json};
use testbed::{Agent, Functions, Part, Postgres, Watcher, WatcherBuilder};

use crate::commands::assert_refused;
use crate::support::{SOON, agent, can_run, data, functions, inline};

const MODES: [&str; 2] = ["replication", "notify"];

/// Everything between a database and a decision.
struct Rig {
    postgres: Postgres,
    functions: Functions,
    agent: Agent,
    token: String,
}

impl Rig {
    /// A database with an empty table `users`, functions, and an agent with the topic.
    async fn start() -> Self {
        let postgres = Postgres::start().await.unwrap();
        let table = "CREATE TABLE users (id int PRIMARY KEY, name text, role text)";
        postgres.execute(table).await.unwrap();
        let (functions, token) = functions().await;
        let agent = agent(&functions, &["users"]).await.start().await.unwrap();
        agent.wait_live(SOON).await.unwrap();
        Self { postgres, functions, agent, token }
    }

    fn watcher(&self, mode: &str) -> WatcherBuilder {
        let watcher = Watcher::builder(&self.postgres, self.functions.url(), &self.token);
        watcher.table("users").arg("--mode").arg(mode).arg("--topics").arg("users")
    }

    async fn execute(&self, sql: &str) {
        self.postgres.execute(sql).await.unwrap();
    }

    /// Waits until the agent decides on what the table holds.
    async fn settle(&self) {
        let rows = "SELECT coalesce(jsonb_object_agg(id::text, to_jsonb(users)), '{}') FROM users";
        let rows = self.postgres.execute(rows).await.unwrap();
        let rows: Value = serde_json::from_str(&rows).unwrap();
        self.agent.wait_decision("users", &json!({}), &rows, SOON).await.unwrap();
    }

    /// How many updates the hub has numbered so far.
    async fn updates(&self) -> u64 {
        let marker = inline("marker", "/marker", &json!({}));
        self.functions.publish_ok(&self.token, &marker).await.unwrap() - 1
    }
}

#[tokio::test]
async fn what_changes_in_a_table_changes_decisions() {
    if !can_run(&[Part::Postgres]) {
        return;
    }
    for mode in MODES {
        let rig = Rig::start().await;
        rig.execute("INSERT INTO users VALUES (1, 'al', 'x'), (2, 'bo', NULL)").await;
        let mut watcher = rig.watcher(mode).start().await.unwrap();
        rig.settle().await;
        for change in [
            "INSERT INTO users VALUES (3, 'cy', 'y')",
            "UPDATE users SET name = 'di' WHERE id = 2",
            "UPDATE users SET id = 7 WHERE id = 1",
            "DELETE FROM users WHERE id = 3",
            "BEGIN; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES (3, 'ed', ''); COMMIT",
            "INSERT INTO users SELECT n, 'user ' || n, 'member' FROM generate_series(10, 5009) n",
            "TRUNCATE users",
        ] {
            rig.execute(change).await;
            rig.settle().await;
        }
        assert_eq!(rig.updates().await, 8, "{mode}: the copy, and one for each transaction");
        let ended = watcher.terminate().await.unwrap();
        assert!(ended.is_some_and(|status| status.success()), "{mode}: {ended:?}");
        let (status, health) = rig.agent.healthz().await.unwrap();
        assert_eq!(status, 200, "{mode}: {health}");
    }
}

#[tokio::test]
async fn a_watcher_that_is_killed_under_load_loses_nothing_and_doubles_nothing() {
    if !can_run(&[Part::Postgres]) {
        return;
    }
    for mode in MODES {
        let rig = Rig::start().await;
        let mut watcher = rig.watcher(mode).start().await.unwrap();
        for block in 0..6 {
            let from = block * 40;
            let transactions: String = (from..from + 40)
                .map(|id| {
                    format!(
                        "BEGIN; INSERT INTO users VALUES ({id}, 'u{id}', NULL); \
                         UPDATE users SET role = 'r{id}' WHERE id = {id} / 2; \
                         DELETE FROM users WHERE id = {id} - 7 AND id % 5 = 0; COMMIT;"
                    )
                })
                .collect();
            let load = rig.execute(&transactions);
            if block % 2 == 0 {
                load.await;
                // In the middle of them.
                watcher.crash().await.unwrap();
            } else {
                let (crash, ()) = tokio::join!(watcher.crash(), load);
                crash.unwrap();
            }
        }
        rig.settle().await;
        assert_eq!(rig.updates().await, 241, "{mode}: the copy, and one for each transaction");
    }
}

#[tokio::test]
async fn the_functions_and_the_database_may_go_away_and_come_back() {
    if !can_run(&[Part::Postgres]) {
        return;
    }
    for mode in MODES {
        let mut rig = Rig::start().await;
        let _watcher = rig.watcher(mode).start().await.unwrap();
        rig.execute("INSERT INTO users VALUES (1, 'al', 'x')").await;
        rig.settle().await;
        rig.functions.stop().await.unwrap();
        rig.execute("INSERT INTO users VALUES (2, 'bo', 'y')").await;
        rig.postgres.restart().await.unwrap();
        rig.execute("DELETE FROM users WHERE id = 1").await;
        rig.functions.restart().await.unwrap();
        rig.settle().await;
        rig.postgres.crash().await.unwrap();
        rig.postgres.restart().await.unwrap();
        rig.execute("UPDATE users SET name = 'cy'").await;
        rig.settle().await;
        assert_eq!(rig.updates().await, 5, "{mode}");
    }
}

#[tokio::test]
async fn a_scope_has_a_watcher_of_its_own_and_a_token_that_may_not_is_told_so() {
    if !can_run(&[Part::Postgres]) {
        return;
    }
    let rig = Rig::start().await;
    rig.execute("INSERT INTO users VALUES (1, 'al', 'x')").await;
    let scope = json!({"scope_id": "acme"});
    let made =
        rig.functions.request(reqwest::Method::PUT, "/scopes", Some(&rig.token), Some(&scope));
    assert_eq!(made.await.unwrap().status, 201);
    let claims = json!({"claims": {"allowed_scopes": ["acme"]}});
    let client = rig.functions.mint("client", claims).await.unwrap();
    let agent = Agent::builder(rig.functions.url(), client).topics(["users"]);
    let agent = agent.arg("--scope").arg("acme").start().await.unwrap();
    let _watcher = rig.watcher("replication").arg("--scope").arg("acme").start().await.unwrap();
    let al = json!({"1": {"id": 1, "name": "al", "role": "x"}});
    agent.wait_decision("users", &json!({}), &al, SOON).await.unwrap();
    assert_eq!(data(&rig.agent, "users").await, Value::Null, "it is nobody else's");

    let client = rig.functions.mint("client", json!({})).await.unwrap();
    let watcher = Watcher::builder(&rig.postgres, rig.functions.url(), client).table("users");
    let refused = watcher.arg("--slot").arg("other").start().await.unwrap_err().to_string();
    assert!(refused.contains("exit status: 1") && refused.contains("answered 401"), "{refused}");
    assert!(refused.contains("hint: is the token of type datasource"), "{refused}");
    assert!(!refused.contains(rig.postgres.password()), "{refused}");
}

#[test]
fn mistakes_at_the_command_line_are_told_with_what_to_give() {
    if !can_run(&[]) {
        return;
    }
    let postgres = |args: &[&'static str]| [&["watch", "postgres"], args].concat();
    for (args, words) in [
        (postgres(&[]), &["--table <TABLE>"][..]),
        (postgres(&["--table", "users"]), &["give --source-url", "GIRASOL_SOURCE_URL"]),
        (
            postgres(&["--table", "users", "--source-url", "mysql://me:secret@h"]),
            &["--source-url: give an address such as postgresql://"],
        ),
        (
            postgres(&["--table", "users", "--source-url", "postgresql://me@h/d"]),
            &["no token: give it as --token", "obtain-token"],
        ),
        (postgres(&["--table", "users", "--mode", "magic"]), &["replication, notify"]),
        (postgres(&["--table", "users", "--dst-path", "/"]), &["give a place of its own"]),
    ] {
        assert_refused(&args, words);
    }
}
