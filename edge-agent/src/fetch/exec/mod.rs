//! `exec:NAME`: a program of the operator's own, in any language. An update names it by the name
//! that it has in the agent's configuration; it can name no program of its own, and no argument.
//!
//! The program is given the entry as one JSON object on its standard input, with its secrets
//! filled in, and writes an object or an array on its standard output. Exit code 0 is success.
//! The last lines of its standard error are in the error; the codes in [`PERMANENT`] say that
//! another try would fail in the same way, every other code and every signal is tried again.
//!
//! It runs in a process group of its own, which is killed when its time is over, when it writes
//! too much, when nobody waits for it any longer, and what is left of it when it ends.
//!
//! | question | file |
//! |---|---|
//! | How is a program registered? | `program.rs` |
//! | How is it started, fed, limited and ended? | `process.rs` |

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

pub use program::{Program, programs};

use super::{FetchError, Fetcher, Means, Source};
use crate::json::Json;
use crate::secrets::CUT;
use process::{Ended, Failed, Limits};

mod process;
mod program;

/// What comes before a program's name in `config.fetcher`.
pub const PREFIX: &str = "exec:";

/// Exit codes that say that the entry or the program's own set-up is wrong: `EX_USAGE`,
/// `EX_DATAERR` and `EX_CONFIG` of `sysexits.h`.
pub const PERMANENT: [i32; 3] = [64, 65, 78];

/// What a shell exits with where it cannot start a program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Letters of a program's last words that an error has.
const SHOWN: usize = 400;

/// Lines of them.
const SHOWN_LINES: usize = 3;

/// From here on, a value in an address may be a secret.
const SECRET_BYTES: usize = 4;

/// How much longer than a program's own time the caller waits, so that it hears why there is
/// nothing.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that a program may end by, for people.
const SIGNALS: [(i32, &str); 12] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
];

/// One registered program.
pub struct ExecFetcher {
    name: String,
    program: Program,
    limits: Limits,
}

/// What the program is given.
#[derive(Serialize)]
struct Entry<'s> {
    url: &'s str,
    config: Option<&'s RawValue>,
}

impl ExecFetcher {
    /// The fetcher of `program`, which may take the settings' time unless it has its own, and
    /// write [`Means::max_bytes`].
    #[must_use]
    pub fn new(program: Program, means: &Means) -> Self {
        let limits = Limits {
            time: program.timeout.unwrap_or(means.timeout),
            memory_mib: program.max_memory_mib,
            output: means.max_bytes,
        };
        Self { name: format!("{PREFIX}{}", program.name), program, limits }
    }

    async fn run(&self, source: &Source) -> Result<Json, FetchError> {
        let name = &self.name;
        let entry = Entry { url: &source.url, config: source.config.as_deref() };
        let entry = serde_json::to_vec(&entry)
            .map_err(|error| FetchError::permanent(format!("{name}: the entry: {error}")))?;
        let ended = process::run(&self.program, &entry, &self.limits)
            .await
            .map_err(|failed| FetchError::new(format!("{name} {}", self.why(&failed))))?;
        if !ended.status.success() {
            return Err(self.failure(&ended, source));
        }
        document(ended.output).map_err(|reason| FetchError::new(format!("{name} {reason}")))
    }

    fn why(&self, failed: &Failed) -> String {
        match failed {
            Failed::Start(error) => format!("cannot be started: {error}"),
            Failed::Io(error) => format!("cannot be talked to: {error}"),
            Failed::Time => {
                format!("took longer than {} s and was ended", self.limits.time.as_secs())
            }
            Failed::Output => {
                format!("wrote more than the limit of {} bytes and was ended", self.limits.output)
            }
        }
    }

    fn failure(&self, ended: &Ended, source: &Source) -> FetchError {
        let words = last_words(&ended.words, source);
        let words = if words.is_empty() { words } else { format!(": {words}") };
        let message = format!("{} {}{words}", self.name, how(ended.status));
        match ended.status.code() {
            Some(code) if PERMANENT.contains(&code) => FetchError::permanent(message),
            _ => FetchError::new(message),
        }
    }
}

impl Fetcher for ExecFetcher {
    fn name(&self) -> &str {
        &self.name
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.limits.time.saturating_add(GRACE))
    }

    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Result<Json, FetchError>> {
        Box::pin(self.run(source))
    }
}

/// How a program ended that did not succeed.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) if NOT_STARTED.contains(&code) => {
            format!("cannot be started (exit code {code})")
        }
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => SIGNALS.iter().find(|(number, _)| *number == signal).map_or_else(
            || format!("died of signal {signal}"),
            |(_, name)| format!("died of {name}"),
        ),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// The last lines that a program wrote to its standard error, as one short line. A password of
/// the address, which many clients repeat in their errors, is taken out.
fn last_words(words: &[u8], source: &Source) -> String {
    let text = String::from_utf8_lossy(words);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
    let mut line = last.join(" / ");
    for secret in address_secrets(&source.url) {
        line = line.replace(&secret, "****");
    }
    let line: String = line.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    // The end says more than the beginning: what failed comes after where.
    match line.chars().count().saturating_sub(SHOWN) {
        0 => line,
        surplus => CUT.chars().chain(line.chars().skip(surplus)).collect(),
    }
}

/// The password of an address and its values after the `?`, as written and as meant.
fn address_secrets(url: &str) -> Vec<String> {
    let Ok(url) = Url::parse(url) else { return vec![] };
    let written =
        url.password().into_iter().map(str::to_owned).chain(url.query().map(str::to_owned));
    let password = url.password().and_then(|it| {
        let pair = format!("p={}", it.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    });
    // A page's number is no secret, and is in many a line that means something else.
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let values = values.filter(|value| value.len() >= SECRET_BYTES);
    let mut all: Vec<String> = written.chain(password).chain(values).collect();
    all.retain(|secret| !secret.is_empty());
    // A longer one may have a shorter one inside.
    all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all
}

/// What the program wrote, as data.
fn document(output: Vec<u8>) -> Result<Json, String> {
    let text = String::from_utf8(output).map_err(|_| "wrote what is not UTF-8".to_owned())?;
    let value: &RawValue = match text.trim() {
        "" => return Err("wrote nothing; it must write a JSON object or array".to_owned()),
        text => serde_json::from_str(text)
            .map_err(|error| format!("wrote what is not JSON: {error}"))?,
    };
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => Ok(Json::known(value.get().to_owned())),
        Some(b'n') => Err("wrote null: Fetched data is empty".to_owned()),
        _ => Err("wrote a bare JSON value; data is an object or an array".to_owned()),
    }
}

#[cfg(test)]
mod tests;
