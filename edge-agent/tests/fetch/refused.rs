//! Where the servers with protocols of their own may be: as everywhere.

use std::sync::Arc;
use std::time::Duration;

use edge_agent::fetch::Means;
use edge_agent::net::Reach;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::fetch_with;

/// What each fetcher needs before it connects.
fn sources() -> [(&'static str, Value); 5] {
    let redis = json!({"fetcher": "RedisFetchProvider", "command": "LRANGE a 0 -1"});
    let mysql = json!({"fetcher": "MySQLFetchProvider", "query": "SELECT 1"});
    let ldap = json!({"fetcher": "LdapFetchProvider", "root": "dc=a"});
    [
        ("redis", redis.clone()),
        ("rediss", redis),
        ("mysql", mysql),
        ("ldap", ldap.clone()),
        ("ldaps", ldap),
    ]
}

#[tokio::test]
async fn metadata_services_are_not_connected_to_however_they_are_written() {
    let means = Means::standard(Duration::from_secs(5)).unwrap();
    for (scheme, config) in sources() {
        for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe"] {
            let error = fetch_with(&means, &format!("{scheme}://{host}"), &config).await;
            let error = error.unwrap_err();
            assert!(error.to_string().contains("never fetched from"), "{scheme} {host}: {error}");
            assert!(error.is_permanent(), "{scheme} {host}: {error}");
        }
        // Nor where the address of the entry is a harmless one.
        let mut elsewhere = config;
        let member = if scheme.starts_with("ldap") { "url" } else { "host" };
        let value = if member == "url" { "ldap://169.254.169.254" } else { "169.254.169.254" };
        elsewhere["connection_params"] = json!({member: value});
        let error = fetch_with(&means, &format!("{scheme}://127.0.0.1:1"), &elsewhere).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("never fetched from"), "{scheme}: {error}");
    }
}

#[tokio::test]
async fn a_name_is_connected_to_only_where_its_address_may_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reach = Reach::new(&[], &["127.0.0.0/8".to_owned()]).unwrap();
    let reach = reach.with_lookup(Arc::new(move |_, _| Box::pin(async move { Ok(vec![address]) })));
    let means = Means::standard(Duration::from_secs(5)).unwrap().reaching(reach).unwrap();
    for (scheme, config) in sources() {
        let url = format!("{scheme}://a.example:{}", address.port());
        let error = fetch_with(&means, &url, &config).await.unwrap_err();
        assert!(error.to_string().contains("fetch_deny"), "{scheme}: {error}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(connected.is_err(), "somebody connected");
}
