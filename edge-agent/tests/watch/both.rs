use edge_agent::watch::Mode;
use serde_json::{Value, json};
use testbed::Postgres;

use crate::hub::Hub;
use crate::support::{Watcher, plan, rows, server};

/// Runs a test in both modes, each on a database of its own.
async fn both(test: impl AsyncFn(Mode, Postgres)) {
    for mode in [Mode::Replication, Mode::Notify] {
        let Some(server) = server().await else { return };
        println!("{mode:?}");
        test(mode, server).await;
    }
}

#[tokio::test]
async fn rows_that_are_there_and_rows_that_come_change_and_go_are_in_the_document() {
    both(async |mode, server| {
        server.execute("INSERT INTO users VALUES (1, 'al', NULL), (2, 'bo', 'x')").await.unwrap();
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["users"]), &hub);
        let (al, bo) = (
            json!({"id": 1, "name": "al", "role": null}),
            json!({"id": 2, "name": "bo", "role": "x"}),
        );
        hub.becomes(&json!({"users": {"1": al, "2": bo}})).await;
        server.execute("INSERT INTO users VALUES (3, 'cy', '')").await.unwrap();
        let cy = json!({"id": 3, "name": "cy", "role": ""});
        hub.becomes(&json!({"users": {"1": al, "2": bo, "3": cy}})).await;
        server.execute("DELETE FROM users WHERE id = 2").await.unwrap();
        hub.becomes(&json!({"users": {"1": al, "3": cy}})).await;
        let changes = "BEGIN; UPDATE users SET name = 'di' WHERE id = 3; \
         UPDATE users SET id = 4 WHERE id = 1; COMMIT";
        server.execute(changes).await.unwrap();
        let (four, di) = (
            json!({"id": 4, "name": "al", "role": null}),
            json!({"id": 3, "name": "di", "role": ""}),
        );
        hub.becomes(&json!({"users": {"3": di, "4": four}})).await;
        server.execute("TRUNCATE users").await.unwrap();
        hub.becomes(&json!({"users": {}})).await;
        hub.look(|it| assert_eq!(it.updates.len(), 5, "one each"));
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_is_killed_goes_on_where_it_was_and_no_change_is_lost_or_doubled() {
    both(async |mode, server| {
        let hub = Hub::start().await;
        let plan = plan(mode, &["users"]);
        let mut watcher = Watcher::start(&server, &plan, &hub);
        hub.becomes(&json!({"users": {}})).await;
        // 400 transactions while the watcher is killed again and again, each time in the middle.
        let load = async {
            for batch in 0..40 {
                let from = batch * 10;
                let statements: String = (from..from + 10)
                    .map(|id| {
                        format!(
                            "BEGIN; INSERT INTO users VALUES ({id}, 'u{id}', NULL); \
                         UPDATE users SET role = 'r{id}' WHERE id = {id} / 2; \
                         DELETE FROM users WHERE id = {id} - 7 AND id % 5 = 0; COMMIT;"
                        )
                    })
                    .collect();
                server.execute(&statements).await.unwrap();
            }
        };
        let mut loading = std::pin::pin!(load);
        for seen in 1..=6 {
            let reached = hub.wait("more updates", |it| it.updates.len() > seen * 20);
            tokio::select! { () = &mut loading => break, () = reached => {} }
            watcher.kill().await;
            watcher = Watcher::start(&server, &plan, &hub);
        }
        loading.await;
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
        hub.look(|it| {
            // One copy, and one update for each transaction.
            assert_eq!(it.updates.len(), 401, "{} repeated", it.repeated);
        });
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_is_interrupted_is_made_again_and_nothing_between_is_lost() {
    both(async |mode, server| {
        let fill =
            "INSERT INTO users SELECT n, repeat('x', 200), NULL FROM generate_series(1, 20000) n";
        server.execute(fill).await.unwrap();
        let hub = Hub::start().await;
        let plan = plan(mode, &["users"]);
        let watcher = Watcher::start(&server, &plan, &hub);
        hub.wait("a part of the copy", |it| it.updates.len() == 2).await;
        watcher.kill().await;
        hub.look(|it| assert!(it.updates.len() < 5));
        server.execute("UPDATE users SET role = 'late' WHERE id % 1000 = 0").await.unwrap();
        server.execute("DELETE FROM users WHERE id = 1").await.unwrap();
        let _watcher = Watcher::start(&server, &plan, &hub);
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
        // That it follows says the next change.
        server.execute("INSERT INTO users VALUES (0, 'last', NULL)").await.unwrap();
        hub.wait("the last row", |it| it.document["users"]["0"]["name"] == "last").await;
    })
    .await;
}

#[tokio::test]
async fn changes_while_the_tables_are_copied_come_after_the_copy() {
    both(async |mode, server| {
        let fill =
            "INSERT INTO users SELECT n, repeat('x', 200), NULL FROM generate_series(1, 20000) n";
        server.execute(fill).await.unwrap();
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["users"]), &hub);
        hub.wait("the first part", |it| !it.updates.is_empty()).await;
        hub.look(|it| it.is_away = true);
        let change =
            "UPDATE users SET role = 'late' WHERE id % 2 = 0; DELETE FROM users WHERE id < 9";
        server.execute(change).await.unwrap();
        hub.look(|it| it.is_away = false);
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
    })
    .await;
}

#[tokio::test]
async fn a_transaction_of_5000_rows_is_one_update() {
    both(async |mode, server| {
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["users"]), &hub);
        hub.becomes(&json!({"users": {}})).await;
        let fill =
            "INSERT INTO users SELECT n, 'user ' || n, 'member' FROM generate_series(1, 5000) n";
        server.execute(fill).await.unwrap();
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
        hub.look(|it| assert_eq!(it.updates.len(), 2));
    })
    .await;
}

