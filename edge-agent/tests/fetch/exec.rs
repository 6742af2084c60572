//! Programs of somebody's own: real ones, which behave and misbehave.

use std::path::Path;
use std::time::{Duration, Instant};

use edge_agent::fetch::exec::{ExecFetcher, programs};
use edge_agent::fetch::{FetchError, Fetchers, Means, Source};
use serde_json::{Value, json, value::to_raw_value};
use testbed::checkout;

/// An agent's fetchers with the programs of this setting.
fn fetchers(setting: &Value, means: &Means) -> Fetchers {
    let mut fetchers = Fetchers::standard(means);
    for program in programs(&setting.to_string()).unwrap() {
        fetchers.add(Box::new(ExecFetcher::new(program, means)));
    }
    fetchers
}

fn means(seconds: u64) -> Means {
    Means::standard(Duration::from_secs(seconds)).unwrap()
}

async fn fetch(fetchers: &Fetchers, url: &str, config: &Value) -> Result<Value, FetchError> {
    let config = Some(to_raw_value(config).unwrap());
    let data = fetchers.fetch(&Source { url: url.to_owned(), config }).await?;
    Ok(serde_json::from_str(data.get()).unwrap())
}

/// Runs this shell script as a program, with the rest of its registration.
async fn run(script: &str, mut settings: Value, means: &Means) -> Result<Value, FetchError> {
    settings["command"] = json!(["/bin/sh", "-c", script]);
    let fetchers = fetchers(&json!({ "it": settings }), means);
    fetch(&fetchers, "app://h/x", &json!({ "fetcher": "exec:it", "n": 1 })).await
}

async fn run_plainly(script: &str) -> Result<Value, FetchError> {
    run(script, json!({}), &means(10)).await
}

/// Waits until there is no process of this number, or only its remains.
async fn gone(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {pid} lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a program has written its number there.
async fn written(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_program_gets_the_entry_and_its_output_is_the_data() {
    let data = run_plainly("cat").await.unwrap();
    assert_eq!(data, json!({ "url": "app://h/x", "config": { "fetcher": "exec:it", "n": 1 } }));
}

#[tokio::test]
async fn the_python_example_reads_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let made = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys\n\
             with sqlite3.connect(sys.argv[1]) as it:\n\
             \x20   it.execute('CREATE TABLE users (name TEXT, age INTEGER, boss TEXT)')\n\
             \x20   it.execute(\"INSERT INTO users VALUES ('ann', 7, NULL), ('bob', 8, 'ann')\")",
        ])
        .arg(&path)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no python3 with sqlite3");
        return;
    }
    let example = checkout().join("examples/fetchers/sqlite.py");
    let setting = json!({ "sqlite": { "command": ["python3", example] } });
    let fetchers = fetchers(&setting, &means(10));
    let url = format!("sqlite://{}", path.display());
    let asked = |query: &str| json!({ "fetcher": "exec:sqlite", "query": query });

    let query = asked("SELECT * FROM users ORDER BY name");
    let rows = fetch(&fetchers, &url, &query).await.unwrap();
    let ann = json!({ "name": "ann", "age": 7, "boss": null });
    assert_eq!(rows, json!([ann, { "name": "bob", "age": 8, "boss": "ann" }]));

    let error = fetch(&fetchers, &url, &asked("SELECT * FROM nobody")).await.unwrap_err();
    assert!(error.to_string().ends_with("no such table: nobody"), "{error}");
    assert!(!error.is_permanent());
    let error = fetch(&fetchers, &url, &asked("DELETE FROM users")).await.unwrap_err();
    assert!(error.to_string().contains("readonly database"), "{error}");
    let error = fetch(&fetchers, &url, &json!({ "fetcher": "exec:sqlite" })).await.unwrap_err();
    let said = "exec:sqlite failed with exit code 78: config.query: give an SQL query";
    assert_eq!(error, FetchError::permanent(said));
}

#[tokio::test]
async fn only_registered_programs_run() {
    let fetchers = fetchers(&json!({ "it": { "command": ["true"] } }), &means(10));
    for name in ["exec:other", "exec:/bin/true", "exec:", "exec:it "] {
        let config = json!({ "fetcher": name, "command": ["/bin/true"] });
        let error = fetch(&fetchers, "app://h", &config).await.unwrap_err();
        assert!(error.is_permanent());
        assert!(error.to_string().contains(&format!("this agent has no `{name}`")), "{error}");
        assert!(error.to_string().contains("exec:it"), "{error}");
    }
}

#[tokio::test]
async fn a_program_sees_no_variables_but_path_and_those_it_is_given() {
    let script = r#"echo "{\"home\":\"$HOME\",\"path\":\"$PATH\",\"cargo\":\"$CARGO_PKG_NAME\"}""#;
    let home = std::env::var("HOME").unwrap();
    let path = std::env::var("PATH").unwrap();
    let data = run_plainly(script).await.unwrap();
    assert_eq!(data, json!({ "home": "", "path": path, "cargo": "" }));
    let data = run(script, json!({ "env": ["HOME", "NOT_SET"] }), &means(10)).await.unwrap();
    assert_eq!(data, json!({ "home": home, "path": path, "cargo": "" }));
}

