//! The agent's commands as a person types them.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::{Value, json};
use testbed::{Part, Source};

use crate::support::{SOON, agent, can_run, data, functions};

fn edge_agent(args: &[&str]) -> Output {
    let mut command = Command::new(Part::Agent.find().unwrap());
    // A person's own settings must not reach a test.
    command.args(args).env_clear();
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Fails unless the command failed with one short message that holds these words.
pub(crate) fn assert_refused(args: &[&str], words: &[&str]) {
    let output = edge_agent(args);
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{args:?} succeeded");
    for word in words {
        assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
    }
    // Ours are an error and perhaps a hint; clap adds the usage to its own.
    let short = error.lines().count() <= 2 || error.contains("--help");
    assert!(!error.contains("panicked") && short, "{args:?}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_obtained_and_an_update_published_as_opals_docs_write_it() {
    if !can_run(&[]) {
        return;
    }
    let (functions, _) = functions().await;
    let source = Source::start(&json!({"ann": {"role": "admin"}})).unwrap();
    let agent = agent(&functions, &["users"]).await.start().await.unwrap();
    agent.wait_live(SOON).await.unwrap();

    let server = functions.url();
    let obtained = edge_agent(&[
        "obtain-token",
        functions.master_token(),
        "--server-url",
        server,
        "--type",
        "datasource",
    ]);
    assert!(obtained.status.success(), "{}", text(&obtained.stderr));
    let token = text(&obtained.stdout).trim().to_owned();
    let published = edge_agent(&[
        "publish-data-update",
        &token,
        "--server-url",
        server,
        "--src-url",
        &source.url("/users"),
        "-t",
        "users",
        "-t",
        "billing",
        "--dst-path",
        "/users",
        "--src-config",
        r#"{"headers":{"authorization":"bearer the-source-token"}}"#,
    ]);
    assert!(published.status.success(), "{}", text(&published.stderr));
    agent.wait_cursor(1, SOON).await.unwrap();
    assert_eq!(data(&agent, "users").await, json!({"ann": {"role": "admin"}}));
    assert_eq!(source.received()[0].header("authorization"), Some("bearer the-source-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_keys_work_in_the_functions() {
    if !can_run(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = (folder.path().join("private.key"), folder.path().join("public.key"));
    let (private, public) = (private.to_str().unwrap(), public.to_str().unwrap());
    let made =
        edge_agent(&["generate-keys", "--private-key-file", private, "--public-key-file", public]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_refused(
        &["generate-keys", "--private-key-file", private, "--public-key-file", public],
        &["--force"],
    );
    let functions = testbed::Functions::builder()
        .unwrap()
        .without_var("GIRASOL_AUTH_PUBLIC_KEY")
        .var("GIRASOL_AUTH_PRIVATE_KEY", std::fs::read_to_string(private).unwrap())
        .start()
        .await
        .unwrap();
    let token = functions.mint("datasource", json!({})).await.unwrap();
    let update = crate::support::inline("t", "/a", &json!({}));
    assert_eq!(functions.publish_ok(&token, &update).await.unwrap(), 1);
}

#[test]
fn a_secret_has_the_size_that_was_asked_for() {
    if !can_run(&[]) {
        return;
    }
    let secret =
        || text(&edge_agent(&["generate-secret", "--size", "16", "--format", "hex"]).stdout);
    let first = secret();
    assert_eq!(first.trim().len(), 32);
    assert_ne!(secret(), first);
}

#[test]
fn settings_are_shown_with_their_secrets_hidden() {
    if !can_run(&[]) {
        return;
    }
    let shown = edge_agent(&["print-config", "--format", "json", "--token", "a-very-secret-token"]);
    let shown = text(&shown.stdout);
    assert!(!shown.contains("a-very-secret-token"), "{shown}");
    let _: Value = serde_json::from_str(&shown).unwrap();
}

#[test]
fn mistakes_at_the_command_line_name_the_fix() {
    if !can_run(&[]) {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let run = ["run", "--token", "t"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    assert_refused(&["run"], &["--token", "GIRASOL_TOKEN"]);
    assert_refused(&[&run[..], &["--listen", &taken]].concat(), &["--listen", &taken]);
    let both = ["--listen", "127.0.0.1:0", "--decision-listen", &taken];
    assert_refused(&[&run[..], &both].concat(), &["--decision-listen", &taken]);
    assert_refused(&with(&["--listen", "0.0.0.0:7766"]), &["--listen", "loopback"]);
    assert_refused(
        &with(&["--listen", "127.0.0.1:0", "--policy-dir", "/no/such/folder"]),
        &["/no/such/folder", "--policy-dir"],
    );
    assert_refused(&with(&["--engine", "cedar"]), &["engine", "regorus", "opa"]);
    assert_refused(&with(&["--server", "nowhere"]), &["server"]);
    assert_refused(&with(&["--topics", ""]), &["topics"]);
    assert_refused(&with(&["--config", "/no/such/file.toml"]), &["/no/such/file.toml"]);
    assert_refused(
        &[
            "generate-keys",
            "--private-key-file",
            "/no/such/folder/key",
            "--public-key-file",
            "/no/such/folder/pub",
        ],
        &["/no/such/folder"],
    );
    assert_refused(&["rum"], &["run"]);
    assert_refused(
        &["obtain-token", "m", "--server-url", "http://127.0.0.1:9"],
        &["http://127.0.0.1:9"],
    );
    assert_refused(
        &["publish-data-update", "t", "--src-config", "{", "--src-url", "http://h"],
        &["--src-config"],
    );
}

#[test]
fn grants_are_tested_by_a_file_of_cases() {
    if !can_run(&[]) {
        return;
    }
    let cases = testbed::checkout().join("grants/tests/cases.json");
    let tested = edge_agent(&["grants", "test", cases.to_str().unwrap()]);
    let shown = text(&tested.stdout);
    assert!(tested.status.success(), "{shown}");
    assert!(shown.starts_with("ok   G01 ") && shown.ends_with("46 cases, 46 as expected, 0 not\n"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    let wrong = std::fs::read_to_string(cases).unwrap().replacen("\"allow\"", "\"deny\"", 1);
    std::fs::write(&file, wrong).unwrap();
    let tested = edge_agent(&["grants", "test", file.to_str().unwrap()]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(text(&tested.stdout).starts_with("FAIL G01 "), "{}", text(&tested.stdout));
    assert_refused(&["grants", "test", "/no/such/file"], &["/no/such/file"]);
}

#[test]
fn an_unknown_key_in_the_file_names_the_nearest_one() {
    if !can_run(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "polcy_dir = \"p\"\n").unwrap();
    assert_refused(
        &["run", "--token", "t", "--config", file.to_str().unwrap()],
        &["polcy_dir", "policy_dir"],
    );
}

#[test]
fn a_policy_that_does_not_compile_ends_the_agent_with_its_place() {
    if !can_run(&[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.rego"), "package broken\n\nallow if {\n").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--decision-listen", "127.0.0.1:0"];
    let run =
        [&["run", "--token", "t", "--policy-dir", folder.path().to_str().unwrap()][..], &listen]
            .concat();
    let output = edge_agent(&run);
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("broken.rego"), "{error}");
}
