//! `run` and `print-config`: the commands whose flags are the settings.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Failure, OwnFetchers, examples, say, variable};
use crate::{
    logging, runtime,
    settings::{PrintFormat, Resolved, SETTINGS, Setting, Settings, Sources, unfollowed},
};

/// Two threads are enough for a process that mostly waits, and cost little memory.
const THREADS: usize = 2;

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Runs the agent")
        .after_help(examples(&[
            "run --token $TOKEN --topics users,billing --policy-dir policy",
            "run --token $TOKEN --engine opa --opa-url http://localhost:8181",
        ]))
        .arg(
            // OPAL's choice between web servers; the value misspells its own default.
            Arg::new("engine-type")
                .long("engine-type")
                .hide(true)
                .value_parser(["uvicorn", "uvicron", "gunicorn"]),
        )
        .args(flags())
}

pub(super) fn print_config_command() -> Command {
    Command::new("print-config")
        .about(
            "Shows every setting of `run`, its value, and where it comes from; secrets are masked",
        )
        .after_help(examples(&["print-config --format json --topics users"]))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .help("how to print")
                .value_parser(value_parser!(PrintFormat))
                .default_value("table"),
        )
        .args(flags())
}

fn flags() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("TOML file with settings [env: GIRASOL_CONFIG]")
        .value_parser(value_parser!(PathBuf));
    std::iter::once(file).chain(SETTINGS.iter().map(flag)).collect()
}

fn flag(setting: &'static Setting) -> Arg {
    let default = setting.default.map_or_else(String::new, |text| format!(" [default: {text}]"));
    let variables = setting.variables().join(", ");
    Arg::new(setting.name)
        .long(setting.flag())
        .value_name(setting.placeholder())
        .allow_negative_numbers(true)
        .help(format!("{}{default} [env: {variables}]", setting.help))
}

fn resolve(matches: &ArgMatches) -> Result<Resolved, Failure> {
    Ok(Resolved::new(&Sources {
        flag: &|name| matches.get_one::<String>(name).cloned(),
        variable: &|name| variable(&[name]),
        file: matches.get_one::<PathBuf>("config").cloned(),
    })?)
}

pub(super) fn print_config(matches: &ArgMatches) -> Result<(), Failure> {
    let format = matches.get_one::<PrintFormat>("format").copied().unwrap_or(PrintFormat::Table);
    say(resolve(matches)?.print(format).trim_end());
    Ok(())
}

pub(super) fn run(matches: &ArgMatches, own: OwnFetchers) -> Result<(), Failure> {
    let settings = Settings::new(&resolve(matches)?)?;
    logging::init(settings.log_level, settings.log_format);
    let names: Vec<String> =
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let unfollowed = unfollowed(names.iter().map(String::as_str));
    if !unfollowed.is_empty() {
        let names = unfollowed.join(", ");
        tracing::warn!(%names, "these variables of OPAL mean nothing to this agent");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::run(format!("no threads to run on: {error}")))?;
    let done = runtime.block_on(runtime::run_with(settings, own));
    // A fetch that is still under way has nobody left to answer to.
    runtime.shutdown_background();
    done.map_err(|error| Failure::run(error.to_string()))
}
