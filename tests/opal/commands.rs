//! OPAL's commands at the functions, Girasol's at an opal-server, and that both send and say the
//! same (`spec/opal-protocol.md` §5.11).

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{Functions, Part, Reply, Said, Source, command, opal_program, said};

use crate::behaviours::Behaviours;
use crate::support::{SOON, Stage, functions, subscriber};

/// OPAL's command wants one, also where it sends the data.
const SOURCE: &str = "http://127.0.0.1:9/data";

/// Whose command it is.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Client,
    Server,
    Ours,
}

pub(crate) async fn run(stage: Arc<Stage>, behaviours: Behaviours) -> Result<()> {
    let functions = functions()?.start().await?;
    for whose in [Whose::Client, Whose::Server] {
        let name = format!("{}: obtain-token and publish-data-update", whose.name());
        behaviours.show(&name, at_the_functions(&functions, whose)).await;
    }
    let server = stage.server().await?;
    behaviours
        .show("edge-agent obtain-token, publish-data-update at an opal-server", async {
            let master = server.api().master_token();
            let url = server.api().url();
            let obtain = ["obtain-token", master, "--server-url", url, "--type", "datasource"];
            let token = ok(run_one(Whose::Ours, &obtain).await?)?;
            let mut peer = subscriber(server.api(), &["users"]).await?;
            let data = r#"{"k":1}"#;
            let publish = [
                "publish-data-update",
                &token,
                "--server-url",
                url,
                "--src-url",
                "",
                "-t",
                "users/a",
                "--dst-path",
                "/u",
                "--data",
                data,
            ];
            ok(run_one(Whose::Ours, &publish).await?)?;
            let (_, update) =
                peer.notified(SOON).await?.ok_or_else(|| anyhow::anyhow!("nothing came"))?;
            ensure!(update["entries"][0]["data"] == json!({"k": 1}), "{update}");
            Ok(())
        })
        .await;
    behaviours
        .show("a token of an opal-server is good at functions with its key", async {
            let token = server.api().mint("client", json!({})).await?;
            subscriber_with(&functions, &token).await
        })
        .await;
    behaviours
        .show("a token of the functions is good at an opal-server with their key", async {
            let token = functions.mint("client", json!({})).await?;
            let answer = server.api().get("/policy", Some(&token)).await?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })
        .await;
    behaviours.show("both send the same for publish-data-update", same_update()).await;
    behaviours.show("both send and say the same for obtain-token", same_token()).await;
    behaviours.show("both make secrets of the same form", secrets()).await;
    Ok(())
}

async fn at_the_functions(functions: &Functions, whose: Whose) -> Result<()> {
    let (master, url) = (functions.master_token(), functions.url());
    let obtain = [
        "obtain-token",
        master,
        "--server-url",
        url,
        "--type",
        "datasource",
        "--ttl",
        "30",
        "days",
    ];
    let token = ok(run_one(whose, &obtain).await?)?;
    ensure!(token.split('.').count() == 3, "{token:?} is no token");
    let mut peer = subscriber(functions.api(), &["users"]).await?;
    let publish = [
        "publish-data-update",
        &token,
        "--server-url",
        url,
        "--src-url",
        SOURCE,
        "-t",
        "users/a",
        "--dst-path",
        "/u",
        "--reason",
        "why",
        "--data",
        r#"{"k":1}"#,
    ];
    ok(run_one(whose, &publish).await?)?;
    let (topic, update) =
        peer.notified(SOON).await?.ok_or_else(|| anyhow::anyhow!("nothing came"))?;
    ensure!(topic == "users" && update["reason"] == "why", "{topic} {update}");
    ensure!(update["entries"][0]["data"] == json!({"k": 1}), "{update}");
    Ok(())
}

async fn subscriber_with(functions: &Functions, token: &str) -> Result<()> {
    let mut peer = testbed::OpalPeer::connect(&functions.ws_url(), Some(token)).await?.open()?;
    peer.subscribe(&["users"]).await
}

/// The same arguments to both commands, at a server that only writes down what it gets. Where an
/// entry is given by `--src-url` and others by `--entries`, OPAL's forgets the others; so that is not
/// in the table.
async fn same_update() -> Result<()> {
    let entries = r#"[{"url":"http://127.0.0.1/b","topics":["b"],"dst_path":"/b"}]"#;
    let table: [&[&str]; 4] = [
        &["--src-url", "http://127.0.0.1/a", "-t", "policy_data", "-t", "users/a"],
        &[
            "--src-url",
            SOURCE,
            "-t",
            "a",
            "--dst-path",
            "/u",
            "--data",
            r#"{"k":{"n":1}}"#,
            "--reason",
            "why",
        ],
        &["-e", entries],
        &[
            "--src-url",
            "http://127.0.0.1/a",
            "--topic",
            "a",
            "--src-config",
            r#"{"headers":{"x-a":"b"}}"#,
            "--save-method",
            "PATCH",
            "--data",
            r#"[{"op":"add","path":"/a","value":1}]"#,
        ],
    ];
    for arguments in table {
        let source = Source::start(&json!({"status": "ok"}))?;
        let url = source.url("");
        for whose in [Whose::Client, Whose::Ours] {
            let all = [
                &["publish-data-update", "token", "--server-url", url.trim_end_matches('/')],
                arguments,
            ];
            ok(run_one(whose, &all.concat()).await?)?;
        }
        let received = source.received();
        ensure!(received.len() == 2, "{} requests", received.len());
        let bodies = received.iter().map(|request| serde_json::from_slice::<Value>(&request.body));
        let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        let means = bodies.iter().map(meaning).collect::<Vec<_>>();
        ensure!(means[0] == means[1], "{arguments:?}: OPAL sends {}, we {}", bodies[0], bodies[1]);
        ensure!(received[0].path == received[1].path, "{} {}", received[0].path, received[1].path);
    }
    Ok(())
}

