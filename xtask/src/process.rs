//! Starting other programs, and telling what failed and what to do about it.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Error, Result, bail};

/// How to get a program that is not there.
const SOURCES: &[(&str, &str)] = &[
    ("apt-get", "it is part of Debian"),
    ("cargo", "install Rust from https://rustup.rs"),
    ("dpkg-deb", "it is part of Debian"),
    ("go", "install Go from https://go.dev/dl"),
    ("npm", "install Node.js 20.3 or later, which brings npm, from https://nodejs.org"),
    ("rustc", "install Rust from https://rustup.rs"),
    ("rustup", "install it from https://rustup.rs"),
];

/// A program about to be started.
///
/// What `cargo run` set for us would be wrong below us: build scripts and tools look at it, so
/// crates would be compiled anew each time somebody changes between `cargo xtask` and plain
/// `cargo`.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end; the program's output is ours.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| not_started(command, error))?;
    check(command, status)
}

/// Runs to the end; shows the program's output on a terminal, elsewhere only if it failed.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    if io::stderr().is_terminal() {
        return run(command);
    }
    command.stdin(Stdio::null());
    let output = command.output().map_err(|error| not_started(command, error))?;
    if !output.status.success() {
        let mut stderr = io::stderr().lock();
        stderr.write_all(&output.stdout)?;
        stderr.write_all(&output.stderr)?;
    }
    check(command, output.status)
}

/// Runs to the end without showing anything: for what may well fail, and then goes another way.
/// The error holds the program's own first error line.
pub(crate) fn run_silently(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let output = command.output().map_err(|error| not_started(command, error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let says_error = |line: &&str| line.to_lowercase().contains("error");
        let reason = stderr.lines().find(says_error).or_else(|| stderr.lines().last());
        bail!("`{}`: {}", describe(command), reason.unwrap_or("failed").trim());
    }
    Ok(())
}

/// What the program prints on its standard output.
pub(crate) fn read(command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| not_started(command, error))?;
    check(command, output.status)?;
    Ok(output.stdout)
}

/// Like [`read`], as text without the line end.
pub(crate) fn read_text(command: &mut Command) -> Result<String> {
    let text = String::from_utf8(read(command)?)
        .with_context(|| format!("`{}` did not print text", describe(command)))?;
    Ok(text.trim_end().to_owned())
}

/// Becomes the program, so that its exit code and the signals sent to us are its own.
/// Returns only if it could not be started.
pub(crate) fn become_program(command: &mut Command) -> Error {
    let error = command.exec();
    not_started(command, error)
}

/// The program on `PATH` with this name.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn not_started(command: &Command, error: io::Error) -> Error {
    let program = command.get_program();
    let source = SOURCES.iter().find(|(name, _)| program == OsStr::new(name));
    match (error.kind(), source) {
        (io::ErrorKind::NotFound, Some((name, source))) => {
            Error::msg(format!("`{name}` was not found: {source}"))
        }
        _ => Error::new(error).context(format!("cannot start `{}`", describe(command))),
    }
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status}); its own message is above", describe(command));
    }
    Ok(())
}

/// The command line as a person would type it, cut where it gets long.
fn describe(command: &Command) -> String {
    const LONG: usize = 100;
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        if line.len() > LONG {
            line.push_str(" …");
            break;
        }
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_exit_code() {
        let error = run(command("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c exit 3` failed (exit status: 3)"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_source() {
        let error = not_started(&command("npm"), io::ErrorKind::NotFound.into()).to_string();
        assert!(error.contains("Node.js"), "{error}");
        let error = run(&mut command("/no/such/program")).unwrap_err().to_string();
        assert!(error.contains("cannot start `program`"), "{error}");
    }

    #[test]
    fn a_silent_failure_holds_the_line_that_says_why() {
        let script = "echo starting >&2; echo error: no network >&2; echo bye >&2; exit 1";
        let error = run_silently(command("sh").args(["-c", script])).unwrap_err().to_string();
        assert!(error.ends_with(": error: no network"), "{error}");
    }

    #[test]
    fn what_a_program_prints_is_read_without_the_line_end() {
        assert_eq!(read_text(command("echo").arg("1.95.0")).unwrap(), "1.95.0");
    }

    #[test]
    fn variables_of_our_own_package_do_not_reach_other_programs() {
        let text = read_text(&mut command("env")).unwrap();
        for variable in ["CARGO=", "CARGO_PKG_NAME=", "CARGO_MANIFEST_DIR="] {
            assert!(!text.lines().any(|line| line.starts_with(variable)), "{variable}");
        }
        assert!(text.contains("PATH="));
    }
}
