//! Queries that fail, bring too much, or never end.

use std::time::Duration;

use edge_agent::fetch::{Fetcher as _, Fetchers, PostgresFetcher};
use testbed::{Part, Postgres, require};

use super::{ask, config, means, source, wait_until};
use crate::support::fetch_with;

#[tokio::test]
async fn a_query_that_fails_says_why_and_changes_nothing() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    server
        .execute(
            "CREATE TABLE t (id int); INSERT INTO t VALUES (1);
             CREATE FUNCTION grow() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (2) RETURNING id'",
        )
        .await
        .unwrap();
    for (query, words, permanent) in [
        (
            "SELEC 1",
            "syntax error at or near \"SELEC\" (SQLSTATE 42601, at character 1 of the query)",
            true,
        ),
        ("SELECT 1; SELECT 2", "multiple commands", true),
        ("COMMIT; DROP TABLE t", "multiple commands", true),
        ("SELECT * FROM nothing", "relation \"nothing\" does not exist", false),
        ("SELECT nothing FROM t", "column \"nothing\" does not exist", false),
        ("SELECT 1 / (id - 1) FROM t", "division by zero", false),
        ("SELECT $1", "parameter", true),
        ("INSERT INTO t VALUES (2)", "it gives no rows", true),
        ("COMMIT", "it gives no rows", true),
        ("DO 'BEGIN END'", "it gives no rows", true),
        ("", "config.query: give the query", true),
        ("-- nothing", "it gives no rows", true),
        ("UPDATE t SET id = 3 RETURNING id", "read-only transaction", true),
        ("SELECT grow()", "read-only transaction", true),
        ("SELECT set_config('transaction_read_only', 'off', true), grow()", "read-write", false),
    ] {
        let error = ask(&server, query).await.unwrap_err();
        assert!(error.to_string().contains(words), "{query}: {error}");
        assert_eq!(error.is_permanent(), permanent, "{query}: {error}");
    }
    assert_eq!(server.execute("SELECT * FROM t").await.unwrap(), "1");
}

#[tokio::test]
async fn more_than_the_limit_stops_early_and_cancels_the_query() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let mut means = means(Duration::from_secs(60));
    means.max_bytes = 100_000;
    // Longer than any test would wait for.
    let query = "SELECT generate_series(1, 10000000000) AS n, 'some text of a row' AS text";
    let error = fetch_with(&means, &server.url(), &config(&server, query)).await.unwrap_err();
    assert!(error.is_permanent(), "{error}");
    assert!(error.to_string().contains("more than 100000 bytes of JSON (row 2"), "{error}");
    wait_until(&server, "count(*) = 0").await;
}

#[tokio::test]
async fn a_fetch_that_is_given_up_cancels_its_query() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let hanging = source(&server, "SELECT pg_sleep(3600)");
    let fetchers = Fetchers::standard(&means(Duration::from_secs(600)));
    let fetch = tokio::spawn(async move { fetchers.fetch(&hanging).await });
    wait_until(&server, "bool_or(wait_event = 'PgSleep')").await;
    fetch.abort();
    wait_until(&server, "count(*) = 0").await;
}

#[tokio::test]
async fn a_query_that_hangs_is_ended_by_the_server_too() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    // Nobody gives this fetch up.
    let fetcher = PostgresFetcher::new(means(Duration::from_millis(300)));
    let source = source(&server, "SELECT pg_sleep(3600)");
    let fetch = tokio::time::timeout(Duration::from_secs(60), fetcher.fetch(&source));
    let error = fetch.await.expect("the server does not end it").unwrap_err();
    assert!(error.to_string().contains("took longer than a fetch may"), "{error}");
    assert!(!error.is_permanent());
}
