use edge_agent::watch::{self, Mode};
use testbed::{Authority, Postgres};

use crate::hub::Hub;
use crate::support::{Watcher, database, plan, publisher, refusal, server};

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do_about_it() {
    let Some(server) = server().await else { return };
    let tables = "CREATE TABLE nokey (a int, b int NOT NULL); CREATE VIEW seen AS SELECT 1 AS id; \
         CREATE TABLE other (a int PRIMARY KEY, b int NOT NULL UNIQUE)";
    server.execute(tables).await.unwrap();
    let hub = Hub::start().await;
    let mut wrong = plan(Mode::Replication, &["users"]);
    wrong.install = false;
    let with = |table: &str, key: &[&str], columns: Option<&str>| {
        let mut plan = wrong.clone();
        plan.tables[0].name = table.to_owned();
        plan.tables[0].key = key.iter().map(ToString::to_string).collect();
        plan.tables[0].columns = columns.map(|column| vec![column.to_owned()]);
        plan
    };
    for (plan, message, hint) in [
        (with("users", &[], None), "there is no publication girasol", "CREATE PUBLICATION"),
        (with("missing", &[], None), "there is no table missing", "with its schema"),
        (with("seen", &[], None), "there is no table seen", "with its schema"),
        (with("nokey", &[], None), "nokey has no primary key", "--key nokey=COLUMN"),
        (with("nokey", &["a"], None), "nokey.a may be null", "SET NOT NULL"),
        (with("nokey", &["b"], None), "could have the same b", "CREATE UNIQUE INDEX"),
        (with("nokey", &["c"], None), "nokey has no column c", "--key"),
        (with("users", &[], Some("c")), "users has no column c", "--columns"),
        (with("other", &["b"], None), "come without the row's key", "REPLICA IDENTITY USING INDEX"),
    ] {
        let error = refusal(&server, &plan, &hub).await;
        assert!(error.to_string().contains(message), "{error:?}");
        assert!(error.advice().is_some_and(|advice| advice.contains(hint)), "{error:?}");
    }
    let answer = server.execute("SELECT count(*) FROM pg_publication, pg_replication_slots").await;
    assert_eq!(answer.unwrap(), "0", "nothing was made");
}

#[tokio::test]
async fn a_log_that_says_too_little_and_a_user_who_may_not_are_told_so() {
    if !testbed::require(&[testbed::Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::builder().option("wal_level", "replica").start().await.unwrap();
    server.execute("CREATE TABLE users (id int PRIMARY KEY)").await.unwrap();
    let hub = Hub::start().await;
    let error = refusal(&server, &plan(Mode::Replication, &["users"]), &hub).await;
    assert_eq!(error.to_string(), "wal_level is replica, and not logical");
    assert!(error.advice().unwrap().contains("ALTER SYSTEM SET wal_level = logical"));

    server.execute("CREATE ROLE lesser LOGIN PASSWORD 'lesser'").await.unwrap();
    let url = server.url().replace("helloopal@", "lesser:lesser@");
    let lesser = watch::Database::new(&url, None).unwrap();
    let plan = plan(Mode::Notify, &["users"]);
    let error = watch::watch(&lesser, &plan, &publisher(&hub)).await.unwrap_err();
    assert!(error.advice().unwrap().starts_with("grant the user what is missing"), "{error:?}");
    let wrong = watch::Database::new(&server.url(), Some("wr0ng".to_owned())).unwrap();
    let error = watch::watch(&wrong, &plan, &publisher(&hub)).await.unwrap_err();
    assert!(error.to_string().contains("password authentication failed"), "{error:?}");
    assert!(error.advice().unwrap().contains("PGPASSWORD"), "{error:?}");
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
}

#[tokio::test]
async fn what_was_installed_can_be_taken_away() {
    let Some(server) = server().await else { return };
    let hub = Hub::start().await;
    let plan = plan(Mode::Replication, &["users"]);
    let watcher = Watcher::start(&server, &plan, &hub);
    hub.wait("the copy", |it| !it.updates.is_empty()).await;
    server.execute("INSERT INTO users VALUES (1, 'al', NULL)").await.unwrap();
    hub.wait("the row", |it| it.document["users"].get("1").is_some()).await;
    let error = watch::uninstall(&database(&server), &plan).await.unwrap_err();
    assert!(error.to_string().contains("is active for PID"), "{error:?}");
    assert_eq!(error.advice(), Some("end the watcher first"));
    watcher.kill().await;
    // The server notices in its own time that the watcher is gone.
    while let Err(error) = watch::uninstall(&database(&server), &plan).await {
        assert!(error.to_string().contains("is active for PID"), "{error:?}");
    }
    let left = "SELECT (SELECT count(*) FROM pg_publication), \
         (SELECT count(*) FROM pg_replication_slots)";
    assert_eq!(server.execute(left).await.unwrap(), "0|0");
}

#[tokio::test]
async fn a_connection_is_encrypted_if_the_address_says_so_and_the_server_known_if_it_must_be() {
    if !testbed::require(&[testbed::Part::Postgres]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let server = Postgres::builder().tls(&authority).start().await.unwrap();
    server.execute("CREATE TABLE users (id int PRIMARY KEY)").await.unwrap();
    let hub = Hub::start().await;
    let at = |mode: &str| {
        let url = format!("{}?sslmode={mode}", server.url_with_password());
        watch::Database::new(&url, None).unwrap()
    };
    let plan = plan(Mode::Replication, &["users"]);
    let unknown = watch::watch(&at("verify-full"), &plan, &publisher(&hub)).await.unwrap_err();
    assert!(unknown.advice().is_some_and(|it| it.contains("SSL_CERT_FILE")), "{unknown:?}");
    let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE backend_type = \
         'walsender') FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'girasol-watch'";
    for (mode, encrypted, row) in [("require", "2|1", 1), ("disable", "0|1", 2)] {
        let watcher = Watcher::of(at(mode), &plan, &hub);
        hub.wait("the copy", |it| it.document.get("users").is_some()).await;
        server.execute(&format!("INSERT INTO users VALUES ({row})")).await.unwrap();
        hub.wait("the row", |it| it.document["users"].get(row.to_string()).is_some()).await;
        assert_eq!(server.execute(count).await.unwrap(), encrypted, "{mode}");
        watcher.kill().await;
    }
}
