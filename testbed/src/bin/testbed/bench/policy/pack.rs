//! The memory of workerd while a function fetches a pack of 20 MB, most of it no policy.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::json;
use testbed::{Functions, GitServer, Repository};

use super::{policy, refresh};
use crate::bench::memory::{peak_mib, resident_mib};
use crate::bench::report::{Figure, Report};

/// Six bits of each byte are random, so a pack holds three quarters of them.
const FILES: usize = 28;
const FILE_BYTES: usize = 1_000_000;
/// An isolate's memory on Cloudflare.
const ISOLATE_MIB: f64 = 128.0;

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut files = vec![policy(0, 0)];
    files.extend((0..FILES).map(|number| (format!("assets/{number}.txt"), random.text())));
    let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let repository = Repository::with(&files).await?;
    let git = GitServer::start()?;
    // Hosts that can leave out large files send fewer bytes.
    git.set_filter(false);
    let url = git.serve("policy", &repository);
    // Away at first: what the functions take without the repository is not counted.
    git.fail_with(Some(503))?;
    let functions = Functions::builder()?.var("GIRASOL_POLICY_REPO_URL", url).start().await?;
    let ds = functions.mint("datasource", json!({})).await?;
    let waiting = functions.request(Method::GET, "/policy", Some(&ds), None).await?;
    if waiting.status != 503 {
        bail!("a policy that is not there was answered {waiting:?}");
    }
    let (sent, before) = (git.bytes_sent(), resident_mib(functions.pid())?);
    git.fail_with(None)?;
    refresh(&functions, &ds).await?;
    let grown = peak_mib(functions.pid())? - before;
    let pack = (git.bytes_sent() - sent) as f64 / 1_000_000.0;
    report.add(Figure::new("a large pack", pack, "MB"));
    let name = "workerd's memory at most while it is fetched, over before";
    report.add(Figure::new(name, grown, "MiB").target(ISOLATE_MIB));
    Ok(())
}

/// Xorshift: the same text in each run.
struct Random(u64);

impl Random {
    fn text(&mut self) -> String {
        (0..FILE_BYTES).map(|_| self.letter()).collect()
    }

    fn letter(&mut self) -> char {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        char::from(b'0' + u8::try_from(self.0 >> 58).unwrap_or_default())
    }
}
