//! The tables that are fetched: role assignments, as they are kept for people and in short.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::Postgres;

/// Rows of each table.
pub(super) const ROWS: usize = 100_000;

/// A table and how it is asked for.
pub(super) struct Table {
    /// What figures call it.
    pub(super) name: &'static str,
    make: &'static str,
    /// What is selected besides the number of the round.
    columns: &'static str,
    from: &'static str,
}

/// Each row is `{"id": 17, "user_id": "user-000017", "tenant": "tenant-17", "role": "editor",
/// "resource_type": "document", "resource_id": "00000000-…", "granted_at": "2024-…", "round": 3}`,
/// or `{"user": "user-000017", "role": "editor", "round": 3}`.
pub(super) const TABLES: [Table; 2] = [
    Table {
        name: "8 columns",
        make: "CREATE TABLE assignments AS SELECT
                 n::int AS id,
                 'user-' || lpad((n / 5)::text, 6, '0') AS user_id,
                 'tenant-' || n % 100 AS tenant,
                 (ARRAY['viewer', 'editor', 'owner', 'auditor'])[1 + n % 4] AS role,
                 (ARRAY['document', 'folder', 'invoice'])[1 + n % 3] AS resource_type,
                 md5(n::text)::uuid AS resource_id,
                 timestamptz '2024-01-01 00:00:00+00' + n * interval '1 minute' AS granted_at
               FROM generate_series(0, {rows} - 1) n",
        columns: "id, user_id, tenant, role, resource_type, resource_id, granted_at",
        from: "assignments",
    },
    Table {
        name: "3 columns",
        make: "CREATE TABLE roles AS SELECT
                 'user-' || lpad(n::text, 6, '0') AS \"user\",
                 (ARRAY['viewer', 'editor', 'owner', 'auditor'])[1 + n % 4] AS role
               FROM generate_series(0, {rows} - 1) n",
        columns: "\"user\", role",
        from: "roles",
    },
];

impl Table {
    pub(super) async fn make(&self, server: &Postgres) -> Result<()> {
        let make = self.make.replace("{rows}", &ROWS.to_string());
        server.execute(&make).await?;
        server.execute(&format!("ANALYZE {}", self.from)).await.map(drop)
    }

    /// Bytes of the rows as one document of JSON without spaces.
    pub(super) async fn json_bytes(&self, server: &Postgres) -> Result<f64> {
        let query = self.query(1);
        let sum =
            format!("SELECT sum(octet_length(row_to_json(t)::text) + 1) + 1 FROM ({query}) t");
        server.execute(&sum).await?.parse().context("the length of the rows")
    }

    /// The update that has the rows fetched, each with the number of the round.
    pub(super) fn update(&self, server: &Postgres, topic: &str, round: u64) -> Value {
        let config = json!({
            "fetcher": "PostgresFetchProvider",
            "query": self.query(round),
            "connection_params": {"password": server.password()},
        });
        json!({"entries": [
            {"url": server.url(), "config": config, "topics": [topic], "dst_path": "/rows"},
        ]})
    }

    fn query(&self, round: u64) -> String {
        format!("SELECT {}, {round} AS round FROM {}", self.columns, self.from)
    }
}
