//! A real browser that opens a page and says what became of it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::parts::Part;
use crate::process::command;

/// How long a page may take. The browser's own clock is virtual: it stands still while something
/// is loaded, and jumps over what is only waited for.
const WITHIN: Duration = Duration::from_secs(60);

/// Opens a page, lets its scripts run until nothing is left to do, and returns the document as it
/// is then, as HTML. Each call is a browser of its own, without memory of another.
///
/// # Errors
/// There is no browser, or it did not end in time; the message has what it said.
pub async fn open_page(url: &str) -> Result<String> {
    let profile = TempDir::new()?;
    let mut browser = command(Part::Browser.find()?);
    browser
        // The test may run as root, for which the browser has no sandbox.
        .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(WITHIN, browser.output()).await.context("the browser did not end")??;
    if !ended.status.success() {
        bail!(
            "the browser ended with {}: {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}
