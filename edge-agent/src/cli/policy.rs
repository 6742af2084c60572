//! `policy push`: makes the files of a folder the policy that the server hands out.

mod folder;

use std::{collections::BTreeMap, path::PathBuf};

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Failure, call, say};
use folder::Folder;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(
        about = "Makes the files of a folder the policy that the server hands out",
        after_help = super::examples(&[
            "policy push policy/ --token $TOKEN",
            "policy push policy/ --scope acme --extensions .rego",
        ])
    )]
    Push(Push),
}

#[derive(clap::Args)]
struct Push {
    /// The folder: its files replace the policy as a whole; hidden files are left out, and tests
    /// (*_test.rego) are only run by a server that is set to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A token of type datasource [env: GIRASOL_TOKEN, OPAL_CLIENT_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Address of the server [default: http://localhost:7002] [env: GIRASOL_SERVER, OPAL_SERVER_URL]
    #[arg(long, alias = "server", value_name = "URL")]
    server_url: Option<String>,
    /// Whose policy it is [default: the server's own]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// The endings of the files to send, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = ".rego,.json",
        value_parser = ending
    )]
    extensions: Vec<String>,
}

/// The body of `PUT /policy`.
#[derive(Serialize)]
struct Body<'f> {
    files: &'f BTreeMap<String, String>,
}

/// What it is answered with, as far as it must be there.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read only to see that the answer is one")]
struct Answer {
    hash: String,
    changed: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Push(push) = self.action;
        push.run()
    }
}

impl Push {
    fn run(self) -> Result<(), Failure> {
        let server = call::server(self.server_url.as_deref())?;
        let url = call::route(&server, &route(self.scope.as_deref())?);
        let token = call::token(self.token, "--token")?;
        let files = Folder::new(&self.dir, &self.extensions).read()?;
        let body = serde_json::to_string(&Body { files: &files })
            .map_err(|error| Failure::run(format!("the files have no JSON form: {error}")))?;
        folder::check_body(&files, body.len())?;
        let answer = call::send(Method::PUT, &url, &token, body)?;
        serde_json::from_str::<Answer>(&answer)
            .map_err(|_| call::unexpected(&url, "does not say which policy it has now"))?;
        say(answer.trim());
        Ok(())
    }
}

/// The route that takes a scope's policy.
fn route(scope: Option<&str>) -> Result<String, Failure> {
    match scope {
        None => Ok("/policy".to_owned()),
        // What would be understood as a path of its own.
        Some("" | "." | "..") => Err(Failure::usage("--scope: give a scope's name")),
        Some(scope) if scope.contains(['/', '\\', '%']) => {
            Err(Failure::usage("--scope: a scope's name has no / \\ or %"))
        }
        Some(scope) => Ok(format!("/scopes/{scope}/policy")),
    }
}

/// A file name's ending, with its dot.
fn ending(text: &str) -> Result<String, String> {
    let ending = text.trim().trim_start_matches('.');
    if ending.is_empty() || ending.contains(['/', '*']) {
        return Err("give endings such as .rego,.json".to_owned());
    }
    Ok(format!(".{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scopes_policy_has_a_route_of_its_own() {
        assert_eq!(route(None).unwrap(), "/policy");
        assert_eq!(route(Some("acme")).unwrap(), "/scopes/acme/policy");
        for name in ["", "..", "a/../../token", "a%2Fb"] {
            let failure = route(Some(name)).unwrap_err();
            assert!(failure.code == 2 && failure.message.starts_with("--scope: "), "{name}");
        }
    }

    #[test]
    fn an_ending_may_be_given_with_and_without_its_dot() {
        assert_eq!(ending("rego"), Ok(".rego".to_owned()));
        assert_eq!(ending(" .cedar "), Ok(".cedar".to_owned()));
        assert!(ending(".").is_err() && ending("*.rego").is_err());
    }
}
