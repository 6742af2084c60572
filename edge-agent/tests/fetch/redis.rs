//! Redis, on the real server.

use std::time::Duration;

use edge_agent::fetch::Means;
use serde_json::{Value, json};
use testbed::{Authority, Part, Redis, require};

use crate::support::{fetch, fetch_with, stranger, trusting};

/// The settings for a command, with the server's password.
fn config(redis: &Redis, command: Value) -> Value {
    json!({
        "fetcher": "RedisFetchProvider",
        "command": command,
        "connection_params": {"password": redis.password()},
    })
}

async fn filled() -> Redis {
    let redis = Redis::start().await.unwrap();
    for words in [
        &["HSET", "roles", "alice", "admin", "bob", r#"{"role":"viewer"}"#][..],
        &["RPUSH", "queue", "a", "b c"],
        &["SADD", "members", "only"],
        &["ZADD", "scores", "1.5", "alice", "inf", "bob"],
        &["SET", "document", r#"{"users":["alice"],"n":1.50}"#],
        &["SET", "number", "12"],
        &["SET", "a key", "[1]"],
        &["XADD", "stream", "1-1", "field", "value"],
    ] {
        redis.execute(words).await.unwrap();
    }
    redis
}

#[tokio::test]
async fn replies_become_data() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let redis = filled().await;
    for (command, expected) in [
        (json!("HGETALL roles"), json!({"alice": "admin", "bob": r#"{"role":"viewer"}"#})),
        (json!("hgetall nobody"), json!({})),
        (json!("LRANGE queue 0 -1"), json!(["a", "b c"])),
        (json!(["LRANGE", "queue", 0, -1]), json!(["a", "b c"])),
        (json!("SMEMBERS members"), json!(["only"])),
        (json!("ZRANGE scores 0 -1 WITHSCORES"), json!([["alice", 1.5], ["bob", "inf"]])),
        (json!("GET document"), json!({"users": ["alice"], "n": 1.5})),
        (json!("GET 'a key'"), json!([1])),
        (json!(["GET", "a key"]), json!([1])),
        (json!("MGET number missing"), json!(["12", null])),
        (json!("XRANGE stream - +"), json!([["1-1", ["field", "value"]]])),
        // Not in the table of those that are known: the server is asked.
        (json!("SORT_RO queue ALPHA DESC"), json!(["b c", "a"])),
        (json!("XINFO GROUPS stream"), json!([])),
    ] {
        let data = fetch(&redis.url(), &config(&redis, command.clone())).await;
        assert_eq!(data, Ok(expected), "{command}");
    }
    let mut decoded = config(&redis, json!("HGETALL roles"));
    decoded["json_values"] = json!(true);
    let data = fetch(&redis.url(), &decoded).await;
    assert_eq!(data, Ok(json!({"alice": "admin", "bob": {"role": "viewer"}})));
}

#[tokio::test]
async fn a_database_and_a_user_can_be_named() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let builder = Redis::builder().option("user", "reader on >secret ~* +@read");
    let redis = builder.start().await.unwrap();
    redis.execute(&["-n", "2", "RPUSH", "here", "x"]).await.unwrap();
    let url = format!("redis://reader:secret@127.0.0.1:{}", redis.port());
    let command = json!({"fetcher": "RedisFetchProvider", "command": "LRANGE here 0 -1"});
    assert_eq!(fetch(&url, &command).await, Ok(json!([])));
    // This user may read and nothing else, not even choose a database.
    let error = fetch(&format!("{url}/2"), &command).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let url = format!("{}/2", redis.url());
    let data = fetch(&url, &config(&redis, json!("LRANGE here 0 -1"))).await;
    assert_eq!(data, Ok(json!(["x"])));
}

#[tokio::test]
async fn what_writes_or_runs_scripts_is_refused_and_has_no_effect() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let redis = filled().await;
    let before = redis.execute(&["DBSIZE"]).await.unwrap();
    for command in [
        "SET number 13",
        "DEL number",
        "GETDEL number",
        "GETEX number EX 1",
        "FLUSHALL",
        "EVAL \"return redis.call('SET','number','13')\" 0",
        "EVAL_RO \"return 1\" 0",
        "FCALL_RO f 0",
        "CONFIG GET requirepass",
        "CLIENT LIST",
        "SHUTDOWN NOSAVE",
        "SUBSCRIBE channel",
        "MONITOR",
        "XREAD BLOCK 0 STREAMS stream $",
        "SORT queue ALPHA STORE other",
        "DEBUG SLEEP 0",
        "HELLO 2",
        "SELECT 1",
        "MULTI",
    ] {
        let error = fetch(&redis.url(), &config(&redis, json!(command))).await.unwrap_err();
        assert!(error.is_permanent(), "{command}: {error}");
        assert!(error.to_string().contains("not a command that only reads"), "{command}: {error}");
    }
    let data = fetch(&redis.url(), &config(&redis, json!("MGET number"))).await;
    assert_eq!(data, Ok(json!(["12"])));
    assert_eq!(redis.execute(&["DBSIZE"]).await.unwrap(), before);
}

#[tokio::test]
async fn what_is_wrong_is_named_without_secrets() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let redis = filled().await;
    let url = redis.url();
    for (config, permanent, words) in [
        (config(&redis, json!(null)), true, "config.command: give a command"),
        (config(&redis, json!("  ")), true, "config.command: give a command"),
        (config(&redis, json!("GET \"hidden")), true, "config.command: a quote"),
        (config(&redis, json!({"hidden": 1})), true, "config.command: it has the wrong type"),
        (config(&redis, json!("NOTHING hidden")), true, "\"NOTHING\" is not a command of this"),
        (config(&redis, json!("JSON.GET hidden")), true, "it is not a command of this server"),
        (config(&redis, json!("GET queue")), true, "WRONGTYPE"),
        (config(&redis, json!("GET too many hidden")), true, "wrong number of arguments"),
        (config(&redis, json!("GET missing")), false, "Fetched data is empty"),
        (config(&redis, json!("GET number")), false, "a bare value"),
        (config(&redis, json!("LLEN queue")), false, "a bare value"),
        (
            json!({"fetcher": "RedisFetchProvider", "command": "GET a",
                   "connection_params": {"password": "hidden"}}),
            false,
            "refuses the user or the password",
        ),
        (
            json!({"fetcher": "RedisFetchProvider", "command": "GET a"}),
            false,
            "refuses the user or the password",
        ),
        (
            json!({"fetcher": "RedisFetchProvider", "command": "GET a",
                   "connection_params": {"password": ["hidden"]}}),
            true,
            "config.connection_params.password: it has the wrong type",
        ),
        (
            json!({"fetcher": "RedisFetchProvider", "command": "GET a",
                   "connection_params": {"port": "hidden"}}),
            true,
            "config.connection_params.port: it has the wrong type",
        ),
    ] {
        let error = fetch(&url, &config).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words), "{config}: {text}");
        assert_eq!(error.is_permanent(), permanent, "{config}: {text}");
        assert!(!text.contains("hidden") && !text.contains(redis.password()), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_again_and_found_when_it_is_back() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let mut redis = filled().await;
    let means = Means::standard(Duration::from_secs(10)).unwrap();
    let fetchers = edge_agent::fetch::Fetchers::standard(&means);
    let config = config(&redis, json!("LRANGE queue 0 -1"));
    let source = edge_agent::fetch::Source {
        url: redis.url(),
        config: Some(serde_json::value::to_raw_value(&config).unwrap()),
    };
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), r#"["a","b c"]"#);
    redis.kill().await.unwrap();
    let error = fetchers.fetch(&source).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("cannot connect"), "{error}");
    redis.restart().await.unwrap();
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), "[]");
    // The connection that was kept is dead now, and nobody has noticed yet.
    redis.restart().await.unwrap();
    assert_eq!(fetchers.fetch(&source).await.unwrap().get(), "[]");
}

