//! PostgreSQL, on the real server.

use std::time::Duration;

use edge_agent::fetch::{FetchError, Fetcher as _, Fetchers, Means, PostgresFetcher, Source};
use serde_json::{Value, json, value::RawValue};
use testbed::{Authority, Part, Postgres, require};

use crate::support::{fetch, fetch_with, trusting};

/// What the fetcher's sessions are in the server's list.
const OURS: &str = "application_name = 'girasol'";

/// The settings for a query, with the server's password.
fn config(server: &Postgres, query: &str) -> Value {
    json!({
        "fetcher": "PostgresFetchProvider",
        "query": query,
        "connection_params": {"password": server.password()},
    })
}

fn source(server: &Postgres, query: &str) -> Source {
    let config = serde_json::value::to_raw_value(&config(server, query)).unwrap();
    Source { url: server.url(), config: Some(config) }
}

async fn ask(server: &Postgres, query: &str) -> Result<Value, FetchError> {
    fetch(&server.url(), &config(server, query)).await
}

fn means(timeout: Duration) -> Means {
    Means::standard(timeout).unwrap()
}

/// Waits, at the server, until what it says of our sessions is so.
async fn wait_until(server: &Postgres, is_so: &str) {
    let waiting = format!(
        "DO $$ BEGIN FOR i IN 1..1000 LOOP
           PERFORM pg_stat_clear_snapshot();
           IF (SELECT {is_so} FROM pg_stat_activity WHERE {OURS}) THEN RETURN; END IF;
           PERFORM pg_sleep(0.01);
         END LOOP; RAISE EXCEPTION 'never'; END $$"
    );
    server.execute(&waiting).await.unwrap();
}

#[tokio::test]
async fn the_example_of_opals_documentation_works_as_it_is_written() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    server
        .execute(
            "CREATE TABLE mapping (id int, name text);
             INSERT INTO mapping VALUES (1, 'alice'), (2, NULL)",
        )
        .await
        .unwrap();
    let config = r#"{"fetcher":"PostgresFetchProvider","query":"SELECT * from mapping;","connection_params":{"password":"…"}}"#;
    let config = config.replace('…', server.password());
    let url = "postgresql://helloopal@127.0.0.1:5432/helloopal"
        .replace("5432", &server.port().to_string());
    let source = Source { url, config: Some(RawValue::from_string(config).unwrap()) };
    let fetchers = Fetchers::standard(&means(Duration::from_secs(10)));
    let data = fetchers.fetch(&source).await.unwrap();
    assert_eq!(data.get(), r#"[{"id":1,"name":"alice"},{"id":2,"name":null}]"#);
}

#[tokio::test]
async fn rows_become_a_list_one_object_or_an_object_by_key() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let query = "SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (2, 'c')) t (id, name)";
    let none = "SELECT 1 AS id, 'a' AS name WHERE false";
    for (setting, query, expected) in [
        (
            json!({}),
            query,
            json!([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 2, "name": "c"}]),
        ),
        (json!({"fetch_one": true}), query, json!({"id": 1, "name": "a"})),
        (
            json!({"dict_key": "id"}),
            query,
            json!({"1": {"id": 1, "name": "a"}, "2": {"id": 2, "name": "c"}}),
        ),
        (
            json!({"fetch_key": "name"}),
            "SELECT 1 AS id, 'a' AS name",
            json!({"a": {"id": 1, "name": "a"}}),
        ),
        (json!({"fetch_one": true, "fetch_key": "id"}), query, json!({"id": 1, "name": "a"})),
        (json!({"fetch_one": false, "fetch_key": null}), none, json!([])),
        (json!({"dict_key": "id"}), none, json!({})),
        // Far more rows than are worth reading to the end.
        (json!({"fetch_one": true}), "SELECT generate_series(1, 100000000) AS n", json!({"n": 1})),
    ] {
        let mut config = config(&server, query);
        config.as_object_mut().unwrap().extend(setting.as_object().unwrap().clone());
        assert_eq!(fetch(&server.url(), &config).await, Ok(expected), "{setting} {query}");
    }
    let mut config = config(&server, none);
    config["fetch_one"] = json!(true);
    let error = fetch(&server.url(), &config).await.unwrap_err();
    assert!(error.to_string().starts_with("Fetched data is empty"), "{error}");
    config["fetch_one"] = json!(false);
    config["dict_key"] = json!("uid");
    let error = fetch(&server.url(), &config).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("no column `uid`"), "{error}");
}

