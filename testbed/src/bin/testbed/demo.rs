//! The billing example, step by step. A user gets into an application only if the customer's
//! billing is enabled; the billing service knows that, and a publish makes the agent ask it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Agent, Answer, Functions, Keys, Part, Process, checkout, command, http_client};

use crate::ui::{Style, Ui, milliseconds};
use crate::{End, interrupt, until_interrupt};

/// How long a step may take before the demo has failed. Each takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);
const ALLOW: &str = "app/allow";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Exit after the decision changed, instead of running on for you to try
    #[arg(long)]
    once: bool,
}

/// Everything that the demo started, in the order in which it should end.
struct Parts {
    agent: Agent,
    billing: Billing,
    functions: Functions,
    /// A datasource token: may publish.
    token: String,
    folder: TempDir,
}

struct Billing {
    process: Process,
    url: String,
    http: reqwest::Client,
}

pub(crate) async fn run(options: Options) -> Result<End> {
    let ui = Ui::new();
    let show = async {
        ui.line("Girasol: every policy engine turned to the same truth.");
        let mut parts = start(ui).await?;
        story(ui, &mut parts).await?;
        anyhow::Ok(parts)
    };
    let mut parts = tokio::select! {
        parts = show => parts?,
        signal = interrupt() => return signal.map(|()| End::Interrupted),
    };
    if !options.once {
        what_next(ui, &parts)?;
        let Parts { agent, billing, functions, .. } = &mut parts;
        until_interrupt(async {
            tokio::select! {
                error = functions.ended() => error,
                error = agent.ended() => error,
                error = billing.process.ended() => error,
            }
        })
        .await?;
    }
    // The agent first, so that it does not see the others go and complain.
    // How they end is not what is shown.
    let _ = parts.agent.stop().await;
    let _ = parts.functions.stop().await;
    drop(parts);
    if !options.once {
        ui.line("\nEnded; nothing of it is left.");
    }
    Ok(End::Done)
}

async fn start(ui: Ui) -> Result<Parts> {
    ui.heading("1  The parts start, all on this machine");
    let folder = tempfile::Builder::new().prefix("girasol-demo-").tempdir()?;
    let keys = Keys::load_or_generate(folder.path()).await?;
    let storage = folder.path().join("storage");
    let functions = Functions::builder()?.keys(&keys).data_dir(storage).start().await?;
    let workerd = "the Worker, on workerd: tokens, publishing, the hub";
    ui.row("functions", format!("{}  {workerd}", functions.url()));
    let billing = Billing::start().await?;
    ui.row("billing service", format!("{}  where the data is", billing.url));
    let token = functions.mint("datasource", json!({"ttl": 86_400})).await?;
    let agent_token = functions.mint("client", json!({"ttl": 86_400})).await?;
    let agent = Agent::builder(functions.url(), agent_token)
        .topics(["billing"])
        .policy_dir(checkout().join("examples/billing/policy"))
        .start()
        .await?;
    ui.row("edge agent", format!("{}  subscribes to the topic `billing`", agent.local_url()));
    ui.row("decisions", format!("{}  asked like OPA, engine: regorus", agent.decision_url()));
    agent.wait_live(PATIENCE).await?;
    Ok(Parts { agent, billing, functions, token, folder })
}

async fn story(ui: Ui, parts: &mut Parts) -> Result<()> {
    ui.heading("2  May the customer acme come in?");
    ui.row("policy", "allow if data.billing[input.customer].enabled");
    expect(ui, parts, false, "the engine knows of no billing yet").await?;

    ui.heading("3  The billing service enables acme");
    parts.billing.enable(ui, "acme", true).await?;
    expect(ui, parts, false, "nobody has told the agent").await?;

    ui.heading("4  Publish: the billing data has changed");
    publish(ui, parts, true).await?;

    ui.heading("5  And back: acme is disabled, and published again");
    parts.billing.enable(ui, "acme", false).await?;
    publish(ui, parts, false).await
}

/// Asks for the decision once and shows it.
async fn expect(ui: Ui, parts: &Parts, wanted: bool, because: &str) -> Result<()> {
    let answer = parts.agent.decide(ALLOW, &acme()).await?;
    if answer.get("result") != Some(&json!(wanted)) {
        bail!("the decision should be {wanted}, it is {answer}; see examples/billing/policy");
    }
    ui.row("decision", format!("{}  {because}", verdict(ui, wanted)));
    Ok(())
}