#[tokio::test]
async fn a_server_that_hangs_costs_its_time_and_no_later_answer() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let mut redis = filled().await;
    let means = Means::standard(Duration::from_millis(300)).unwrap();
    let fetchers = edge_agent::fetch::Fetchers::standard(&means);
    let source = |command: &str| edge_agent::fetch::Source {
        url: redis.url(),
        config: Some(serde_json::value::to_raw_value(&config(&redis, json!(command))).unwrap()),
    };
    let (queue, members) = (source("LRANGE queue 0 -1"), source("SMEMBERS members"));
    fetchers.fetch(&queue).await.unwrap();
    redis.hold(true).await.unwrap();
    let error = fetchers.fetch(&queue).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("no answer in time"), "{error}");
    redis.hold(false).await.unwrap();
    assert_eq!(fetchers.fetch(&members).await.unwrap().get(), r#"["only"]"#);
}

#[tokio::test]
async fn more_than_the_limit_is_not_read() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let redis = filled().await;
    let mut means = Means::standard(Duration::from_secs(10)).unwrap();
    means.max_bytes = 1 << 20;
    redis.execute(&["SETRANGE", "large", "20000000", "x"]).await.unwrap();
    for command in ["GET large", "MGET large number"] {
        let error =
            fetch_with(&means, &redis.url(), &config(&redis, json!(command))).await.unwrap_err();
        assert!(error.to_string().contains("more than the limit of 1048576 bytes"), "{error}");
        assert!(!error.is_permanent());
    }
    // Of 20 MB the client took about one: what it did not read is still to be sent.
    let sent = redis.execute(&["INFO", "stats"]).await.unwrap();
    let sent = sent.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
    assert!(sent.trim().parse::<u64>().unwrap() < 30_000_000, "{sent}");
}

