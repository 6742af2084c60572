//! PostgreSQL, on the real server.

mod connecting;
mod data;
mod failing;

use std::time::Duration;

use edge_agent::fetch::{FetchError, Means, Source};
use serde_json::{Value, json};
use testbed::Postgres;

use crate::support::fetch;

/// What the fetcher's sessions are in the server's list.
const OURS: &str = "application_name = 'girasol'";

/// The settings for a query, with the server's password.
fn config(server: &Postgres, query: &str) -> Value {
    json!({
        "fetcher": "PostgresFetchProvider",
        "query": query,
        "connection_params": {"password": server.password()},
    })
}

fn source(server: &Postgres, query: &str) -> Source {
    let config = serde_json::value::to_raw_value(&config(server, query)).unwrap();
    Source { url: server.url(), config: Some(config) }
}

async fn ask(server: &Postgres, query: &str) -> Result<Value, FetchError> {
    fetch(&server.url(), &config(server, query)).await
}

fn means(timeout: Duration) -> Means {
    Means::standard(timeout).unwrap()
}

/// Waits, at the server, until what it says of our sessions is so.
async fn wait_until(server: &Postgres, is_so: &str) {
    let waiting = format!(
        "DO $$ BEGIN FOR i IN 1..1000 LOOP
           PERFORM pg_stat_clear_snapshot();
           IF (SELECT {is_so} FROM pg_stat_activity WHERE {OURS}) THEN RETURN; END IF;
           PERFORM pg_sleep(0.01);
         END LOOP; RAISE EXCEPTION 'never'; END $$"
    );
    server.execute(&waiting).await.unwrap();
}
