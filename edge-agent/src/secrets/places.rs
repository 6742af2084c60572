//! Where secrets are: variables, files, a command. Nothing is kept of the first two, so that a
//! secret that changes is the new one at its next use; what the command gave is kept for a
//! minute.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

use crate::fetch::FetchError;
use crate::settings::Secret;

/// How the names of variables begin.
const PREFIX: &str = "GIRASOL_SECRET_";
/// Bytes of the longest secret.
const MAX_BYTES: u64 = 64 << 10;
/// For how long the command's answer is good.
const KEPT: Duration = Duration::from_secs(60);
/// The time that the command may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The secret of a variable: of this very name, else of the name as shells can write it.
pub(super) fn variable(name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let shell = || format!("{PREFIX}{}", name.replace(['-', '.'], "_").to_ascii_uppercase());
    let found = lookup(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty());
    found.or_else(|| lookup(&shell()).filter(|value| !value.is_empty())).map(Secret::new)
}

/// The secret of a file of the folder; none if there is no such file.
pub(super) async fn file(name: &str, dir: &Path) -> Result<Option<Secret>, FetchError> {
    let path = dir.join(name);
    let text = match read(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(FetchError::new(format!("secret `{name}`: its file: {error}")));
        }
    };
    let text = without_line_end(text);
    Ok(Some(text).filter(|text| !text.is_empty()).map(Secret::new))
}

async fn read(path: &Path) -> io::Result<String> {
    let other = |reason: &str| io::Error::other(reason.to_owned());
    // Opening what is no file, such as a pipe, may take for ever.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(other("it is not a file"));
    }
    let file = tokio::fs::File::open(path).await?;
    text(file).await?.ok_or_else(|| other("it is not text of at most 64 KiB"))
}

/// Everything that can be read, if it is text and not too much.
async fn text(from: impl tokio::io::AsyncRead + Unpin) -> io::Result<Option<String>> {
    let mut bytes = vec![];
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes).await?;
    let fits = bytes.len() as u64 <= MAX_BYTES;
    Ok(String::from_utf8(bytes).ok().filter(|_| fits))
}

/// Editors and `echo` end a file with a line end that is no part of the secret.
fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// What is said of a secret that is in none of the places.
pub(super) fn nowhere(name: &str, dir: Option<&Path>) -> FetchError {
    let dir = dir
        .map_or("the setting secrets_dir names none".to_owned(), |dir| dir.display().to_string());
    FetchError::new(format!(
        "there is no secret `{name}`: set {PREFIX}{name}, or put it into a file of that name in the \
         secrets folder ({dir}), or give a secrets_command"
    ))
}

/// A program that is run with a secret's name and prints the secret.
pub(super) struct Command {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
    kept: Lock<HashMap<String, Arc<Slot>>>,
}

/// One secret of the command. Who asks while it is being asked waits for the same answer.
type Slot = Mutex<Option<(Secret, Instant)>>;

impl Command {
    /// The program and its first arguments; none without a program.
    pub(super) fn new(line: &[String]) -> Option<Self> {
        let (program, arguments) = line.split_first()?;
        Some(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            timeout: TIMEOUT,
            kept: Lock::default(),
        })
    }

    /// The secret, and since when we have it.
    pub(super) async fn ask(&self, name: &str) -> Result<(Secret, Instant), FetchError> {
        let slot = Arc::clone(self.slots().entry(name.to_owned()).or_default());
        let mut kept = slot.lock().await;
        if let Some((secret, since)) = &*kept
            && since.elapsed() < KEPT
        {
            return Ok((secret.clone(), *since));
        }
        *kept = None;
        let run = tokio::time::timeout(self.timeout, self.run(name)).await;
        let answer = run.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        match answer {
            Ok(secret) => {
                let answer = (Secret::new(secret), Instant::now());
                *kept = Some(answer.clone());
                Ok(answer)
            }
            Err(reason) => {
                // Names are the publishers' choice: those that lead nowhere are not kept.
                self.slots().remove(name);
                Err(FetchError::new(format!(
                    "secret `{name}`: the secrets_command does not give it: {reason}"
                )))
            }
        }
    }

    /// Forgets what was given at `since`; what was given later stays.
    pub(super) fn forget(&self, name: &str, since: Instant) {
        let slot = self.slots().get(name).map(Arc::clone);
        // If somebody holds it, it is being asked for again anyway.
        if let Some(slot) = slot
            && let Ok(mut kept) = slot.try_lock()
        {
            kept.take_if(|(_, kept_since)| *kept_since <= since);
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it once. What it writes to standard error is for whoever runs it by hand: it may
    /// hold anything.
    async fn run(&self, name: &str) -> Result<String, String> {
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("it cannot be run: {error}"))?;
        let output = child.stdout.take().ok_or("it has no output")?;
        let printed = text(output).await.map_err(|error| error.to_string())?;
        let Some(printed) = printed else {
            return Err("it prints more than 64 KiB, or what is not text".to_owned());
        };
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("it ends with {status}; run it by hand to see why"));
        }
        match without_line_end(printed) {
            secret if secret.is_empty() => Err("it prints nothing".to_owned()),
            secret => Ok(secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended() {
        let line = ["/bin/sh", "-c", "exec sleep 600"].map(str::to_owned);
        let timeout = Duration::from_millis(50);
        let command = Command { timeout, ..Command::new(&line).unwrap() };
        let error = command.ask("X").await.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("takes too long"), "{error}");
        assert!(command.slots().is_empty());
    }

    #[tokio::test]
    async fn what_the_command_gave_is_no_longer_good_after_a_while() {
        let line = ["/bin/sh", "-c", "echo new"].map(str::to_owned);
        let command = Command::new(&line).unwrap();
        for (ago, expected) in [(Duration::ZERO, "old"), (KEPT, "new")] {
            let since = Instant::now().checked_sub(ago).unwrap();
            let kept = Some((Secret::new("old".to_owned()), since));
            command.slots().insert("X".to_owned(), Arc::new(Slot::new(kept)));
            assert_eq!(command.ask("X").await.unwrap().0.expose(), expected);
        }
    }
}