#[tokio::test]
async fn the_hub_and_the_database_may_go_away_and_come_back() {
    both(async |mode, mut server| {
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["users"]), &hub);
        hub.becomes(&json!({"users": {}})).await;
        hub.look(|it| it.is_away = true);
        for id in 0..50 {
            server.execute(&format!("INSERT INTO users VALUES ({id}, 'a', NULL)")).await.unwrap();
        }
        hub.wait("a refusal", |it| it.refused > 0).await;
        server.restart().await.unwrap();
        server.execute("INSERT INTO users VALUES (50, 'b', NULL)").await.unwrap();
        hub.look(|it| it.is_away = false);
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
        server.crash().await.unwrap();
        server.restart().await.unwrap();
        server.execute("DELETE FROM users WHERE id = 50").await.unwrap();
        hub.wait("the end", |it| it.document["users"].get("50").is_none()).await;
        hub.look(|it| assert_eq!(it.updates.len(), 53));
    })
    .await;
}

#[tokio::test]
async fn columns_may_be_added_and_dropped() {
    both(async |mode, server| {
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["users"]), &hub);
        hub.becomes(&json!({"users": {}})).await;
        let change = "INSERT INTO users VALUES (1, 'al', 'x'); \
         ALTER TABLE users ADD age int DEFAULT 7, DROP role; \
         INSERT INTO users VALUES (2, 'bo', 8); UPDATE users SET name = 'cy' WHERE id = 1";
        server.execute(change).await.unwrap();
        let rows = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": rows})).await;
    })
    .await;
}

#[tokio::test]
async fn values_are_what_the_databases_own_json_is() {
    both(async |mode, server| {
        let table = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN age AS int; \
         CREATE TYPE pair AS (a int, b text); \
         CREATE TABLE v (id uuid PRIMARY KEY, b bool, n numeric, f float8, j jsonb, a int[], \
             t timestamptz, d date, m mood, ms mood[], g age, p pair, bin bytea, ip inet)";
        server.execute(table).await.unwrap();
        let row = "'t', 12345678901234567890.10, 0.1, '{\"k\": [1.50]}', '{{1,2},{3,NULL}}', \
         '2024-05-01 12:30:00.5+02', '2024-05-01', 'ok', '{sad,ok}', 7, '(1,\"x y\")', '\\xdead', \
         '10.0.0.1')";
        let insert = |id: u8| {
            format!("INSERT INTO v VALUES ('00000000-0000-0000-0000-00000000000{id}', {row};")
        };
        server.execute(&insert(1)).await.unwrap();
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["v"]), &hub);
        hub.wait("the copy", |it| it.document["v"].is_object()).await;
        server.execute(&insert(2)).await.unwrap();
        let query = "SET timezone = 'UTC'; SELECT jsonb_object_agg(id::text, to_jsonb(v)) FROM v";
        let rows: Value = serde_json::from_str(&server.execute(query).await.unwrap()).unwrap();
        hub.becomes(&json!({"v": rows})).await;
    })
    .await;
}