/// Publishes that the billing data has changed, and waits for the decision to become `wanted`.
async fn publish(ui: Ui, parts: &Parts, wanted: bool) -> Result<()> {
    let Parts { agent, billing, functions, token, .. } = parts;
    let source = format!("{}/billing", billing.url);
    let update = json!({
        "reason": "billing changed",
        "entries": [{"url": source, "topics": ["billing"], "dst_path": "/billing"}],
    });
    let fetches = billing.fetches();
    let started = Instant::now();
    let seq = functions.publish_ok(token, &update).await?;
    let accepted = started.elapsed();
    agent.wait_decision(ALLOW, &acme(), &json!(wanted), PATIENCE).await?;
    let changed = started.elapsed();
    let status = agent.wait_cursor(seq, PATIENCE).await?;

    ui.row("published", format!("topic `billing`: fetch {source} to /billing"));
    ui.row(
        "the hub",
        format!("stored it as seq {seq} and answered after {}", milliseconds(accepted)),
    );
    let fetched = billing.fetches().saturating_sub(fetches);
    let cursor = status.get("cursor").cloned().unwrap_or(Value::Null);
    ui.row("the agent", format!("fetched it ({fetched} request), cursor now {cursor}"));
    ui.row(
        "decision",
        format!("{}  {}", verdict(ui, wanted), {
            let time = format!("{} after the publish began", milliseconds(changed));
            ui.paint(Style::Bold, time)
        }),
    );
    Ok(())
}

fn what_next(ui: Ui, parts: &Parts) -> Result<()> {
    let file = parts.folder.path().join("env");
    let agent = Part::Agent.find()?;
    let variables = [
        ("GIRASOL_URL", parts.functions.url()),
        ("TOKEN", parts.token.as_str()),
        ("BILLING_URL", parts.billing.url.as_str()),
        ("DECISION_URL", parts.agent.decision_url()),
        ("AGENT_URL", parts.agent.local_url()),
        ("EDGE_AGENT", &agent.to_string_lossy()),
        ("JSON", "Content-Type: application/json"),
    ];
    write_env(&file, &variables)?;
    ui.heading("It runs on; Ctrl-C ends all of it. In another terminal:");
    ui.command(format!(". {}   # the URLs above, and a token that may publish", file.display()));
    ui.line("");
    ui.line("   Enable acme, publish that, ask for the decision, look at the agent:");
    ui.command(r#"curl -sS -X PUT "$BILLING_URL/billing/acme" -H "$JSON" -d '{"enabled":true}'"#);
    ui.command(
        r#"curl -sS "$GIRASOL_URL/data/config" -H "$JSON" -H "Authorization: Bearer $TOKEN" \"#,
    );
    ui.command(
        r#"  -d '{"entries":[{"url":"'$BILLING_URL'/billing","topics":["billing"],"dst_path":"/billing"}]}'"#,
    );
    ui.command(r#"curl -sS "$DECISION_URL/v1/data/app/allow" -d '{"input":{"customer":"acme"}}'"#);
    ui.command(r#"curl -sS "$AGENT_URL/status""#);
    ui.line("");
    ui.line("   Or all of that, explained, by a script that is there to be read:");
    ui.command(from_here(&checkout().join("examples/billing/walkthrough.sh")).display());
    Ok(())
}

/// Writes a file for a shell to source. It has secrets in it: only its owner may read it.
pub(crate) fn write_env(file: &Path, variables: &[(&str, &str)]) -> Result<()> {
    let quoted = variables
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    testbed::write_private(file, &quoted.collect::<String>())
}

/// `path` as a person would write it in the folder of their shell, which `cargo xtask` has left.
pub(crate) fn from_here(path: &Path) -> PathBuf {
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let shell = env::var_os("PWD").and_then(|folder| fs::canonicalize(folder).ok());
    let below = shell.and_then(|folder| full.strip_prefix(folder).map(Path::to_owned).ok());
    below.unwrap_or(full)
}

fn acme() -> Value {
    json!({"customer": "acme"})
}

fn verdict(ui: Ui, allowed: bool) -> String {
    if allowed { ui.paint(Style::Green, "allow") } else { ui.paint(Style::Red, "deny ") }
}

// === impl Billing ===

impl Billing {
    async fn start() -> Result<Self> {
        // A process of its own, so that the agent really asks somebody else.
        let mut billing = command(env::current_exe()?);
        billing.args(["billing", "0"]);
        let mut process = Process::spawn("billing", billing)?;
        let address = |line: &str| line.strip_prefix("billing service on ").map(str::to_owned);
        let url = process.wait_for_line(PATIENCE, address).await?;
        Ok(Self { process, url, http: http_client()? })
    }

    /// Enables or disables a customer's billing, as the service's own users would.
    async fn enable(&self, ui: Ui, customer: &str, enabled: bool) -> Result<()> {
        let url = format!("{}/billing/{customer}", self.url);
        let account = json!({ "enabled": enabled });
        ui.row("its own users", format!("PUT {url} {account}"));
        let answer = Answer::of(self.http.put(url).json(&account)).await?;
        answer.ok().map(drop).context("changing the billing service's data")
    }

    /// How often it was asked for the data, by its own word.
    fn fetches(&self) -> usize {
        self.process.logs().lines().iter().filter(|line| *line == "GET /billing").count()
    }
}
