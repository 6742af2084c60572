//! Settings about decisions and their logs.

use std::time::Duration;

use super::{
    ConfigError, DecisionLogSettings, DecisionSettings, Resolved, ServiceSettings, host_name,
};

impl DecisionSettings {
    pub(super) fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let segments =
            |text: &str| text.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let listen = resolved.address("decision_listen")?;
        Ok(Self {
            default_decision: segments(&resolved.text("decision_default")?),
            authentication: resolved.text("decision_authentication")? == "token",
            authorization: resolved.text("decision_authorization")? == "basic",
            // Whoever reaches it may write then, and what is written may be decided by.
            read_only: match resolved.get("decision_read_only") {
                Some(_) => resolved.is_on("decision_read_only")?,
                None => {
                    let is_guarded = resolved.secret("api_key").is_some();
                    is_guarded || !listen.ip().to_canonical().is_loopback()
                }
            },
        })
    }
}

impl DecisionLogSettings {
    pub(super) fn new(resolved: &Resolved) -> Result<Self, ConfigError> {
        let least = resolved.seconds("decision_log_min_delay_seconds")?;
        let most = resolved.seconds("decision_log_max_delay_seconds")?;
        if least > most {
            let reason = "it is more than decision_log_max_delay_seconds; give less, or raise that";
            return Err(resolved.refuse("decision_log_min_delay_seconds", reason));
        }
        let service = match resolved.url("decision_log_service") {
            Ok(url) => Some(ServiceSettings {
                url,
                token: resolved.secret("decision_log_token"),
                chunk_bytes: resolved.bytes("decision_log_chunk_bytes")?,
                buffer_bytes: resolved.bytes("decision_log_buffer_bytes")?,
                delay: (Duration::from_secs(least), Duration::from_secs(most)),
            }),
            Err(_) => None,
        };
        let name = resolved.text("agent_name").unwrap_or_else(|_| host_name());
        let labels = [
            ("id", name),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("scope", resolved.text("scope")?),
        ];
        let buffer_events = resolved.count("decision_log_buffer_events")?;
        Ok(Self {
            console: resolved.is_on("decision_log_console")?,
            file: resolved.path("decision_log_file"),
            service,
            buffer_events: usize::try_from(buffer_events).unwrap_or(usize::MAX),
            per_second: resolved.count("decision_log_max_per_second").ok(),
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        })
    }
}
