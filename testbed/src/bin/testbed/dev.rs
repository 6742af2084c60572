//! The functions on a local workerd. State, signing key and master token are kept in one folder,
//! so that tokens and data outlive a restart.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use testbed::{Functions, Keys, Part, load_or_create_secret};

use crate::demo::{from_here, write_env};
use crate::ui::Ui;
use crate::{End, interrupt, until_interrupt};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Listen on this port of 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 7002)]
    port: u16,
    /// Keep state, keys and the master token in this folder
    #[arg(long, default_value = ".girasol", value_name = "DIR")]
    data_dir: PathBuf,
    /// Set a variable of the Worker; may be repeated
    #[arg(long = "var", value_name = "KEY=VALUE", value_parser = variable)]
    vars: Vec<(String, String)>,
}

pub(crate) async fn run(options: Options) -> Result<End> {
    let ui = Ui::new();
    let Options { port, data_dir, vars } = options;
    fs::create_dir_all(&data_dir).with_context(|| {
        format!("creating {}: make it writable or choose another --data-dir", data_dir.display())
    })?;
    // Two workerds on one storage would each believe to be the only hub.
    let lock = File::create(data_dir.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => bail!(
            "{} is in use by another `dev`: stop that one, or choose another --data-dir",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => return Err(error).context("locking the data folder"),
    }

    let keys = Keys::load_or_generate(&data_dir).await?;
    let master = load_or_create_secret(&data_dir.join("master-token"))?;
    let mut plan = Functions::builder()?
        .keys(&keys)
        .var("GIRASOL_AUTH_MASTER_TOKEN", master)
        .data_dir(data_dir.join("storage"))
        .port(port);
    for (name, value) in vars {
        plan = plan.var(name, value);
    }
    let mut functions = tokio::select! {
        functions = plan.start() => functions?,
        signal = interrupt() => return signal.map(|()| End::Interrupted),
    };

    let file = data_dir.join("env");
    let agent = Part::Agent.find()?;
    let variables = [
        ("GIRASOL_URL", functions.url()),
        ("MASTER_TOKEN", functions.master_token()),
        ("EDGE_AGENT", &agent.to_string_lossy()),
    ];
    write_env(&file, &variables)?;
    what_next(ui, &functions, &from_here(&data_dir), &from_here(&file));
    functions.logs().show();
    until_interrupt(functions.ended()).await?;
    functions.stop().await?;
    Ok(End::Done)
}

fn what_next(ui: Ui, functions: &Functions, data_dir: &Path, file: &Path) {
    let url = functions.url();
    ui.heading(format!("The functions run on {url} until Ctrl-C"));
    ui.row("health", format!("{url}/healthcheck"));
    ui.row("agents connect to", functions.ws_url());
    ui.row("state", data_dir.join("storage").display());
    ui.row("master token", file.with_file_name("master-token").display());
    ui.row("signing key", data_dir.join("signing-key.pem").display());
    ui.heading("Next, in another terminal: tokens, an agent with the example's policy, a publish");
    ui.command(format!(". {}   # GIRASOL_URL, MASTER_TOKEN, EDGE_AGENT", file.display()));
    ui.command(
        r#"TOKEN=$("$EDGE_AGENT" obtain-token "$MASTER_TOKEN" --server-url "$GIRASOL_URL" --type datasource --just-the-token)"#,
    );
    ui.command(
        r#"export GIRASOL_TOKEN=$("$EDGE_AGENT" obtain-token "$MASTER_TOKEN" --server-url "$GIRASOL_URL" --type client --just-the-token)"#,
    );
    ui.command(
        r#""$EDGE_AGENT" run --server "$GIRASOL_URL" --topics billing --policy-dir examples/billing/policy &"#,
    );
    ui.command(
        r#""$EDGE_AGENT" publish-data-update "$TOKEN" --server-url "$GIRASOL_URL" -t billing --dst-path /billing --data '{"acme":{"enabled":true}}'"#,
    );
    ui.command(
        r#"curl http://127.0.0.1:8181/v1/data/app/allow -d '{"input":{"customer":"acme"}}'"#,
    );
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_may_hold_equals_signs_and_be_empty() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b=c"), pair("A", "b=c"));
        assert_eq!(variable("A="), pair("A", ""));
        assert!(variable("A").is_err());
        assert!(variable("=b").is_err());
    }
}