#[tokio::test]
async fn keys_of_several_columns_and_keys_of_any_text_name_rows() {
    both(async |mode, server| {
    let tables = "CREATE SCHEMA s; \
         CREATE TABLE s.\"Member\" (org text, id int, secret text, PRIMARY KEY (org, id)); \
         CREATE TABLE words (word text NOT NULL, n int); CREATE UNIQUE INDEX by_word ON words (word); \
         INSERT INTO s.\"Member\" VALUES ('a,b', 1, 'hidden'); INSERT INTO words VALUES ('a/b', 1)";
    server.execute(tables).await.unwrap();
    let hub = Hub::start().await;
    let mut plan = plan(mode, &["s.\"Member\"", "words"]);
    plan.tables[0].place = "/orgs/members".to_owned();
    plan.tables[0].columns = Some(vec!["id".to_owned()]);
    plan.tables[1].key = vec!["word".to_owned()];
    let _watcher = Watcher::start(&server, &plan, &hub);
    let members = json!({"members": {"a\\,b,1": {"id": 1}}});
    hub.becomes(&json!({"orgs": members, "words": {"a/b": {"word": "a/b", "n": 1}}})).await;
    let changes = "BEGIN; UPDATE words SET word = ''; INSERT INTO words VALUES ('..', 2), ('~', 3); \
         DELETE FROM s.\"Member\"; INSERT INTO s.\"Member\" VALUES ('a', 2, 'hidden'); COMMIT";
    server.execute(changes).await.unwrap();
    let words = rows(&server, "words", "word").await;
    hub.becomes(&json!({"orgs": {"members": {"a,2": {"id": 2}}}, "words": words})).await;
    hub.look(|it| assert_eq!(it.updates.len(), 3, "one a table, and one transaction"));
    })
    .await;
}

#[tokio::test]
async fn who_asks_for_other_tables_or_columns_gets_them_from_the_beginning() {
    both(async |mode, server| {
        server
            .execute(
                "CREATE TABLE roles (id int PRIMARY KEY); INSERT INTO roles VALUES (1); \
                  INSERT INTO users VALUES (1, 'al', 'x')",
            )
            .await
            .unwrap();
        let hub = Hub::start().await;
        let mut first = plan(mode, &["users"]);
        first.tables[0].columns = Some(vec!["name".to_owned()]);
        let watcher = Watcher::start(&server, &first, &hub);
        hub.becomes(&json!({"users": {"1": {"name": "al"}}})).await;
        server.execute("INSERT INTO users VALUES (2, 'bo', 'y')").await.unwrap();
        hub.wait("it streams", |it| it.document["users"].get("2").is_some()).await;
        watcher.kill().await;
        let watcher = Watcher::start(&server, &plan(mode, &["users", "roles"]), &hub);
        let users = rows(&server, "users", "id").await;
        hub.becomes(&json!({"users": users, "roles": {"1": {"id": 1}}})).await;
        server.execute("DELETE FROM roles").await.unwrap();
        hub.becomes(&json!({"users": users, "roles": {}})).await;
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE NOT temporary";
        let expected = if mode == Mode::Replication { "1" } else { "0" };
        assert_eq!(
            server.execute(slots).await.unwrap(),
            expected,
            "the old one holds nothing back"
        );
        watcher.kill().await;
        // A hub that has lost what it had.
        hub.look(|it| it.document = json!({}));
        let mut again = plan(mode, &["users", "roles"]);
        again.copy = true;
        let _watcher = Watcher::start(&server, &again, &hub);
        hub.becomes(&json!({"users": users, "roles": {}})).await;
    })
    .await;
}

#[tokio::test]
async fn a_table_of_several_parts_is_one_table() {
    both(async |mode, server| {
        let table = "CREATE TABLE parted (id int PRIMARY KEY, name text) PARTITION BY RANGE (id); \
             CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10); \
             CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20); \
             INSERT INTO parted VALUES (1, 'al'), (11, 'bo')";
        server.execute(table).await.unwrap();
        let hub = Hub::start().await;
        let _watcher = Watcher::start(&server, &plan(mode, &["parted"]), &hub);
        let change = "INSERT INTO parted VALUES (2, 'cy'); UPDATE parted SET id = 12 WHERE id = 1; \
             DELETE FROM parted WHERE id = 11";
        hub.wait("the copy", |it| it.document["parted"].get("11").is_some()).await;
        server.execute(change).await.unwrap();
        let rows = rows(&server, "parted", "id").await;
        hub.becomes(&json!({"parted": rows})).await;
        server.execute("TRUNCATE parted").await.unwrap();
        hub.becomes(&json!({"parted": {}})).await;
    })
    .await;
}
