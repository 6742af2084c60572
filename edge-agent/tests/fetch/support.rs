//! What the tests share: fetching as the agent does.

use std::time::Duration;

use edge_agent::fetch::{FetchError, Fetchers, Means, Source};
use serde_json::Value;

/// Fetches once, as the agent would.
pub(crate) async fn fetch(url: &str, config: &Value) -> Result<Value, FetchError> {
    fetch_with(&Means::standard(Duration::from_secs(10)).unwrap(), url, config).await
}

/// The same with means of the test's own.
pub(crate) async fn fetch_with(
    means: &Means,
    url: &str,
    config: &Value,
) -> Result<Value, FetchError> {
    let config = serde_json::value::to_raw_value(config).unwrap();
    let source = Source { url: url.to_owned(), config: Some(config) };
    let data = Fetchers::standard(means).fetch(&source).await?;
    Ok(serde_json::from_str(data.get()).unwrap())
}
