//! A program from its start to its end, within limits.

use std::io::{self, ErrorKind};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

use super::Program;

/// Limits the memory and becomes the program, so that there is no moment without the limit. The
/// limit is on data, not on addresses: programs of some languages reserve far more addresses than
/// they ever use.
const LIMITED: &str = r#"ulimit -d "$0" || exit 126; exec "$@""#;

/// Bytes of a program's standard error that are kept: the last ones.
const KEPT_WORDS: usize = 4 << 10;

/// What a program may use.
pub(super) struct Limits {
    pub(super) time: Duration,
    /// None if nothing is limited.
    pub(super) memory_mib: Option<u64>,
    /// Bytes of standard output.
    pub(super) output: usize,
}

/// A program that ended by itself.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    /// The end of its standard error.
    pub(super) words: Vec<u8>,
}

/// A program that did not.
#[derive(Debug)]
pub(super) enum Failed {
    Start(io::Error),
    Io(io::Error),
    Time,
    Output,
}

/// Runs `program` with `input`. It and what it started is gone when this answers or is dropped.
pub(super) async fn run(program: &Program, input: &[u8], limits: &Limits) -> Result<Ended, Failed> {
    let mut group = Group(command(program, limits).spawn().map_err(Failed::Start)?);
    let stdin = group.0.stdin.take();
    let stdout = group.0.stdout.take();
    let stderr = group.0.stderr.take();
    let work = async {
        // All at once: a program may write before it has read, and must not wait for us.
        let ((), output, words, status) = tokio::try_join!(
            tell(stdin, input),
            output_of(stdout, limits.output),
            words_of(stderr),
            group.ended(),
        )?;
        Ok(Ended { status, output, words })
    };
    tokio::time::timeout(limits.time, work).await.unwrap_or(Err(Failed::Time))
}

fn command(program: &Program, limits: &Limits) -> Command {
    let mut words = program.command.iter();
    let mut command = match limits.memory_mib {
        None => Command::new(words.next().map(String::as_str).unwrap_or_default()),
        Some(mib) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(LIMITED).arg(mib.saturating_mul(1024).to_string());
            command
        }
    };
    command.args(words).env_clear();
    for name in std::iter::once("PATH").chain(program.env.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    command
}

/// A program and all that it started and did not send away.
struct Group(Child);

impl Group {
    /// Waits for the program and ends what it left behind, which could hold its output open.
    async fn ended(&mut self) -> Result<ExitStatus, Failed> {
        // The group keeps its number for as long as somebody is in it.
        let group = self.number();
        let status = self.0.wait().await.map_err(Failed::Io)?;
        end(group);
        Ok(status)
    }

    /// None once the program was waited for.
    fn number(&self) -> Option<Pid> {
        self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end(self.number());
    }
}

fn end(group: Option<Pid>) {
    if let Some(group) = group {
        // An error says that nobody is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Writes the entry. A program that needs none of it may close its input.
async fn tell(stdin: Option<ChildStdin>, input: &[u8]) -> Result<(), Failed> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(input).await {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failed::Io(error)),
        _ => Ok(()),
    }
}

async fn output_of(
    stdout: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> Result<Vec<u8>, Failed> {
    let mut output = Vec::new();
    let Some(stdout) = stdout else { return Ok(output) };
    let most = (limit as u64).saturating_add(1);
    stdout.take(most).read_to_end(&mut output).await.map_err(Failed::Io)?;
    if output.len() > limit { Err(Failed::Output) } else { Ok(output) }
}

/// The end of what a program says; all of it is read, so that it never waits for us.
async fn words_of(stderr: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Failed> {
    let mut words = Vec::new();
    let Some(mut stderr) = stderr else { return Ok(words) };
    loop {
        let read = stderr.read_buf(&mut words).await.map_err(Failed::Io)?;
        words.drain(..words.len().saturating_sub(KEPT_WORDS));
        if read == 0 {
            return Ok(words);
        }
    }
}
