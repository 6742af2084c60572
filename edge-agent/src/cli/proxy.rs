//! `proxy`: stands in front of an application.

use std::fs;
use std::path::PathBuf;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use tracing::Level;

use super::{Failure, call};
use crate::logging;
use crate::proxy::{self, Config, ProxyError};
use crate::settings::{LogFormat, Secret};

/// Where the grant's token is, unless a file has it.
const TOKEN: &str = "GIRASOL_GRANT_TOKEN";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The file that says what is in front of what; examples/proxy/proxy.toml is one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// From which level log lines are written
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: Level,
    /// Log lines for people, or one JSON object a line
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let name = self.config.display();
        let text = fs::read_to_string(&self.config)
            .map_err(|error| Failure::usage(format!("--config {name}: {error}")))?;
        let config =
            Config::read(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        let token = token(&config)?;
        let is_json = self.log_format == "json";
        logging::init(self.log_level, if is_json { LogFormat::Json } else { LogFormat::Text });
        let runtime = call::runtime()?;
        let done = runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let end = async move {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            };
            proxy::run(config, token, end.boxed().shared()).await
        });
        done.map_err(|error: ProxyError| Failure::run(error.to_string()))
    }
}

fn token(config: &Config) -> Result<Secret, Failure> {
    let text = match &config.token_file {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("token_file {}: {error}", file.display())))?,
        None => std::env::var(TOKEN).unwrap_or_default(),
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::usage("no grant: set GIRASOL_GRANT_TOKEN, or name a token_file")
            .hint("make one with `POST /api/v1/grants`; examples/proxy/proxy.toml has its body"));
    }
    Ok(Secret::new(token.to_owned()))
}
