//! Decisions: how many a second and how soon, of the embedded engine beside a real OPA, while data
//! changes, at the edge, and after a write that was waited for.
//!
//! | question | file |
//! |---|---|
//! | Which policy and data are decided on? | this one |
//! | How are decisions asked for without the asking weighing more than they do? | `client.rs` |
//! | The embedded engine beside OPA: speed, and while data changes | `engine.rs` |
//! | Memory, beside OPA | `memory.rs` |
//! | The Worker's own decisions | `edge.rs` |
//! | A user that is written through the agent, and asked about at once | `sync.rs` |

mod client;
mod edge;
mod engine;
mod memory;
mod sync;

use anyhow::Result;
use serde_json::{Value, json};

use super::report::Report;

/// Users of the example.
const USERS: u64 = 10_000;

/// Who may do what: OPA's own example of roles, with a list of roles a user.
const POLICY: &str = r#"package app.rbac

default allow := false

allow if {
	some role in data.roles_of_users[input.user]
	some grant in data.grants_of_roles[role]
	grant.action == input.action
	grant.type == input.type
}
"#;
/// Where it decides.
const PATH: &str = "/v1/data/app/rbac/allow";

pub(super) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    engine::measure(report).await?;
    memory::measure(report).await?;
    edge::measure(report).await?;
    sync::measure(report, rounds).await
}

/// Roles of each user: the first of these is an update's place, too.
fn roles_of_users() -> Value {
    let roles = |user: u64| json!([format!("role-{}", user % 50), "everybody"]);
    (0..USERS).map(|user| (format!("user-{user}"), roles(user))).collect()
}

fn grants_of_roles() -> Value {
    let grants = |role: u64| {
        let grant = |action: &str| json!({"action": action, "type": format!("type-{role}")});
        json!([grant("read"), grant("update"), grant("delete")])
    };
    let mut all: serde_json::Map<_, _> =
        (0..50).map(|role| (format!("role-{role}"), grants(role))).collect();
    all.insert("everybody".to_owned(), json!([{"action": "read", "type": "page"}]));
    Value::Object(all)
}

/// A question, and the answer to it: one in two is allowed.
fn question(number: u64) -> (Value, bool) {
    let (user, is_allowed) = (number * 7_919 % USERS, number.is_multiple_of(2));
    let role = if is_allowed { user % 50 } else { (user + 1) % 50 };
    let input = json!({
        "user": format!("user-{user}"), "action": "update", "type": format!("type-{role}") });
    (json!({ "input": input }), is_allowed)
}
