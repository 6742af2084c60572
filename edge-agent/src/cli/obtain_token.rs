//! `obtain-token`, with the arguments of OPAL's command of that name.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Failure, call, say, variable};
use crate::settings::Secret;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The server's master token [env: GIRASOL_MASTER_TOKEN, OPAL_MASTER_TOKEN]
    #[arg(value_name = "MASTER_TOKEN")]
    master_token: Option<String>,
    /// Address of the server [default: http://localhost:7002] [env: GIRASOL_SERVER, OPAL_SERVER_URL]
    #[arg(long, alias = "server", value_name = "URL")]
    server_url: Option<String>,
    /// What the bearer may do: subscribe, publish, or read reports
    #[arg(long = "type", value_name = "TYPE", default_value = "client",
          value_parser = ["client", "datasource", "listener"])]
    peer_type: String,
    /// How long the token is valid
    #[arg(long, num_args = 2, value_names = ["NUMBER", "UNIT"], default_values = ["365", "days"])]
    ttl: Vec<String>,
    /// Further claims, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    claims: String,
    /// Prints the token only (the default)
    #[arg(long, overrides_with = "no_just_the_token")]
    just_the_token: bool,
    /// Prints the server's whole answer
    #[arg(long)]
    no_just_the_token: bool,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
}

/// Units of `--ttl`, in microseconds: the ones that OPAL's command has.
const UNITS: [(&str, u64); 7] = [
    ("microseconds", 1),
    ("milliseconds", 1_000),
    ("seconds", SECOND),
    ("minutes", 60 * SECOND),
    ("hours", 3_600 * SECOND),
    ("days", 86_400 * SECOND),
    ("weeks", 604_800 * SECOND),
];
const SECOND: u64 = 1_000_000;

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let url = call::route(&call::server(self.server_url.as_deref())?, "/token");
        let body = self.body()?;
        let master = self
            .master_token
            .or_else(|| variable(&["GIRASOL_MASTER_TOKEN", "OPAL_MASTER_TOKEN"]))
            .ok_or_else(|| {
                Failure::usage(
                    "no master token: give it as MASTER_TOKEN, or set GIRASOL_MASTER_TOKEN",
                )
                .hint("it is what the server has as GIRASOL_AUTH_MASTER_TOKEN")
            })?;
        let answer = call::send(Method::POST, &url, &Secret::new(master), body)?;
        if self.no_just_the_token {
            say(answer.trim_end());
            return Ok(());
        }
        let Answer { token } =
            serde_json::from_str(&answer).map_err(|_| call::unexpected(&url, "holds no token"))?;
        say(&token);
        Ok(())
    }

    fn body(&self) -> Result<String, Failure> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::run(format!("no random numbers: {error}")))?;
        let id = uuid::Builder::from_random_bytes(random).into_uuid();
        let claims: Map<String, Value> = serde_json::from_str(&self.claims)
            .map_err(|error| Failure::usage(format!("--claims: give a JSON object: {error}")))?;
        let body = json!({
            "id": Uuid::to_string(&id),
            "type": self.peer_type,
            "ttl": seconds(&self.ttl)?,
            "claims": claims,
        });
        Ok(body.to_string())
    }
}

/// The life of the token as the server takes it, in seconds.
fn seconds(ttl: &[String]) -> Result<f64, Failure> {
    let read = || {
        let [number, unit] = ttl else { return None };
        let unit = unit.to_ascii_lowercase();
        let unit =
            UNITS.iter().find(|(name, _)| *name == unit || name.trim_end_matches('s') == unit);
        let microseconds = number.parse::<u64>().ok()?.checked_mul(unit?.1)?;
        (microseconds > 0).then_some(microseconds as f64 / SECOND as f64)
    };
    read().ok_or_else(|| {
        let units: Vec<_> = UNITS.iter().map(|(name, _)| *name).collect();
        Failure::usage(format!(
            "--ttl: give a whole number and one of {}, such as --ttl 30 days",
            units.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ttl(text: &str) -> Result<f64, Failure> {
        seconds(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_ttl_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("30 days", 2_592_000.0),
            ("1 day", 86_400.0),
            ("2 Weeks", 1_209_600.0),
            ("5 minutes", 300.0),
            ("1000000 milliseconds", 1_000.0),
            ("1500000 microseconds", 1.5),
        ] {
            assert_eq!(ttl(text), Ok(expected));
        }
        for text in ["30 fortnights", "x days", "-1 days", "0 days", "99999999999999999999 days"] {
            let failure = ttl(text).unwrap_err();
            assert!(failure.code == 2 && failure.message.starts_with("--ttl: "), "{text}");
        }
    }

    #[test]
    fn of_two_flags_that_contradict_the_last_counts() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let whole = |flags: &[&str]| {
            let line = ["obtain-token", "m"].iter().chain(flags);
            <Line as clap::Parser>::parse_from(line).arguments.no_just_the_token
        };
        let (just, no) = ("--just-the-token", "--no-just-the-token");
        assert!(!whole(&[]) && !whole(&[just]) && !whole(&[no, just]));
        assert!(whole(&[no]) && whole(&[just, no]));
    }
}
