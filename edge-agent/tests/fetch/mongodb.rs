//! MongoDB, on FerretDB, which speaks its protocol.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_agent::fetch::{FetchError, Fetchers, Means, Source};
use mongodb::bson::{self, Bson, Document, doc};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json, value::to_raw_value};
use testbed::{Authority, Ferretdb, Part, free_port, require};
use tokio::net::TcpListener;

use crate::support::{fetch, fetch_with};

/// Puts documents into a collection.
async fn fill(url: &str, collection: &str, documents: &[Document]) {
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let collection = client.default_database().unwrap().collection::<Document>(collection);
    collection.insert_many(documents).await.unwrap();
}

/// The settings with this query of the collection `users`.
fn config(query: Value) -> Value {
    let mut config = json!({
        "fetcher": "MongoDBFetchProvider", "database": "app", "collection": "users",
    });
    for (key, value) in query.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn means(seconds: u64) -> Means {
    Means::standard(Duration::from_secs(seconds)).unwrap()
}

/// A server with three users.
async fn users() -> Option<Ferretdb> {
    if !require(&[Part::Ferretdb]).unwrap() {
        return None;
    }
    let server = Ferretdb::start().await.unwrap();
    let users = [
        doc! { "_id": "ann", "role": "admin", "age": 41, "tags": ["a", "b"] },
        doc! { "_id": "bob", "role": "reader", "age": 7_i64 },
        doc! { "_id": "cal", "role": "reader", "age": 7.5, "boss": { "name": "ann" } },
    ];
    fill(&server.url(), "users", &users).await;
    Some(server)
}

#[tokio::test]
async fn find_find_one_and_aggregate_give_documents_as_the_transform_wants_them() {
    let Some(server) = users().await else { return };
    let ann = json!({ "_id": "ann", "role": "admin", "age": 41, "tags": ["a", "b"] });
    let bob = json!({ "_id": "bob", "role": "reader", "age": 7 });
    let cal = json!({ "_id": "cal", "role": "reader", "age": 7.5, "boss": { "name": "ann" } });
    let readers = json!({ "query": { "role": "reader" }, "options": { "sort": [["_id", -1]] } });
    let by_role = json!({ "pipeline": [
        { "$match": { "age": { "$lt": 40 } } },
        { "$group": { "_id": "$role", "n": { "$sum": 1 } } },
    ] });
    for (query, expected) in [
        (json!({ "find": {} }), json!([ann, bob, cal])),
        (json!({ "find": readers }), json!([cal, bob])),
        (
            json!({ "find": { "projection": { "age": 1 }, "options": { "skip": 1, "limit": 1 } } }),
            json!([{ "_id": "bob", "age": 7 }]),
        ),
        (json!({ "find": { "query": { "_id": "nobody" } } }), json!([])),
        (json!({ "find": readers, "transform": { "first": true } }), cal.clone()),
        (
            json!({ "find": { "query": { "_id": "nobody" } }, "transform": { "first": true } }),
            json!({}),
        ),
        (
            json!({ "find": {}, "transform": { "mapKey": "_id" } }),
            json!({ "ann": ann, "bob": bob, "cal": cal }),
        ),
        (
            json!({ "find": { "query": { "_id": { "$ne": "cal" } } }, "transform": { "merge": true } }),
            json!({ "_id": "bob", "role": "reader", "age": 7, "tags": ["a", "b"] }),
        ),
        (json!({ "findOne": { "query": { "role": "admin" } } }), ann.clone()),
        (json!({ "findOne": { "query": { "_id": "nobody" } } }), json!({})),
        (json!({ "aggregate": by_role }), json!([{ "_id": "reader", "n": 2 }])),
        (
            json!({ "aggregate": by_role, "transform": { "mapKey": "_id" } }),
            json!({ "reader": { "_id": "reader", "n": 2 } }),
        ),
    ] {
        assert_eq!(fetch(&server.url(), &config(query.clone())).await, Ok(expected), "{query}");
    }
    // The address's own database, where the settings name none.
    let mut own = config(json!({ "findOne": { "query": { "_id": "bob" } } }));
    own.as_object_mut().unwrap().remove("database");
    assert_eq!(fetch(&server.url(), &own).await, Ok(bob));
    own["collection"] = json!("nothing");
    assert_eq!(fetch(&server.url(), &own).await, Ok(json!({})));
}

#[tokio::test]
async fn values_come_as_they_are() {
    let Some(server) = users().await else { return };
    let id = bson::oid::ObjectId::parse_str("65a000000000000000000001").unwrap();
    let document = doc! {
        "_id": id,
        "long": i64::MAX,
        "double": 0.1,
        "date": bson::DateTime::from_millis(1_704_067_200_123),
        "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![255, 0] },
        "none": Bson::Null,
        "text": "\u{1F600}\"",
    };
    fill(&server.url(), "types", &[document]).await;
    let mut asked = config(json!({
        "findOne": { "query": { "_id": { "$oid": "65a000000000000000000001" } } },
    }));
    asked["collection"] = json!("types");
    let source = Source { url: server.url(), config: Some(to_raw_value(&asked).unwrap()) };
    let data = Fetchers::standard(&means(10)).fetch(&source).await.unwrap();
    assert_eq!(
        data.get(),
        "{\"_id\":\"65a000000000000000000001\",\"long\":9223372036854775807,\"double\":0.1,\
         \"date\":\"2024-01-01T00:00:00.123Z\",\"bytes\":\"/wA=\",\"none\":null,\
         \"text\":\"\u{1F600}\\\"\"}"
    );
}

#[tokio::test]
async fn many_documents_come_in_batches_and_too_many_are_an_error() {
    let Some(server) = users().await else { return };
    let many: Vec<_> = (0..2_000).map(|n| doc! { "_id": n, "text": "x".repeat(40) }).collect();
    fill(&server.url(), "many", &many).await;
    let mut asked = config(json!({ "find": { "options": { "batch_size": 100 } } }));
    asked["collection"] = json!("many");
    let data = fetch(&server.url(), &asked).await.unwrap();
    let ids: Vec<_> =
        data.as_array().unwrap().iter().map(|it| it["_id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 2_000);
    assert!(ids.is_sorted());

    let mut small = means(10);
    small.max_bytes = 20_000;
    let error = fetch_with(&small, &server.url(), &asked).await.unwrap_err();
    assert!(error.is_permanent());
    assert!(error.to_string().contains("more than 20000 bytes of JSON"), "{error}");
    assert!(error.to_string().contains("fetch_max_bytes"), "{error}");
}

#[tokio::test]
async fn a_login_is_needed_where_there_is_one_and_its_password_is_not_shown() {
    if !require(&[Part::Ferretdb]).unwrap() {
        return;
    }
    let server = Ferretdb::start_with_login().await.unwrap();
    let asked = config(json!({ "find": {} }));
    let shown = format!("mongodb://127.0.0.1:{}: ", server.port());
    for (url, words) in [
        // FerretDB ends the exchange one step after MongoDB does, and the driver does not wait
        // for it. To get that far, each has seen that the other knows the password.
        (server.url_with(server.password()), "expected SCRAM authentication to have completed"),
        (server.url_with("wr0ng"), "Authentication failed"),
        (server.url(), "requires authentication"),
    ] {
        let error = fetch(&url, &asked).await.unwrap_err();
        // An administrator may set it right any time.
        assert!(!error.is_permanent(), "{error}");
        let error = error.to_string();
        assert!(error.starts_with(&shown), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("wr0ng") && !error.contains("ferret:"), "{error}");
        assert!(!error.contains(server.password()), "{error}");
    }
}

#[tokio::test]
async fn tls_is_the_agents_own() {
    if !require(&[Part::Ferretdb]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    let server = Ferretdb::start_with_tls(&authority).await.unwrap();
    let asked = config(json!({ "find": {} }));
    let url = format!("{}?tls=true", server.url());

    let error = fetch(&url, &asked).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(!error.is_permanent());

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut trusting = means(10);
    trusting.tls = Arc::new(tls);
    assert_eq!(fetch_with(&trusting, &url, &asked).await, Ok(json!([])));
    let error = fetch_with(&trusting, &server.url(), &asked).await;
    assert!(error.is_err(), "a server with TLS is not spoken to without");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_until_it_is_back() {
    let Some(mut server) = users().await else { return };
    let fetchers = Fetchers::standard(&means(3));
    let asked = config(json!({ "findOne": { "query": { "_id": "bob" } } }));
    let source = Source { url: server.url(), config: Some(to_raw_value(&asked).unwrap()) };
    assert!(fetchers.fetch(&source).await.is_ok());
    server.stop().await.unwrap();
    let error = fetchers.fetch(&source).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    let error = fetchers.fetch(&source).await.unwrap_err();
    let said = format!(
        "mongodb://127.0.0.1:{0}: cannot connect to 127.0.0.1:{0}: Connection refused",
        server.port()
    );
    assert_eq!(error, FetchError::new(said));
    server.restart().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = fetchers.fetch(&source).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_an_error_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mongodb://127.0.0.1:{}/app", silent.local_addr().unwrap().port());
    let started = Instant::now();
    let error = fetch_with(&means(2), &url, &config(json!({ "find": {} }))).await.unwrap_err();
    assert!(error.to_string().contains("answered in time"), "{error}");
    assert!(!error.is_permanent() && started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_query_that_the_server_does_not_understand_is_not_tried_again() {
    let Some(server) = users().await else { return };
    for query in [
        json!({ "find": { "query": { "age": { "$nonsense": 1 } } } }),
        json!({ "aggregate": { "pipeline": [{ "$nonsense": {} }] } }),
        json!({ "find": { "options": { "limit": "three" } } }),
    ] {
        let error = fetch(&server.url(), &config(query.clone())).await.unwrap_err();
        assert!(error.is_permanent(), "{query}: {error}");
        assert!(error.to_string().contains("(code "), "{query}: {error}");
    }
}

#[tokio::test]
async fn what_writes_or_runs_code_never_gets_to_the_server() {
    let Some(server) = users().await else { return };
    for (query, words) in [
        (json!({ "aggregate": { "pipeline": [{ "$match": {} }, { "$out": "users" }] } }), "writes"),
        (json!({ "find": { "query": { "$where": "sleep(10000)" } } }), "runs code"),
    ] {
        let error = fetch(&server.url(), &config(query)).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains(words), "{error}");
    }
    let all = fetch(&server.url(), &config(json!({ "find": {} }))).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn addresses_that_no_update_may_choose_are_refused() {
    let port = free_port().unwrap();
    for (url, words) in [
        ("mongodb://169.254.169.254:27017/app".to_owned(), "link-local or metadata"),
        ("mongodb://[fe80::1]:27017/app".to_owned(), "link-local or metadata"),
        (format!("mongodb://127.0.0.1:{port},169.254.1.1/app"), "link-local or metadata"),
        ("mongodb://%2Ftmp%2Fserver.sock/app".to_owned(), "no files of this machine"),
        (format!("mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile=/etc/passwd"), "fetch_ca_file"),
        (format!("mongodb://127.0.0.1:{port}/?tls=true&tlsInsecure=true"), "fetch_ca_file"),
        (format!("mongodb://127.0.0.1:{port}/?proxyHost=127.0.0.1"), "proxyHost"),
        ("http://127.0.0.1/app".to_owned(), "takes mongodb://"),
        ("mongodb://s3cret:s3cret:s3cret@h".to_owned(), "not an address of MongoDB"),
        ("mongodb://me:s3cret@h/?what=s3cret".to_owned(), "not an address of MongoDB"),
    ] {
        let error = fetch(&url, &config(json!({ "find": {} }))).await.expect_err(&url);
        assert!(error.is_permanent() && error.to_string().contains(words), "{url}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
