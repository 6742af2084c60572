use edge_agent::watch::{self, Mode};
use serde_json::json;
use testbed::Postgres;

use crate::hub::Hub;
use crate::support::{Watcher, database, plan, refusal, rows, server};

const MODE: Mode = Mode::Notify;

async fn until_the_outbox_is_empty(server: &Postgres) {
    let wait = "DO $$ BEGIN FOR i IN 1..1500 LOOP \
           IF NOT EXISTS (SELECT FROM girasol.changes) THEN RETURN; END IF; \
           PERFORM pg_sleep(0.01); END LOOP; RAISE EXCEPTION 'never'; END $$";
    server.execute(wait).await.unwrap();
}

#[tokio::test]
async fn transactions_that_overlap_leave_the_row_of_the_last_one() {
    let Some(server) = server().await else { return };
    server.execute("INSERT INTO users VALUES (1, 'al', '0')").await.unwrap();
    let hub = Hub::start().await;
    let watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.wait("the copy", |it| it.document["users"].get("1").is_some()).await;
    server.execute("INSERT INTO users VALUES (3, 'cy', '')").await.unwrap();
    hub.wait("it follows", |it| it.document["users"].get("3").is_some()).await;
    watcher.kill().await;
    // The one that begins first and has the lower number changes the row last.
    let until = |is_so: &str| {
        format!("DO $$ BEGIN WHILE NOT ({is_so}) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$; ")
    };
    let second_is_done = until("SELECT role = 'earlier' FROM users WHERE id = 1");
    let first_has_begun = until("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'");
    let first = format!(
        "BEGIN; INSERT INTO users VALUES (2, 'first', ''); SELECT pg_advisory_lock(7); \
         {second_is_done} UPDATE users SET role = 'last' WHERE id = 1; COMMIT"
    );
    let second = format!("{first_has_begun} UPDATE users SET role = 'earlier' WHERE id = 1");
    let (first, second) = tokio::join!(server.execute(&first), server.execute(&second));
    first.unwrap();
    second.unwrap();
    let _watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.wait("both", |it| it.updates.len() == 4).await;
    let rows = rows(&server, "users", "id").await;
    assert_eq!(rows["1"]["role"], "last");
    hub.becomes(&json!({"users": rows})).await;
}

#[tokio::test]
async fn what_the_hub_has_is_no_longer_in_the_outbox() {
    let Some(server) = server().await else { return };
    let hub = Hub::start().await;
    let _watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    server.execute("INSERT INTO users VALUES (1, 'al', NULL)").await.unwrap();
    hub.wait("the row", |it| it.document["users"].get("1").is_some()).await;
    until_the_outbox_is_empty(&server).await;
}

#[tokio::test]
async fn who_may_only_write_the_table_needs_no_right_on_the_outbox() {
    let Some(server) = server().await else { return };
    let hub = Hub::start().await;
    let _watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    let change = "CREATE ROLE writer; GRANT INSERT ON users TO writer; SET ROLE writer; \
         SET timezone = 'Asia/Tokyo'; INSERT INTO users VALUES (1, 'al', NULL)";
    server.execute(change).await.unwrap();
    hub.wait("the row", |it| it.document["users"].get("1").is_some()).await;
}

#[tokio::test]
async fn a_second_watcher_of_the_same_name_waits_for_the_first() {
    let Some(server) = server().await else { return };
    let hub = Hub::start().await;
    let first = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    let _second = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    for id in 0..50 {
        let insert = format!("INSERT INTO users VALUES ({id}, 'al', NULL)");
        server.execute(&insert).await.unwrap();
    }
    hub.wait("the rows", |it| it.updates.len() == 51).await;
    until_the_outbox_is_empty(&server).await;
    hub.look(|it| assert_eq!(it.repeated, 0));
    first.kill().await;
    server.execute("INSERT INTO users VALUES (50, 'bo', NULL)").await.unwrap();
    hub.wait("the row", |it| it.document["users"].get("50").is_some()).await;
    hub.look(|it| assert_eq!((it.updates.len(), it.repeated), (52, 0)));
}

#[tokio::test]
async fn triggers_that_are_missing_or_others_are_said_and_all_can_be_taken_away() {
    let Some(server) = server().await else { return };
    let hub = Hub::start().await;
    let mut without = plan(MODE, &["users"]);
    without.install = false;
    let error = refusal(&server, &without, &hub).await;
    assert_eq!(error.to_string(), "there is no outbox, girasol.changes");
    let watcher = Watcher::start(&server, &plan(MODE, &["users"]), &hub);
    hub.becomes(&json!({"users": {}})).await;
    watcher.kill().await;
    server.execute("ALTER TABLE users ALTER name SET NOT NULL, ADD UNIQUE (name)").await.unwrap();
    without.tables[0].key = vec!["name".to_owned()];
    let error = refusal(&server, &without, &hub).await;
    let expected = "public.users has no triggers girasol_girasol for this key";
    assert_eq!(error.to_string(), expected);
    assert!(error.advice().unwrap().contains("--install"));
    watch::uninstall(&database(&server), &without).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal), \
         (SELECT count(*) FROM pg_namespace WHERE nspname = 'girasol')";
    assert_eq!(server.execute(left).await.unwrap(), "0|0");
    watch::uninstall(&database(&server), &without).await.unwrap();
}