/// One value of each type that could be read wrongly, in the notation of SQL.
const VALUES: &[&str] = &[
    "32767::int2",
    "(-2147483648)::int4",
    "9223372036854775807::int8",
    "123456789012345678901234567890.123456789012345678901234567890::numeric",
    "1.10::numeric(10, 2)",
    "'NaN'::numeric",
    "0.1::float4",
    "0.30000000000000004::float8",
    "1e300::float8",
    "'-Infinity'::float8",
    "true",
    "NULL::text",
    "E'quotes \" and \\\\ and\\nlines, ☃ \\x01'::text",
    "'padded'::char(10)",
    "'name'::name",
    "'\\xdeadbeef'::bytea",
    "'00000000-0000-0000-0000-00000000000a'::uuid",
    "'2024-05-01 12:30:00.123456'::timestamp",
    "'2024-05-01 12:30:00+05:30'::timestamptz",
    "'infinity'::timestamptz",
    "'0044-03-15 12:00:00 BC'::timestamptz",
    "'2024-02-29'::date",
    "'23:59:59.5'::time",
    "'23:59:59+02'::timetz",
    "'1 year 2 mons -3 days 04:05:06.7'::interval",
    "'{\"b\": [1.50, null, \"x\"], \"a\": {}}'::json",
    "'{\"b\": [1.50, null, \"x\"], \"a\": {}}'::jsonb",
    "'null'::jsonb",
    "'12.5'::money",
    "'10.1.0.0/16'::cidr",
    "'::1'::inet",
    "'08:00:2b:01:02:03'::macaddr",
    "B'101'",
    "'(1,2)'::point",
    "'<a>b</a>'::xml",
    "'a & b'::tsquery",
    "int4range(1, 5)",
    "'{[1,3), [5,8)}'::int4multirange",
    "'{}'::text[]",
    "ARRAY[1, NULL, 3]",
    "ARRAY[[1, 2], [3, 4]]",
    "'[0:1]={7,8}'::int4[]",
    "ARRAY['a,b', '\"', '\\', '', 'NULL', NULL, '{}']",
    "ARRAY['{\"a\": \"b,\\\"c\"}'::jsonb]",
    "ARRAY['2024-05-01 00:00:00+00'::timestamptz]",
    "ARRAY[true, false]",
    "ARRAY['(1,1),(0,0)'::box, '(3,3),(2,2)'::box]",
    "'happy'::mood",
    "ARRAY['sad', 'ok']::mood[]",
    "7::positive",
    "ARRAY[7]::positive[]",
    "ROW('Main St. \"1\", (rear)', 7, ARRAY['x y'], NULL)::address",
    "ARRAY[ROW('a', 1, '{}', 'sad')::address, NULL]",
    "'a => 1, \"b c\" => NULL'::text",
];

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE address AS (street text, number int, tags text[], mood mood);";

#[tokio::test]
async fn every_type_becomes_what_the_servers_own_to_jsonb_makes_of_it() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    server.execute(TYPES).await.unwrap();
    let columns = VALUES.iter().enumerate().map(|(at, value)| format!("{value} AS c{at}"));
    let query = format!("SELECT {}", columns.collect::<Vec<_>>().join(", "));
    let mut config = config(&server, &query);
    config["fetch_one"] = json!(true);
    let ours = fetch(&server.url(), &config).await.unwrap();
    let theirs = format!("SET TimeZone = 'UTC'; SELECT to_jsonb(t) FROM ({query}) t");
    let theirs: Value = serde_json::from_str(&server.execute(&theirs).await.unwrap()).unwrap();
    for (at, value) in VALUES.iter().enumerate() {
        let column = format!("c{at}");
        assert_eq!(ours[&column], theirs[&column], "{value}");
    }
}

#[tokio::test]
async fn numbers_and_documents_keep_every_digit() {
    if !require(&[Part::Postgres]).unwrap() {
        return;
    }
    let server = Postgres::start().await.unwrap();
    let number = "123456789012345678901234567890.1234567890123456789012345678901234567890";
    let query = format!(
        "SELECT {number}::numeric AS n, 1.50::numeric(9,2) AS price, \
         9007199254740993::int8 AS big, '{{\"x\": {number}, \"y\": 1.0}}'::jsonb AS doc, \
         ARRAY[1.0, 2.50]::numeric[] AS list"
    );
    let fetchers = Fetchers::standard(&means(Duration::from_secs(10)));
    let data = fetchers.fetch(&source(&server, &query)).await.unwrap();
    let expected = format!(
        "[{{\"n\":{number},\"price\":1.50,\"big\":9007199254740993,\
         \"doc\":{{\"x\": {number}, \"y\": 1.0}},\"list\":[1.0,2.50]}}]"
    );
    assert_eq!(data.get(), expected);
}

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
        ("require", &stranger, Ok(true)),
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