#[tokio::test]
async fn tls_is_spoken_with_those_whose_authority_is_trusted() {
    if !require(&[Part::Redis]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let redis = Redis::builder().tls(&authority).start().await.unwrap();
    redis.execute(&["RPUSH", "queue", "a"]).await.unwrap();
    let config = config(&redis, json!("LRANGE queue 0 -1"));
    let means = trusting(&authority);
    assert_eq!(fetch_with(&means, &redis.url(), &config).await, Ok(json!(["a"])));
    let error = fetch(&redis.url(), &config).await.unwrap_err();
    assert!(error.to_string().contains("no TLS") && !error.is_permanent(), "{error}");
    // Without TLS such a server is not understood, and does not understand.
    let plain = redis.url().replace("rediss", "redis");
    let error = fetch_with(&means, &plain, &config).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_none_does_no_harm() {
    let hello = b"%1\r\n+server\r\n+redis\r\n";
    let after = |bytes: &[u8]| [&hello[..], bytes].concat();
    for (first, more, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![], ""),
        (after(b"*1000000000000\r\n"), b":1\r\n".repeat(1000), "more than the limit"),
        (after(b"%4611686018427387904\r\n"), b":1\r\n".repeat(1000), "more than the limit"),
        (after(b"$9999999999\r\n"), vec![b'x'; 4096], "more than the limit"),
        (after(&b"*1\r\n".repeat(100_000)), vec![], ""),
        (after(b"|18446744073709551615\r\n"), vec![], ""),
    ] {
        let url = format!("redis://{}", stranger(first.clone(), more).await);
        let mut means = Means::standard(Duration::from_secs(5)).unwrap();
        means.max_bytes = 1 << 20;
        let config = json!({"fetcher": "RedisFetchProvider", "command": "LRANGE a 0 -1"});
        let error = fetch_with(&means, &url, &config).await.unwrap_err();
        let shown = String::from_utf8_lossy(first.get(..40).unwrap_or(&first)).into_owned();
        assert!(error.to_string().contains(words), "{shown}: {error}");
        assert!(!error.is_permanent(), "{shown}: {error}");
    }
}
