//! MySQL's protocol, on a real MariaDB server.

use std::time::{Duration, Instant};

use edge_agent::fetch::{Fetchers, Means, Source};
use serde_json::{Value, json};
use testbed::{Authority, MariaDb, Part, require};

use crate::support::{fetch, fetch_with, trusting};

/// The settings for a query, with the server's password.
fn config(server: &MariaDb, query: &str) -> Value {
    json!({
        "fetcher": "MySQLFetchProvider",
        "query": query,
        "connection_params": {"password": server.password()},
    })
}

fn source(server: &MariaDb, query: &str) -> Source {
    let config = serde_json::value::to_raw_value(&config(server, query)).unwrap();
    Source { url: server.url(), config: Some(config) }
}

#[tokio::test]
async fn rows_become_data_and_every_type_has_its_json() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let server = MariaDb::start().await.unwrap();
    let setup = r#"
        CREATE TABLE roles (id INT PRIMARY KEY, name VARCHAR(20), parent INT);
        INSERT INTO roles VALUES (1, 'admin', NULL), (2, 'vièwer "x" ☃', 1);
        CREATE TABLE every (
            tiny TINYINT, flag BOOL, small SMALLINT UNSIGNED, big BIGINT, huge BIGINT UNSIGNED,
            exact DECIMAL(40, 10), filled DECIMAL(8, 2) ZEROFILL, single FLOAT, wide DOUBLE,
            day DATE, at DATETIME(6), moment TIMESTAMP(3), span TIME(1), born YEAR,
            bits BIT(12), fixed BINARY(4), raw BLOB, body TEXT, choice ENUM('a', 'b'),
            several SET('x', 'y'), document JSON, u UUID, nothing INT
        );
        SET time_zone = '+01:00';
        INSERT INTO every VALUES (
            -128, TRUE, 65535, -9223372036854775808, 18446744073709551615,
            '123456789012345678901234567890.0123456789', 42.5, 0.1, 1e300,
            '2024-05-01', '2024-05-01 12:30:00.000100', '2024-05-01 12:30:00.5', '-51:04:05.5', 2024,
            b'100000000001', 'ab', x'fffe00', 'text', 'b',
            'x,y', '{"a": [1.50, null]}', '123e4567-e89b-12d3-a456-426614174000', NULL
        );"#;
    server.execute(setup).await.unwrap();
    let roles = json!([
        {"id": 1, "name": "admin", "parent": null},
        {"id": 2, "name": "vièwer \"x\" ☃", "parent": 1},
    ]);
    let query = "SELECT * FROM roles ORDER BY id";
    let url = server.url();
    assert_eq!(fetch(&url, &config(&server, query)).await, Ok(roles.clone()));

    let mut one = config(&server, query);
    one["fetch_one"] = json!(true);
    assert_eq!(fetch(&url, &one).await, Ok(roles[0].clone()));
    let mut keyed = config(&server, query);
    keyed["dict_key"] = json!("id");
    assert_eq!(fetch(&url, &keyed).await, Ok(json!({"1": roles[0], "2": roles[1]})));
    let empty = config(&server, "SELECT * FROM roles WHERE id > 10;");
    assert_eq!(fetch(&url, &empty).await, Ok(json!([])));

    // All of the address can be in the parameters, as OPAL has it.
    let all = json!({
        "fetcher": "MySQLFetchProvider", "query": "SELECT id FROM roles WHERE id = 1",
        "connection_params": {"host": "127.0.0.1", "port": server.port().to_string(),
            "db": "helloopal", "user": "helloopal", "password": server.password()},
    });
    assert_eq!(fetch("mysql://elsewhere.invalid", &all).await, Ok(json!([{"id": 1}])));

    let mut every = config(&server, "SELECT * FROM every");
    every["json_columns"] = json!(["document"]);
    let source =
        Source { url: url.clone(), config: Some(serde_json::value::to_raw_value(&every).unwrap()) };
    let means = Means::standard(Duration::from_secs(10)).unwrap();
    let text = Fetchers::standard(&means).fetch(&source).await.unwrap();
    let expected = concat!(
        r#"[{"tiny":-128,"flag":1,"small":65535,"big":-9223372036854775808,"#,
        r#""huge":18446744073709551615,"exact":123456789012345678901234567890.0123456789,"#,
        r#""filled":42.50,"single":0.1,"wide":1e+300,"day":"2024-05-01","#,
        r#""at":"2024-05-01T12:30:00.0001","moment":"2024-05-01T11:30:00.5+00:00","#,
        r#""span":"-51:04:05.5","born":2024,"bits":2049,"fixed":"YWIAAA==","raw":"//4A","#,
        r#""body":"text","choice":"b","several":"x,y","document":{"a": [1.50, null]},"#,
        r#""u":"123e4567-e89b-12d3-a456-426614174000","nothing":null}]"#,
    );
    assert_eq!(text.get(), expected);
    let lacking = config(&server, "SELECT document FROM every");
    assert_eq!(
        fetch(&url, &lacking).await,
        Ok(json!([{"document": "{\"a\": [1.50, null]}"}])),
        "MariaDB does not tell JSON from text"
    );
}

