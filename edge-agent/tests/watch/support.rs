//! What the tests share: a database with tables, and a watcher that runs until it is dropped.

use edge_agent::settings::Secret;
use edge_agent::watch::{self, Database, Mode, Plan, TablePlan, WatchError};
use serde_json::Value;
use testbed::{Part, Postgres, require};
use tokio::task::JoinHandle;

use crate::hub::Hub;

/// A server with a table `users`; none where there is no PostgreSQL.
pub(crate) async fn server() -> Option<Postgres> {
    if !require(&[Part::Postgres]).unwrap() {
        return None;
    }
    let server = Postgres::start().await.unwrap();
    let users = "CREATE TABLE users (id int PRIMARY KEY, name text, role text)";
    server.execute(users).await.unwrap();
    Some(server)
}

/// A plan for tables, each at `/` and its name.
pub(crate) fn plan(mode: Mode, tables: &[&str]) -> Plan {
    let tables = tables.iter().map(|name| TablePlan {
        name: (*name).to_owned(),
        key: vec![],
        columns: None,
        place: format!("/{}", name.rsplit('.').next().unwrap()),
        topics: vec!["t".to_owned()],
    });
    Plan {
        mode,
        tables: tables.collect(),
        slot: "girasol".to_owned(),
        publication: "girasol".to_owned(),
        install: true,
        copy: false,
    }
}

pub(crate) fn database(server: &Postgres) -> Database {
    Database::new(&server.url(), Some(server.password().to_owned())).unwrap()
}

pub(crate) fn publisher(hub: &Hub) -> watch::Hub {
    watch::Hub::new(hub.url.parse().unwrap(), Secret::new("token".to_owned())).unwrap()
}

/// A watcher. Dropped, it ends in the middle of whatever it does.
pub(crate) struct Watcher(JoinHandle<Result<(), WatchError>>);

impl Watcher {
    pub(crate) fn start(server: &Postgres, plan: &Plan, hub: &Hub) -> Self {
        Self::of(database(server), plan, hub)
    }

    pub(crate) fn of(database: Database, plan: &Plan, hub: &Hub) -> Self {
        let (plan, hub) = (plan.clone(), publisher(hub));
        Self(tokio::spawn(async move { watch::watch(&database, &plan, &hub).await }))
    }

    /// Ends it and waits until it has.
    pub(crate) async fn kill(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a plan does not work.
pub(crate) async fn refusal(server: &Postgres, plan: &Plan, hub: &Hub) -> WatchError {
    let (database, hub) = (database(server), publisher(hub));
    watch::watch(&database, plan, &hub).await.unwrap_err()
}

/// The rows of a table by their key, as the database itself makes JSON of them.
pub(crate) async fn rows(server: &Postgres, table: &str, key: &str) -> Value {
    let query = format!(
        "SELECT coalesce(jsonb_object_agg({key}::text, to_jsonb(t)), '{{}}') FROM {table} t"
    );
    serde_json::from_str(&server.execute(&query).await.unwrap()).unwrap()
}
