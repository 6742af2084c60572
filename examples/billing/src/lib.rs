//! The example's data source: a billing service that knows which customers have billing enabled.
//! It stands for any service of yours with an HTTP API, and knows nothing of Girasol.
//!
//! `GET /billing` answers all customers, `PUT /billing/{customer}` changes one. Each request is one
//! line on standard output.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What is known of a customer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    enabled: bool,
    #[serde(default = "free")]
    plan: String,
}

/// All customers, by name.
type Accounts = Arc<Mutex<BTreeMap<String, Account>>>;

fn free() -> String {
    "free".to_owned()
}

/// Serves on this port of 127.0.0.1 until the program ends; 0 takes a free one. Prints its URL.
///
/// # Errors
/// The port cannot be had; the message says what to do about it.
pub async fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("port {port}: {error}; stop what listens there, or give another: `billing 7101`")
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("billing service on http://{address}");
    axum::serve(listener, routes(customers())).await.map_err(|error| error.to_string())
}

fn customers() -> Accounts {
    let account = |enabled, plan: &str| Account { enabled, plan: plan.to_owned() };
    Arc::new(Mutex::new(BTreeMap::from([
        ("acme".to_owned(), account(false, "free")),
        ("umbrella".to_owned(), account(true, "pro")),
    ])))
}

fn routes(accounts: Accounts) -> Router {
    Router::new()
        .route("/billing", get(all))
        .route("/billing/{customer}", put(change))
        .with_state(accounts)
}

async fn all(State(accounts): State<Accounts>) -> Json<BTreeMap<String, Account>> {
    println!("GET /billing");
    Json(accounts.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn change(
    State(accounts): State<Accounts>,
    Path(customer): Path<String>,
    Json(account): Json<Account>,
) -> StatusCode {
    println!("PUT /billing/{customer} enabled={}", account.enabled);
    accounts.lock().unwrap_or_else(PoisonError::into_inner).insert(customer, account);
    StatusCode::NO_CONTENT
}