#[tokio::test]
async fn what_does_more_than_read_is_refused_and_has_no_effect() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let server = MariaDb::start().await.unwrap();
    let setup = "
        CREATE TABLE t (a INT); INSERT INTO t VALUES (1);
        GRANT ALL ON *.* TO helloopal;
        SET GLOBAL log_bin_trust_function_creators = 1;
        DELIMITER //
        CREATE FUNCTION writes() RETURNS INT MODIFIES SQL DATA
            BEGIN INSERT INTO t VALUES (2); RETURN 1; END //
        CREATE PROCEDURE everything() BEGIN SELECT * FROM t; END //
        DELIMITER ;
        CREATE SEQUENCE s;";
    server.execute(setup).await.unwrap();
    for query in [
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (2) RETURNING a",
        "DELETE FROM t RETURNING a",
        "UPDATE t SET a = 2",
        "DROP TABLE t",
        "SET SESSION TRANSACTION READ WRITE",
        "SET GLOBAL max_connections = 1",
        "COMMIT",
        "SELECT 1; DELETE FROM t",
        "COMMIT; DELETE FROM t",
        "SELECT writes()",
        "SELECT NEXTVAL(s)",
        "CALL everything()",
        "SELECT * FROM t FOR UPDATE INTO OUTFILE 'stolen'",
        "SELECT 1 INTO @a",
        "KILL 1",
        "CREATE TABLE other AS SELECT 1",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
    ] {
        let error = fetch(&server.url(), &config(&server, query)).await.expect_err(query);
        assert!(error.is_permanent(), "{query}: {error}");
        assert!(error.to_string().contains("config.query"), "{query}: {error}");
    }
    assert_eq!(server.execute("SELECT * FROM t").await.unwrap(), "1");
}

#[tokio::test]
async fn what_is_wrong_is_named_without_secrets() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let server = MariaDb::start().await.unwrap();
    server.execute("CREATE TABLE t (a INT); CREATE DATABASE other").await.unwrap();
    let with = |member: &str, value: Value| {
        let mut config = config(&server, "SELECT 1 AS a");
        config[member] = value;
        config
    };
    let params = |params: Value| with("connection_params", params);
    for (config, permanent, words) in [
        (with("query", Value::Null), true, "config.query: give the query"),
        (with("query", json!(" ")), true, "config.query: give the query"),
        (with("query", json!(["hidden"])), true, "config.query: it has the wrong type"),
        (with("query", json!("SELEC 'hidden'")), true, "error in your SQL syntax"),
        (with("query", json!("SELECT * FROM missing")), true, "doesn't exist"),
        (with("query", json!("SELECT missing FROM t")), true, "Unknown column"),
        (with("query", json!("SELECT ?")), true, "a place for a parameter"),
        (with("query", json!("SELECT * FROM mysql.user")), false, "refuses this user"),
        (with("dict_key", json!("b")), true, "no column `b`; they have a"),
        (with("json_columns", json!("hidden")), true, "config.json_columns: it has the wrong"),
        (with("fetch_one", json!("hidden")), true, "config.fetch_one: it has the wrong type"),
        (params(json!({"password": "hidden"})), false, "refuses the user or the password"),
        (params(Value::Null), false, "refuses the user or the password"),
        (params(json!({"password": ["hidden"]})), true, "config.connection_params.password"),
        (params(json!({"password": server.password(), "db": "other"})), false, "refuses this user"),
    ] {
        let error = fetch(&server.url(), &config).await.expect_err(&config.to_string());
        let text = error.to_string();
        assert!(text.contains(words), "{config}: {text}");
        assert_eq!(error.is_permanent(), permanent, "{config}: {text}");
        assert!(!text.contains("hidden") && !text.contains(server.password()), "{text}");
    }
    let mut text = config(&server, "SELECT 'hidden' AS a");
    text["json_columns"] = json!(["a"]);
    let error = fetch(&server.url(), &text).await.unwrap_err().to_string();
    assert!(error.contains("the column `a` holds no JSON") && !error.contains("hidden"), "{error}");
    let mut none = config(&server, "SELECT a FROM t");
    none["fetch_one"] = json!(true);
    let error = fetch(&server.url(), &none).await.unwrap_err();
    assert!(error.to_string().contains("Fetched data is empty"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_again_and_found_when_it_is_back() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let mut server = MariaDb::start().await.unwrap();
    let fetchers = Fetchers::standard(&Means::standard(Duration::from_secs(10)).unwrap());
    let one = source(&server, "SELECT 1 AS a");
    assert_eq!(fetchers.fetch(&one).await.unwrap().get(), r#"[{"a":1}]"#);
    let connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE USER='helloopal'";
    fetchers.fetch(&one).await.unwrap();
    assert_eq!(server.execute(connections).await.unwrap(), "1", "one is kept and used again");
    fetchers.fetch(&source(&server, "SELECT GET_LOCK('gate', 0) AS a")).await.unwrap();
    let free = server.execute("SELECT IS_FREE_LOCK('gate')").await.unwrap();
    assert_eq!(free, "1", "what is kept holds nothing");
    server.kill().await.unwrap();
    let error = fetchers.fetch(&one).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("cannot connect"), "{error}");
    server.restart().await.unwrap();
    fetchers.fetch(&one).await.unwrap();
    // The connection that was kept is dead now, and nobody has noticed yet.
    server.restart().await.unwrap();
    fetchers.fetch(&one).await.unwrap();
}

/// Waits until the server has no query of the user's any more.
async fn wait_until_idle(server: &MariaDb) {
    let running = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE USER='helloopal' AND COMMAND <> 'Sleep'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.execute(running).await.unwrap() != "0" {
        assert!(Instant::now() < deadline, "it still runs");
    }
}

#[tokio::test]
async fn a_query_whose_fetch_was_given_up_is_ended_at_the_server() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let mut server = MariaDb::start().await.unwrap();
    let fetchers = Fetchers::standard(&Means::standard(Duration::from_secs(60)).unwrap());
    for query in [
        "SELECT SLEEP(50) AS a",
        // One that has begun to answer.
        "SELECT seq, SLEEP(seq > 2000) FROM seq_1_to_100000",
        "SELECT a.seq FROM seq_1_to_100000 a, seq_1_to_100000 b",
    ] {
        let source = source(&server, query);
        let fetch = tokio::time::timeout(Duration::from_millis(300), fetchers.fetch(&source));
        // The last of them may have reached the limit of bytes by then.
        assert!(!matches!(fetch.await, Ok(Ok(_))), "{query}");
        wait_until_idle(&server).await;
    }
    // Nor does it live on where nobody could end it: the server knows how long it may take.
    let limit = "SELECT @@max_statement_time AS seconds, @@time_zone AS zone";
    let limits = fetch(&server.url(), &config(&server, limit)).await;
    assert_eq!(limits, Ok(json!([{"seconds": 10.0, "zone": "+00:00"}])));
    // A server that hangs costs the time of the fetch, and no later answer.
    let quick = Fetchers::standard(&Means::standard(Duration::from_millis(500)).unwrap());
    let one = source(&server, "SELECT 1 AS a");
    quick.fetch(&one).await.unwrap();
    server.hold(true).await.unwrap();
    let error = quick.fetch(&one).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("no answer in time"), "{error}");
    server.hold(false).await.unwrap();
    let two = source(&server, "SELECT 2 AS b");
    assert_eq!(quick.fetch(&two).await.unwrap().get(), r#"[{"b":2}]"#);
}

