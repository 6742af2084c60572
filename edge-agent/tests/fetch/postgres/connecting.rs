//! Which server is asked, and over which connection.

use std::time::Duration;

use edge_agent::fetch::{Fetchers, Source};
use serde_json::json;
use testbed::{Authority, Part, Postgres, require};

use super::{OURS, config, means, source};
use crate::support::{fetch, fetch_with, trusting};

#[tokio::test]
async fn sslmode_says_whether_and_whom_to_trust() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let stranger = Authority::new().unwrap();
    let server = Postgres::builder().tls(&authority).start().await.unwrap();
    let mut config = config(&server, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    config["fetch_one"] = json!(true);
    for (mode, trusted, expected) in [
        ("disable", &authority, Ok(false)),
        ("prefer", &stranger, Ok(true)),
        ("require", &authority, Ok(true)),
        ("require", &stranger, Err("certificate")),
        ("verify-ca", &authority, Ok(true)),
        ("verify-full", &authority, Ok(true)),
        ("verify-full", &stranger, Err("certificate")),
    ] {
        let url = format!("{}?sslmode={mode}", server.url());
        match (fetch_with(&trusting(trusted), &url, &config).await, expected) {
            (Ok(data), Ok(ssl)) => assert_eq!(data, json!({"ssl": ssl}), "{mode}"),
            (Err(error), Err(words)) => {
                assert!(error.to_string().contains(words), "{mode}: {error}");
                assert!(!error.is_permanent(), "{mode}: a certificate can be corrected");
            }
            (got, expected) => panic!("{mode}: {got:?} instead of {expected:?}"),
        }
    }
    // The certificate is for `localhost` and 127.0.0.1 only.
    let url = server.url().replace("127.0.0.1", "[::ffff:127.0.0.1]") + "?sslmode=verify-full";
    let error = fetch_with(&trusting(&authority), &url, &config).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");

    let plain = Postgres::start().await.unwrap();
    let url = format!("{}?sslmode=verify-full", plain.url());
    let error = fetch_with(&trusting(&authority), &url, &config).await.unwrap_err();
    assert!(error.to_string().contains("server does not support TLS"), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_or_is_away_is_worth_another_try() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let mut server = Postgres::start().await.unwrap();
    let mut wrong = config(&server, "SELECT 1 AS one");
    wrong["connection_params"]["password"] = json!("hidden");
    let error = fetch(&server.url(), &wrong).await.unwrap_err();
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(!error.is_permanent() && !error.to_string().contains("hidden"), "{error}");

    let fetchers = Fetchers::standard(&means(Duration::from_secs(10)));
    let source = source(&server, "SELECT 1 AS one");
    fetchers.fetch(&source).await.unwrap();
    server.stop().await.unwrap();
    let error = fetchers.fetch(&source).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect: Connection refused"), "{error}");
    assert!(!error.is_permanent());
    server.restart().await.unwrap();
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), r#"[{"one":1}]"#);
    // The connection that is kept is dead now, and that is nobody's concern.
    server.crash().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), r#"[{"one":1}]"#);
}

#[tokio::test]
async fn of_several_hosts_the_first_that_answers_is_asked() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let nobody = testbed::free_port().unwrap();
    let url =
        format!("postgresql://helloopal@127.0.0.1:{nobody},localhost:{}/helloopal", server.port());
    let config = config(&server, "SELECT 1 AS one");
    assert_eq!(fetch(&url, &config).await, Ok(json!([{"one": 1}])));
}

#[tokio::test]
async fn an_address_that_is_never_fetched_from_is_not_connected_to() {
    for url in [
        "postgresql://u@169.254.169.254/d",
        "postgresql://u@2852039166:5432/d",
        "postgresql://u@[fd00:ec2::254]/d",
    ] {
        let config = json!({"fetcher": "PostgresFetchProvider", "query": "SELECT 1"});
        let error = fetch(url, &config).await.unwrap_err();
        assert!(error.is_permanent(), "{url}: {error}");
        assert!(error.to_string().contains("metadata"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_keeps_nothing_of_the_query_before() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let fetchers = Fetchers::standard(&means(Duration::from_secs(10)));
    let mut pids = Vec::new();
    for query in [
        "SELECT pg_backend_pid()",
        "SELECT set_config('search_path', 'nowhere', false), set_config('TimeZone', 'Asia/Tokyo', false)",
        "SELECT pg_advisory_lock(7)",
        "SELECT 1 / 0",
        "SELECT pg_backend_pid()",
    ] {
        let answer = fetchers.fetch(&source(&server, query)).await;
        if query.contains("pid") {
            pids.push(answer.unwrap().get().to_owned());
        }
    }
    assert_eq!(pids[0], pids[1]);
    let seen = "SELECT current_setting('search_path') AS path, count(l.*) AS locks
                FROM (SELECT 1) one LEFT JOIN pg_locks l ON locktype = 'advisory'";
    let seen = fetchers.fetch(&source(&server, seen)).await.unwrap();
    assert_eq!(seen.get(), r#"[{"path":"\"$user\", public","locks":0}]"#);
    let ours = format!("SELECT count(*) FROM pg_stat_activity WHERE {OURS}");
    assert_eq!(server.execute(&ours).await.unwrap(), "1");

    // Somebody else's password is not let in by a connection that is there.
    let mut other = config(&server, "SELECT 1 AS one");
    other["connection_params"]["password"] = json!("another");
    let config = Some(serde_json::value::to_raw_value(&other).unwrap());
    let error = fetchers.fetch(&Source { url: server.url(), config }).await.unwrap_err();
    assert!(error.to_string().contains("authentication failed"), "{error}");
}
