//! One check of a grant, with few and with many grants of other tokens. The program that measures is
//! `grants/tests/speed.rs`: it needs no other part, and runs as the agent is built and as the
//! Worker is.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use testbed::checkout;
use tokio::process::Command;

use super::super::report::{Figure, Report};

/// Where it runs: its name, how it is built, and what 99 of 100 checks are not to exceed, in µs.
const PLACES: [(&str, &[&str], f64); 2] = [
    ("agent", &["--release"], 20.0),
    ("wasm", &["--profile", "edge", "--target", "wasm32-unknown-unknown"], 100.0),
];

/// What the program prints for each number of grants.
#[derive(Debug, PartialEq, Deserialize)]
struct Line {
    grants: u64,
    p50: f64,
    p99: f64,
}

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    for (place, build, target) in PLACES {
        let mut fewest: Option<Figure> = None;
        for Line { grants, p50, p99 } in run(build).await? {
            let name = |what: &str| format!("{place}, a check with {grants} grants, {what}");
            let median = Figure::new(name("p50"), p50, "µs");
            // It does not grow with the grants of others.
            report.add(fewest.iter().fold(median.clone(), Figure::beside));
            report.add(Figure::new(name("p99"), p99, "µs").target(target));
            fewest.get_or_insert(median);
        }
    }
    Ok(())
}

async fn run(build: &[&str]) -> Result<Vec<Line>> {
    // With all variables: how cargo builds, and what runs WebAssembly, are among them.
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout()).args(["test", "--package", "grants"]).args(build);
    cargo.args(["--test", "speed", "--", "--include-ignored", "--nocapture"]);
    let output = cargo.output().await.context("running cargo")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let lines = lines(&printed);
    if !output.status.success() || lines.is_empty() {
        bail!("cargo {build:?} printed:\n{printed}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(lines)
}

/// The program's lines among those of the test harness.
fn lines(printed: &str) -> Vec<Line> {
    printed.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_harness_says_is_no_figure() {
        let printed = "running 1 test\n{\"grants\":100,\"p50\":0.5,\"p99\":1}\n.\n";
        assert_eq!(lines(printed), [Line { grants: 100, p50: 0.5, p99: 1.0 }]);
    }
}