#[tokio::test]
async fn rows_past_the_limit_are_not_read() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let server = MariaDb::start().await.unwrap();
    let mut means = Means::standard(Duration::from_secs(120)).unwrap();
    means.max_bytes = 1 << 20;
    let rows = config(&server, "SELECT seq AS a FROM seq_1_to_50000000");
    let error = fetch_with(&means, &server.url(), &rows).await.unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    wait_until_idle(&server).await;
    let row = config(&server, "SELECT REPEAT('x', 3000000) AS a");
    let error = fetch_with(&means, &server.url(), &row).await.unwrap_err();
    assert!(error.to_string().contains("a row is larger"), "{error}");
    // Of one row the rest is not needed.
    let mut one = config(&server, "SELECT seq AS a FROM seq_1_to_50000000");
    one["fetch_one"] = json!(true);
    assert_eq!(fetch_with(&means, &server.url(), &one).await, Ok(json!({"a": 1})));
    wait_until_idle(&server).await;
}

#[tokio::test]
async fn tls_is_spoken_with_those_whose_authority_is_trusted() {
    if !require(&[Part::MariaDb]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let server = MariaDb::builder().tls(&authority).start().await.unwrap();
    let config = config(&server, "SHOW STATUS LIKE 'Ssl_version'");
    let means = trusting(&authority);
    let secure = format!("{}?ssl-mode=VERIFY_IDENTITY", server.url());
    let data = fetch_with(&means, &secure, &config).await.unwrap();
    assert!(data[0]["Value"].as_str().unwrap().starts_with("TLS"), "{data}");
    let data = fetch_with(&means, &server.url(), &config).await.unwrap();
    assert_eq!(data[0]["Value"], "");
    let error = fetch(&secure, &config).await.unwrap_err();
    assert!(error.to_string().contains("no TLS") && !error.is_permanent(), "{error}");
    let error = fetch(&format!("{}?ssl-mode=perhaps", server.url()), &config).await.unwrap_err();
    assert!(error.to_string().contains("ssl-mode is one of") && error.is_permanent(), "{error}");
}
