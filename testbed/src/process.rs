//! A child process: how it starts, speaks and ends.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// Lines kept of a child's output. Enough for the story of a test, not for a benchmark's.
const KEPT_LINES: usize = 2_000;
/// How often is looked whether a signal has had its effect, every few milliseconds.
const HOLD_LOOKS: u32 = 1_000;
/// Lines shown in an error message.
const SHOWN_LINES: usize = 40;
/// Ports that neither a service is known by nor Linux gives to outgoing connections.
const LISTENING: RangeInclusive<u16> = 12_000..=32_000;
/// What a child sees of our environment. Everything else is stated by whoever starts it, so that a
/// developer's own `GIRASOL_…` or `OPAL_…` variables do not reach it.
const PASSED_ON: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "LANG", "RUST_BACKTRACE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A running child with its output collected. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    logs: Logs,
    started: Instant,
}

/// The last lines that a child wrote, standard output and error together.
#[derive(Debug, Clone)]
pub struct Logs {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// How many output streams are still open; touched at every line, so that waiters look again.
    open: Arc<watch::Sender<usize>>,
    shown: Arc<AtomicBool>,
    file: Option<Arc<File>>,
}

/// A command for `program` that sees only the few variables of ours that any program needs.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A folder below the system's temporary one, for what a program writes beside itself.
pub(crate) fn own_folder(name: &str) -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("girasol-{name}-")).tempdir()?)
}

/// The ports that [`free_port`] has given: while its owner is away, a port looks free.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that nothing listens on at this moment, for what must come back on it. No
/// other call in this process gives the same one.
///
/// It is below the ports that the system gives to outgoing connections. One of those could
/// otherwise take it while its owner is away; even somebody who only tries to connect to it would
/// in the end be connected to itself.
///
/// # Errors
/// The system has no free port.
pub fn free_port() -> Result<u16> {
    let mut random = [0; 2];
    for _ in 0..1_000 {
        getrandom::fill(&mut random).map_err(|error| anyhow!("no random bytes: {error}"))?;
        let port =
            LISTENING.start() + u16::from_ne_bytes(random) % (LISTENING.end() - LISTENING.start());
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("no port of {}-{} is free on 127.0.0.1", LISTENING.start(), LISTENING.end())
}

// === impl Process ===

impl Process {
    /// Starts `command`; `name` is what error messages call it.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn spawn(name: impl Into<String>, command: Command) -> Result<Self> {
        Self::spawn_logging(name, command, None)
    }

    /// The same, and every line it writes is also appended to `file`.
    ///
    /// # Errors
    /// The program could not be started, or the file not be opened.
    pub fn spawn_logging(
        name: impl Into<String>,
        mut command: Command,
        file: Option<&Path>,
    ) -> Result<Self> {
        let name = name.into();
        let open_file = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map(Arc::new).with_context(|| format!("opening {}", path.display()))
        };
        let file = file.map(open_file).transpose()?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| {
            format!("starting {name} ({})", command.as_std().get_program().to_string_lossy())
        })?;
        let pid = child.id().ok_or_else(|| anyhow!("{name} ended as it was started"))?;
        let open = Arc::new(watch::Sender::new(2));
        let logs = Logs { lines: Arc::default(), open, shown: Arc::default(), file };
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            logs.follow(out);
            logs.follow(err);
        }
        Ok(Self { name, child, pid, logs, started })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it wrote so far.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Waits for a line of which `pick` makes something.
    ///
    /// # Errors
    /// The process ended, or `within` passed, before that line. The message has its last lines.
    pub async fn wait_for_line<T>(
        &mut self,
        within: Duration,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        match timeout(within, self.logs.wait_for(pick)).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.ended().await),
            Err(_) => {
                bail!("{} did not get ready in {within:?}; it wrote:\n{}", self.name, self.logs)
            }
        }
    }

    /// Waits until it ends by itself, and says how it did, with its last lines.
    pub async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("{} ended with {status}; it wrote:\n{}", self.name, self.logs),
            Err(error) => error.into(),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// The system lost track of it.
    pub async fn kill(&mut self) -> Result<()> {
        if self.is_running() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Sends it a signal, named without its `SIG`, such as `STOP`; nothing if it has ended.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn signal(&mut self, name: &str) -> Result<()> {
        if self.is_running() {
            // The standard library has only SIGKILL, and `unsafe` is forbidden here.
            let signal = format!("-{name}");
            let sent = Command::new("kill").args([&signal, &self.pid.to_string()]).status().await;
            sent.with_context(|| format!("running `kill {signal}` on {}", self.name))?;
        }
        Ok(())
    }

    /// Holds it, as a machine without time for it would, or lets it go on; answers when it is so.
    ///
    /// # Errors
    /// The signal could not be sent, or had no effect.
    pub async fn hold(&mut self, held: bool) -> Result<()> {
        self.signal(if held { "STOP" } else { "CONT" }).await?;
        let state = format!("/proc/{}/stat", self.pid);
        for _ in 0..HOLD_LOOKS {
            let line = tokio::fs::read_to_string(&state).await.unwrap_or_default();
            // The state follows the name, which can have anything in it.
            let stopped = line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
            if stopped == held || line.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("{} was not {}", self.name, if held { "stopped" } else { "woken" })
    }

    /// Asks it to end (SIGTERM) and waits. `None`: it had not ended after `within` and was killed.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn terminate(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        self.signal("TERM").await?;
        match timeout(within, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => {
                self.child.kill().await?;
                Ok(None)
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} (process {}) wrote:\n{}", self.name, self.pid, self.logs);
        }
    }
}

