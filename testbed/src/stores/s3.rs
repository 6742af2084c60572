//! A real S3-compatible store: versitygw, which keeps its objects in a folder.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::authority::Authority;
use crate::http::{Answer, http_client};
use crate::parts::Part;
use crate::process::{Logs, Process, command, free_port, own_folder};

const START_WITHIN: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(10);
const ID: &str = "GIRASOLTEST";
const SECRET: &str = "a secret of versitygw's";
/// The only bucket.
const BUCKET: &str = "data";

/// A store on a port of 127.0.0.1 with the empty bucket `data`, in the region `us-east-1`. Killed
/// when dropped.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    endpoint: String,
    /// The file of the authority that it shows a certificate of.
    trusted: Option<std::path::PathBuf>,
    _folder: TempDir,
}

// === impl S3 ===

impl S3 {
    /// A store without TLS.
    ///
    /// # Errors
    /// versitygw is missing, or did not get ready; the message has what it wrote.
    pub async fn start() -> Result<Self> {
        Self::start_as(None).await
    }

    /// A store with a certificate of this authority for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// Those of [`S3::start`].
    pub async fn start_with_tls(authority: &Authority) -> Result<Self> {
        Self::start_as(Some(authority)).await
    }

    async fn start_as(authority: Option<&Authority>) -> Result<Self> {
        let folder = own_folder("s3")?;
        let objects = folder.path().join("objects");
        std::fs::create_dir_all(objects.join(BUCKET)).context("making the bucket")?;
        let port = free_port()?;
        let mut store = command(Part::Versitygw.find()?);
        store.env("ROOT_ACCESS_KEY", ID).env("ROOT_SECRET_KEY", SECRET);
        store.arg("--port").arg(format!("127.0.0.1:{port}")).args(["--health", "/healthz"]);
        let mut scheme = "http";
        if let Some(authority) = authority {
            let names = ["localhost", "127.0.0.1"];
            let (certificate, key) = authority.issue(folder.path(), "server", &names)?;
            store.arg("--cert").arg(certificate).arg("--key").arg(key);
            scheme = "https";
        }
        store.arg("posix").arg(&objects);
        let process = Process::spawn("versitygw", store).context("starting versitygw")?;
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        let trusted = authority.map(Authority::file);
        let mut store = Self { process, endpoint, trusted, _folder: folder };
        store.ready().await?;
        Ok(store)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The key's id and secret.
    pub fn keys(&self) -> (&'static str, &'static str) {
        (ID, SECRET)
    }

    /// What the store wrote: a line a request, with its status.
    pub fn logs(&self) -> &Logs {
        self.process.logs()
    }

    /// Puts an object into the bucket, with these headers. `key` is encoded as in an address.
    ///
    /// # Errors
    /// `curl`, whose signature is not of our making, is missing, or the store refused.
    pub async fn put(&self, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--request", "PUT"]);
        curl.args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{ID}:{SECRET}")]);
        curl.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        for (name, value) in headers {
            curl.arg("--header").arg(format!("{name}: {value}"));
        }
        if let Some(file) = &self.trusted {
            curl.arg("--cacert").arg(file);
        }
        curl.args(["--data-binary", "@-", &format!("{}/{BUCKET}/{key}", self.endpoint)]);
        curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = curl.kill_on_drop(true).spawn().context("starting curl")?;
        let mut stdin = child.stdin.take().context("curl's input")?;
        let written = async move { stdin.write_all(body).await };
        let (written, output) = tokio::join!(written, child.wait_with_output());
        let output = output.context("running curl")?;
        if !output.status.success() {
            let (out, error) = (&output.stdout, &output.stderr);
            bail!("curl: {}{}", String::from_utf8_lossy(error), String::from_utf8_lossy(out));
        }
        written.context("writing to curl")
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        let health = format!("{}/healthz", self.endpoint);
        let http = http_client()?;
        loop {
            let answer = Answer::of(http.get(&health)).await;
            if !self.process.is_running() {
                bail!("versitygw ended; it wrote:\n{}", self.process.logs());
            }
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                // Nobody is trusted here; that there is TLS is enough.
                Err(error) if format!("{error:#}").contains("certificate") => return Ok(()),
                _ if Instant::now() > deadline => {
                    bail!("versitygw was not ready in {START_WITHIN:?}:\n{}", self.process.logs())
                }
                _ => sleep(ASK_EVERY).await,
            }
        }
    }
}
