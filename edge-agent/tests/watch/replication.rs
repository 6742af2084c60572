use edge_agent::watch::Mode;
use serde_json::json;
use testbed::{Part, Postgres, require};

use crate::hub::Hub;
use crate::support::{Watcher, plan, rows, server};

const MODE: Mode = Mode::Replication;

#[tokio::test]
async fn a_large_value_that_does_not_change_stays() {
    let Some(server) = server().await else { return };
    let table = "CREATE TABLE docs (id int PRIMARY KEY, body text, n int); \
         ALTER TABLE docs ALTER body SET STORAGE EXTERNAL; \
         INSERT INTO docs VALUES (1, repeat('long ', 3000), 1)";
    server.execute(table).await.unwrap();
    let hub = Hub::start().await;
    let _watcher = Watcher::start(&server, &plan(MODE, &["docs"]), &hub);
    hub.wait("the copy", |it| it.document["docs"]["1"]["n"] == 1).await;
    for (identity, n) in [("DEFAULT", 2), ("FULL", 3)] {
        let change = format!(
            "ALTER TABLE docs REPLICA IDENTITY {identity}; UPDATE docs SET n = {n} WHERE id = 1"
        );
        server.execute(&change).await.unwrap();
        hub.wait(identity, |it| it.document["docs"]["1"]["n"] == n).await;
        let body = hub.look(|it| it.document["docs"]["1"]["body"].clone());
        assert_eq!(body, json!("long ".repeat(3000)), "{identity}");
    }
    server.execute("UPDATE docs SET id = 2").await.unwrap();
    let rows = rows(&server, "docs", "id").await;
    hub.becomes(&json!({"docs": rows})).await;
}

#[tokio::test]
async fn the_database_may_forget_what_the_hub_has() {
    let Some(server) = server().await else { return };
    server.execute("CREATE TABLE other (n int)").await.unwrap();
    let hub = Hub::start().await;
    let _watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    server.execute("INSERT INTO users VALUES (1, 'al', NULL)").await.unwrap();
    hub.wait("the row", |it| it.document["users"].get("1").is_some()).await;
    // Also what changes in tables that are not watched.
    let wait = "INSERT INTO other SELECT generate_series(1, 1000); \
         CREATE TEMP TABLE target AS SELECT pg_current_wal_lsn() AS lsn; \
         DO $$ BEGIN FOR i IN 1..1500 LOOP \
           IF (SELECT bool_and(confirmed_flush_lsn >= (SELECT lsn FROM target)) \
               FROM pg_replication_slots) THEN RETURN; END IF; \
           PERFORM pg_sleep(0.01); END LOOP; RAISE EXCEPTION 'never'; END $$";
    server.execute(wait).await.unwrap();
}

#[tokio::test]
async fn a_database_that_has_lost_changes_is_copied_again() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::builder().option("max_slot_wal_keep_size", "1MB").start().await.unwrap();
    server.execute("CREATE TABLE users (id int PRIMARY KEY)").await.unwrap();
    let hub = Hub::start().await;
    let watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    server.execute("INSERT INTO users VALUES (1)").await.unwrap();
    hub.becomes(&json!({"users": {"1": {"id": 1}}})).await;
    watcher.kill().await;
    let mut lose = "INSERT INTO users VALUES (2); ".to_owned();
    for n in 3..7 {
        lose += &format!("INSERT INTO users VALUES ({n}); SELECT pg_switch_wal(); CHECKPOINT; ");
    }
    server.execute(&lose).await.unwrap();
    let status = server.execute("SELECT wal_status FROM pg_replication_slots").await.unwrap();
    assert_eq!(status, "lost");
    let _watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    let rows = rows(&server, "users", "id").await;
    hub.becomes(&json!({"users": rows})).await;
    server.execute("DELETE FROM users").await.unwrap();
    hub.becomes(&json!({"users": {}})).await;
}

#[tokio::test]
async fn another_watcher_of_the_same_name_is_not_robbed_of_its_slot() {
    let Some(server) = server().await else { return };
    server.execute("CREATE TABLE roles (id int PRIMARY KEY)").await.unwrap();
    let hub = Hub::start().await;
    let _first = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    server.execute("INSERT INTO users VALUES (1, 'al', NULL)").await.unwrap();
    hub.wait("it follows", |it| it.document["users"].get("1").is_some()).await;
    let _second = Watcher::start(&server, &plan(MODE, &["roles"]), &hub);
    for id in 2..40 {
        let insert = format!("INSERT INTO users VALUES ({id}, 'al', NULL)");
        server.execute(&insert).await.unwrap();
    }
    hub.wait("it still does", |it| it.document["users"].get("39").is_some()).await;
    hub.look(|it| assert!(it.document.get("roles").is_none()));
}