/// What a body says: a member that is null, or has the value that it has when it is left out, says
/// nothing, and an id is its sender's own affair.
fn meaning(body: &Value) -> Value {
    let mut body = body.clone();
    let entries = body["entries"].as_array().cloned().unwrap_or_default();
    let entries = entries.into_iter().map(|mut entry| {
        // OPAL's command calls the `from` of an operation so, also where there is none.
        for operation in entry["data"].as_array_mut().into_iter().flatten() {
            operation.as_object_mut().map(|operation| operation.remove("from_field"));
        }
        let mut entry = entry.as_object().cloned().unwrap_or_default();
        entry.retain(|name, value| match name.as_str() {
            "config" => !value.is_null() && *value != json!({}),
            "save_method" => value != "PUT",
            "dst_path" => value != "",
            _ => !value.is_null(),
        });
        Value::Object(entry)
    });
    body["entries"] = entries.collect();
    if let Some(body) = body.as_object_mut() {
        body.retain(|name, value| match name.as_str() {
            "id" => false,
            "callback" => value["callbacks"].as_array().is_some_and(|list| !list.is_empty()),
            "reason" => value.as_str().is_some_and(|reason| !reason.is_empty()),
            _ => !value.is_null(),
        });
    }
    body
}

async fn same_token() -> Result<()> {
    let details = json!({"id": "50a6cc43-2bb9-4e8f-8af9-4f32440b1b60", "type": "client",
        "expired": "2026-11-22T01:19:20.643096", "claims": {"peer_type": "client"}});
    let answer = json!({"token": "a.b.c", "type": "bearer", "details": details});
    let table: [&[&str]; 3] = [
        &[],
        &["--type", "listener", "--ttl", "90", "minutes", "--claims", r#"{"a":1}"#],
        &["--no-just-the-token"],
    ];
    for arguments in table {
        let source = Source::start(&json!({}))?;
        source.reply(Reply::json(&answer));
        let url = source.url("");
        let mut answers = Vec::new();
        for whose in [Whose::Client, Whose::Ours] {
            let all =
                [&["obtain-token", "master", "--server-url", url.trim_end_matches('/')], arguments];
            answers.push(ok(run_one(whose, &all.concat()).await?)?);
        }
        let received = source.received();
        let bodies = received.iter().map(|request| serde_json::from_slice::<Value>(&request.body));
        let mut bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        for body in &mut bodies {
            // Each takes an id of its own, and a whole number is one with `.0` behind it too.
            let ttl = body["ttl"].as_f64();
            if let Some(body) = body.as_object_mut() {
                body.remove("id");
                body.insert("ttl".to_owned(), json!(ttl));
            }
        }
        ensure!(
            bodies[0] == bodies[1],
            "{arguments:?}: OPAL sends {}, we {}",
            bodies[0],
            bodies[1]
        );
        if arguments == ["--no-just-the-token"] {
            // OPAL prints it as Python would, which no script reads; ours is JSON.
            let said: Value = serde_json::from_str(&answers[1])?;
            ensure!(said == answer, "{said} is not what the server answered");
        } else {
            let (theirs, ours) = (&answers[0], &answers[1]);
            ensure!(theirs == ours, "{arguments:?}: OPAL says {theirs}, we {ours}");
        }
    }
    Ok(())
}

async fn secrets() -> Result<()> {
    for (arguments, length) in [
        (&["generate-secret"][..], 43),
        (&["generate-secret", "--size", "16", "--format", "hex"], 32),
        (&["generate-secret", "--size", "16", "--format", "urlsafe"], 22),
    ] {
        for whose in [Whose::Client, Whose::Ours] {
            let secret = ok(run_one(whose, arguments).await?)?;
            ensure!(secret.len() == length, "{arguments:?} of {}: {}", whose.name(), secret.len());
        }
    }
    Ok(())
}

async fn run_one(whose: Whose, arguments: &[&str]) -> Result<Said> {
    let mut program = match whose {
        Whose::Client => opal_program("opal-client")?,
        Whose::Server => opal_program("opal-server")?,
        Whose::Ours => command(Part::Agent.find()?),
    };
    program.args(arguments);
    said(program).await
}

fn ok(said: Said) -> Result<String> {
    ensure!(said.code == Some(0), "it ended with {:?}: {} {}", said.code, said.out, said.err);
    Ok(said.out)
}

// === impl Whose ===

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "opal-client",
            Self::Server => "opal-server",
            Self::Ours => "edge-agent",
        }
    }
}