// === impl Logs ===

impl Logs {
    /// The kept lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits for a line of which `pick` makes something; lines already written count. `None`: the
    /// output ended without one.
    pub async fn wait_for<T>(&self, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let mut open = self.open.subscribe();
        loop {
            let ended = *open.borrow_and_update() == 0;
            if let Some(found) = self.lines().iter().find_map(|line| pick(line)) {
                return Some(found);
            }
            if ended || open.changed().await.is_err() {
                return None;
            }
        }
    }

    /// From now on also writes each line to our standard error.
    pub fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    fn follow(&self, stream: impl AsyncRead + Send + Unpin + 'static) {
        let logs = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                logs.push(String::from_utf8_lossy(&line).into_owned());
            }
            logs.open.send_modify(|open| *open = open.saturating_sub(1));
        });
    }

    fn push(&self, line: String) {
        if self.shown.load(Ordering::Relaxed) {
            eprintln!("{line}");
        }
        if let Some(mut file) = self.file.as_deref() {
            // A full disk must not end what is watched.
            let _ = writeln!(file, "{line}");
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
        drop(lines);
        self.open.send_modify(|_| ());
    }
}

impl std::fmt::Display for Logs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.lines();
        if lines.is_empty() {
            return out.write_str("  (nothing)");
        }
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        let mut sh = command("sh");
        sh.args(["-c", script]);
        Process::spawn("sh", sh).unwrap()
    }

    #[tokio::test]
    async fn a_line_is_found_whether_it_came_before_or_after_the_wait() {
        let mut process = shell("echo one; echo two >&2; sleep 60");
        let is = |wanted: &'static str| move |line: &str| (line == wanted).then_some(());
        process.wait_for_line(SOON, is("two")).await.unwrap();
        process.wait_for_line(SOON, is("one")).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_ends_too_early_is_an_error_with_its_last_words() {
        let mut process = shell("echo the port is taken >&2; exit 3");
        let error = process.wait_for_line(SOON, |_| None::<()>).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("the port is taken"), "{error}");
    }

    #[tokio::test]
    async fn terminate_gives_the_exit_code_and_kills_what_does_not_listen() {
        let ready = |line: &str| (line == "ready").then_some(());
        let mut polite = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        polite.wait_for_line(SOON, ready).await.unwrap();
        assert_eq!(polite.terminate(SOON).await.unwrap().unwrap().code(), Some(7));

        let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        deaf.wait_for_line(SOON, ready).await.unwrap();
        assert!(deaf.terminate(Duration::from_millis(50)).await.unwrap().is_none());
        assert!(!deaf.is_running());
    }

    #[tokio::test]
    async fn a_child_does_not_see_our_other_variables() {
        let mut process = shell("env; echo end");
        process.wait_for_line(SOON, |line| (line == "end").then_some(())).await.unwrap();
        assert!(!process.logs().lines().iter().any(|line| line.starts_with("CARGO")));
    }
}
