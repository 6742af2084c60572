//! Decisions of the Worker itself, without an agent.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use testbed::Functions;

use super::super::report::{Figure, Report};
use super::client::{Ask, load};
use super::{PATH, POLICY, grants_of_roles, question, roles_of_users};

const LASTING: Duration = Duration::from_secs(3);

pub(super) async fn measure(report: &mut Report) -> Result<()> {
    let functions = Functions::start().await?;
    let publisher = functions.mint("datasource", json!({})).await?;
    let client = functions.mint("client", json!({})).await?;
    let files = json!({"files": {"rbac.rego": POLICY}});
    functions.request(Method::PUT, "/policy", Some(&publisher), Some(&files)).await?.ok()?;
    let update = json!({"entries": [
        {"dst_path": "/roles_of_users", "data": roles_of_users()},
        {"dst_path": "/grants_of_roles", "data": grants_of_roles()}]});
    functions.publish_ok(&publisher, &update).await?;
    let asks: Vec<_> = (0..1_000)
        .map(|number| {
            let (body, is_allowed) = question(number);
            let expected = if is_allowed { "\"result\":true" } else { "\"result\":false" };
            Ask::post(PATH, Some(&client), &body.to_string(), expected)
        })
        .collect();
    let one = load(functions.url(), &asks, 1, LASTING).await?;
    let p50 =
        Figure::milliseconds("at the edge on workerd, one at a time, p50", one.times.median());
    report.add(p50.target(2.0));
    let p99 = one.times.percentile(99);
    report.add(Figure::milliseconds("at the edge on workerd, one at a time, p99", p99));
    Ok(())
}
