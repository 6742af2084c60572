//! What a query's rows become.

use std::time::Duration;

use edge_agent::fetch::{Fetchers, Source};
use serde_json::{Value, json, value::RawValue};
use testbed::{Part, Postgres, require};

use super::{config, means, source};
use crate::support::fetch;

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