#[tokio::test]
async fn a_program_that_fails_is_an_error_with_its_code_and_last_words() {
    for (script, said, permanent) in [
        ("echo one >&2; echo two >&2; exit 3", "failed with exit code 3: one / two", false),
        ("echo '{}'; exit 1", "failed with exit code 1", false),
        ("echo bad url >&2; exit 65", "failed with exit code 65: bad url", true),
        ("exit 64", "failed with exit code 64", true),
        ("exit 69", "failed with exit code 69", false),
        ("exit 75", "failed with exit code 75", false),
        ("kill -SEGV $$", "died of SIGSEGV", false),
        ("echo on my way >&2; kill -KILL $$", "died of SIGKILL: on my way", false),
        ("no-such-program-here", "cannot be started (exit code 127)", false),
        ("echo '<html>'", "wrote what is not JSON", false),
        ("printf '\\377'", "wrote what is not UTF-8", false),
        (":", "wrote nothing; it must write a JSON object or array", false),
        ("echo 7", "wrote a bare JSON value; data is an object or an array", false),
        ("echo null", "wrote null: Fetched data is empty", false),
    ] {
        let error = run_plainly(script).await.expect_err(script);
        assert!(error.to_string().starts_with(&format!("exec:it {said}")), "{script}: {error}");
        assert_eq!(error.is_permanent(), permanent, "{script}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_with_and_without_a_memory_limit() {
    for memory in [0, 256] {
        let command = json!(["/no/such/program"]);
        let setting = json!({ "it": { "command": command, "max_memory_mib": memory } });
        let fetchers = fetchers(&setting, &means(10));
        let config = json!({ "fetcher": "exec:it" });
        let error = fetch(&fetchers, "app://h", &config).await.unwrap_err();
        assert!(error.to_string().starts_with("exec:it cannot be started"), "{error}");
        assert!(!error.is_permanent());
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let started = Instant::now();
    let error = run(&script, json!({ "timeout_seconds": 1 }), &means(10)).await.unwrap_err();
    assert_eq!(error.to_string(), "exec:it took longer than 1 s and was ended");
    assert!(started.elapsed() < Duration::from_secs(5));
    gone(&written(&file).await).await;
}

#[tokio::test]
async fn a_program_may_have_more_time_than_other_fetches() {
    let means = means(1);
    let data = run("sleep 1.5; echo {}", json!({ "timeout_seconds": 5 }), &means).await;
    assert_eq!(data, Ok(json!({})));
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_ends_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", file.display());
    let means = means(60);
    let pid = tokio::select! {
        _ = run(&script, json!({}), &means) => panic!("it hangs"),
        pid = written(&file) => pid,
    };
    gone(&pid).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_its_output_open() {
    let started = Instant::now();
    let data = run_plainly("sleep 600 & echo '[1]'").await;
    assert_eq!(data, Ok(json!([1])));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_program_that_writes_endlessly_is_ended_at_the_limit() {
    let mut small = means(20);
    small.max_bytes = 1_000;
    let error = run("yes", json!({}), &small).await.unwrap_err();
    let said = "exec:it wrote more than the limit of 1000 bytes and was ended";
    assert_eq!(error, FetchError::new(said));
    // Exactly the limit is no more than it.
    let fits = format!("printf '[%0998d]' 0 | tr 0 ' '");
    assert_eq!(run(&fits, json!({}), &small).await, Ok(json!([])));
    // What it says of itself is not kept, however much it is.
    let talks = "yes nothing | head -c 3000000 >&2; echo the end >&2; exit 1";
    let error = run(talks, json!({}), &small).await.unwrap_err();
    assert!(error.to_string().ends_with("/ the end"), "{error}");
}

#[tokio::test]
async fn a_program_that_wants_too_much_memory_fails() {
    let script = "exec python3 -c 'print(len([bytearray(200 << 20)]) and [])'";
    let error = run(script, json!({ "max_memory_mib": 64 }), &means(10)).await.unwrap_err();
    assert!(error.to_string().ends_with("MemoryError"), "{error}");
    let data = run(script, json!({ "max_memory_mib": 0 }), &means(10)).await;
    assert_eq!(data, Ok(json!([])));
}

#[tokio::test]
async fn large_entries_and_outputs_pass_each_other_and_input_may_be_left_unread() {
    let large = "x".repeat(3 << 20);
    let config = json!({ "fetcher": "exec:it", "large": large });
    let setting = json!({
        "it": { "command": ["cat"] },
        "deaf": { "command": ["sh", "-c", "exec <&-; echo '[2]'"] },
    });
    let fetchers = fetchers(&setting, &means(20));
    let data = fetch(&fetchers, "app://h", &config).await.unwrap();
    assert_eq!(data["config"]["large"], large);
    let config = json!({ "fetcher": "exec:deaf", "large": large });
    assert_eq!(fetch(&fetchers, "app://h", &config).await, Ok(json!([2])));
}
