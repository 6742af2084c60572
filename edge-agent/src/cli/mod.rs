//! The command line: one file a command.
//!
//! | command | file |
//! |---|---|
//! | `run`, `print-config` | `run.rs` |
//! | `obtain-token` | `obtain_token.rs` |
//! | `publish-data-update` | `publish.rs` |
//! | `policy push` | `policy.rs` |
//! | `grants test` | `grants.rs` |
//! | `proxy` | `proxy.rs` |
//! | `watch postgres` | `watch.rs` |
//! | `generate-secret`, `generate-keys` | `generate.rs` |
//!
//! Whatever goes wrong ends as one line `error: …` and, where that helps, one line
//! `hint: …`. Exit code 2: the command or a setting is wrong. 1: it did not work out.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use crate::fetch::{Fetcher, Means};
use crate::settings::ConfigError;

mod call;
mod generate;
mod grants;
mod obtain_token;
mod policy;
mod proxy;
mod publish;
mod run;
#[cfg(feature = "postgres")]
mod watch;

/// Makes the fetchers of somebody's own.
type OwnFetchers = Box<dyn FnOnce(&Means) -> Vec<Box<dyn Fetcher>>>;

/// Why a command did not do what it should.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The command or a setting is wrong.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), hint: None }
    }

    /// It did not work out.
    fn run(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { code: 2, message: error.message, hint: error.hint }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    main_with(|_| vec![])
}

/// The same with fetchers of one's own, for a program that is the agent otherwise; what they
/// share with those that are built in is handed over.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     edge_agent::cli::main_with(|means| own(means))
/// }
/// # use edge_agent::fetch::{Fetcher, Means};
/// # fn own(_: &Means) -> Vec<Box<dyn Fetcher>> {
/// #     vec![]
/// # }
/// ```
#[must_use]
pub fn main_with(own: impl FnOnce(&Means) -> Vec<Box<dyn Fetcher>> + 'static) -> ExitCode {
    let done = match command().get_matches().subcommand() {
        Some((name, matches)) => dispatch(name, matches, Box::new(own)),
        // clap demands a command.
        None => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message, hint }) => {
            let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
            // Nobody is left to tell if this fails.
            let _ = write!(io::stderr(), "error: {message}\n{hint}");
            ExitCode::from(code)
        }
    }
}

fn dispatch(name: &str, matches: &ArgMatches, own: OwnFetchers) -> Result<(), Failure> {
    let unread = |error: clap::Error| Failure::usage(error.to_string());
    match name {
        "run" => run::run(matches, own),
        "print-config" => run::print_config(matches),
        "obtain-token" => obtain_token::Arguments::from_arg_matches(matches).map_err(unread)?.run(),
        "publish-data-update" => {
            publish::Arguments::from_arg_matches(matches).map_err(unread)?.run()
        }
        "policy" => policy::Arguments::from_arg_matches(matches).map_err(unread)?.run(),
        "grants" => grants::Arguments::from_arg_matches(matches).map_err(unread)?.run(),
        "proxy" => proxy::Arguments::from_arg_matches(matches).map_err(unread)?.run(),
        #[cfg(feature = "postgres")]
        "watch" => watch::Arguments::from_arg_matches(matches).map_err(unread)?.run(),
        "generate-secret" => {
            generate::SecretArguments::from_arg_matches(matches).map_err(unread)?.run()
        }
        "generate-keys" => generate::KeyArguments::from_arg_matches(matches).map_err(unread)?.run(),
        _ => {
            say(env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn command() -> Command {
    let command = Command::new("edge-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps the policy engine beside it current, or decides by itself")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run::command())
        .subcommand(run::print_config_command())
        .subcommand(described::<obtain_token::Arguments>(
            "obtain-token",
            "Gets a token from the server, with the master token",
            &["obtain-token $MASTER_TOKEN --type datasource --ttl 30 days"],
        ))
        .subcommand(described::<publish::Arguments>(
            "publish-data-update",
            "Publishes an update of data",
            &[
                "publish-data-update $TOKEN --src-url http://billing/users -t users --dst-path /users",
                "publish-data-update $TOKEN -t users --dst-path /users/al --data '{\"active\":true}'",
            ],
        ))
        .subcommand(
            policy::Arguments::augment_args(Command::new("policy"))
                .about("Works on the policy that the server hands out"),
        )
        .subcommand(
            grants::Arguments::augment_args(Command::new("grants"))
                .about("Works on what the bearers of tokens may do"),
        )
        .subcommand(described::<proxy::Arguments>(
            "proxy",
            "Stands in front of an application, and keeps values away from it",
            &["proxy --config examples/proxy/proxy.toml"],
        ))
        .subcommand(described::<generate::SecretArguments>(
            "generate-secret",
            "Prints a random secret, for example a master token",
            &["generate-secret --format hex --size 32"],
        ))
        .subcommand(described::<generate::KeyArguments>(
            "generate-keys",
            "Makes the Ed25519 key pair that tokens are signed with",
            &[
                "generate-keys >> .dev.vars",
                "generate-keys --private-key-file key.pem --public-key-file key.pub.pem",
            ],
        ))
        .subcommand(Command::new("version").about("Prints the version"));
    #[cfg(feature = "postgres")]
    let command = command.subcommand(
        watch::Arguments::augment_args(Command::new("watch"))
            .about("Publishes what changes in a database, as it changes"),
    );
    command
}

/// A command with its arguments, what it does, and how it is called.
fn described<A: clap::Args>(name: &'static str, about: &'static str, calls: &[&str]) -> Command {
    A::augment_args(Command::new(name)).about(about).after_help(examples(calls))
}

fn examples(calls: &[&str]) -> String {
    let title = if calls.len() == 1 { "Example:" } else { "Examples:" };
    // clap ends everything with a line end but this.
    calls.iter().fold(format!("{title}\n"), |text, call| format!("{text}  edge-agent {call}\n"))
}

/// Prints a line. A reader that has gone away is no error.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says something beside the answer. A reader that has gone away is no error.
fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "warning: {line}");
}

/// The first variable that is set to something.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_help_text_ends_with_one_line_end() {
        let names: Vec<_> =
            command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert!(names.len() >= 8, "{names:?}");
        let mut lines = vec![
            vec!["--help"],
            vec!["-h"],
            vec!["help"],
            vec!["policy", "push", "--help"],
            vec!["grants", "test", "--help"],
        ];
        #[cfg(feature = "postgres")]
        lines.push(vec!["watch", "postgres", "--help"]);
        for name in &names {
            lines.extend([vec![name, "--help"], vec![name, "-h"], vec!["help", name]]);
        }
        for line in lines {
            let asked = std::iter::once("edge-agent").chain(line.iter().copied());
            let help = command().try_get_matches_from(asked).unwrap_err().render().to_string();
            assert!(help.contains("Usage:"), "{line:?}: {help}");
            assert!(help.ends_with('\n') && !help.ends_with("\n\n"), "{line:?}: {help:?}");
        }
    }

    #[test]
    fn what_opals_documentation_writes_is_understood() {
        let line = [
            "edge-agent",
            "publish-data-update",
            "tok",
            "--src-url",
            "http://h/x",
            "-t",
            "users",
            "-t",
            "billing",
            "--src-config",
            "{\"headers\":{}}",
        ];
        let matches = command().try_get_matches_from(line).unwrap();
        assert_eq!(matches.subcommand_name(), Some("publish-data-update"));
        let line =
            "edge-agent obtain-token master --type datasource --ttl 30 days --server-url http://h";
        assert!(command().try_get_matches_from(line.split(' ')).is_ok());
    }
}
