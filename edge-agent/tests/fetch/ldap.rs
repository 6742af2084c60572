//! LDAP, on the real OpenLDAP server, and on servers that are none.

use std::time::Duration;

use edge_agent::fetch::{Fetchers, Means, Source};
use serde_json::{Value, json};
use testbed::{Authority, Part, Slapd, SlapdBuilder, require};

use crate::support::{fetch, fetch_with, stranger, trusting};

const PEOPLE: &str = "\
dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Ångström
mail: alice@example.org
mail: a@example.org
jpegPhoto:: /9j/AA==
userPassword: hidden

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B

dn: ou=elsewhere,dc=example,dc=org
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:1/dc=elsewhere

dn: ou=secret,dc=example,dc=org
objectClass: organizationalUnit
ou: secret
description: only for some
";

fn builder<'a>() -> SlapdBuilder<'a> {
    Slapd::builder().entries(PEOPLE)
}

/// The settings for a search of everything, without signing in.
fn config(search: &str, attributes: &[&str]) -> Value {
    json!({
        "fetcher": "LdapFetchProvider",
        "root": "dc=example,dc=org",
        "search": search,
        "attributes": attributes,
    })
}

fn source(url: String, config: &Value) -> Source {
    Source { url, config: Some(serde_json::value::to_raw_value(config).unwrap()) }
}

#[tokio::test]
async fn entries_become_an_object_by_their_names() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let server = builder().start().await.unwrap();
    let people = "(objectClass=inetOrgPerson)";
    let data = fetch(&server.url(), &config(people, &["uid", "mail", "sn", "jpegPhoto"])).await;
    let expected = json!({
        "uid=alice,ou=people,dc=example,dc=org": {
            "uid": ["alice"], "sn": ["Ångström"], "jpegPhoto": ["/9j/AA=="],
            "mail": ["alice@example.org", "a@example.org"],
        },
        "uid=bob,ou=people,dc=example,dc=org": {"uid": ["bob"], "sn": ["B"]},
    });
    assert_eq!(data, Ok(expected));
    let none = config("(uid=nobody)", &[]);
    assert_eq!(fetch(&server.url(), &none).await, Ok(json!({})));
    // All that is not operational, where no attribute is named; of the whole tree, and the entry
    // that refers to another server is neither followed nor an error.
    let all = json!({"fetcher": "LdapFetchProvider", "root": server.root()});
    let all = fetch(&server.url(), &all).await.unwrap();
    let names: Vec<_> = all.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let bob = &all["uid=bob,ou=people,dc=example,dc=org"];
    assert_eq!(
        *bob,
        json!({"objectClass": ["inetOrgPerson"], "uid": ["bob"], "cn": ["Bob"], "sn": ["B"]})
    );
    assert!(!all.to_string().contains("userPassword"));
    // The root can be the path of the address, and the search stop below it.
    let mut one = config("(objectClass=*)", &["ou"]);
    one["root"] = Value::Null;
    one["scope"] = json!("one");
    let url = format!("{}/dc=example,dc=org", server.url());
    let expected = json!({"ou=people,dc=example,dc=org": {"ou": ["people"]}});
    assert_eq!(fetch(&url, &one).await, Ok(expected));
}

#[tokio::test]
async fn who_signs_in_sees_more() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let server = builder().start().await.unwrap();
    let mut secret = config("(ou=secret)", &["description"]);
    assert_eq!(fetch(&server.url(), &secret).await, Ok(json!({})));
    secret["connection_params"] = json!({
        "url": server.url(), "user": server.user(), "password": server.password(),
    });
    let expected = json!({"ou=secret,dc=example,dc=org": {"description": ["only for some"]}});
    assert_eq!(fetch("ldap://elsewhere.invalid", &secret).await, Ok(expected));
}

#[tokio::test]
async fn pages_are_read_to_the_end_and_a_limit_of_the_server_is_an_error() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let many: String = (0..1_300)
        .map(|number| format!("dn: ou=u{number},dc=example,dc=org\nobjectClass: organizationalUnit\nou: u{number}\n\n"))
        .collect();
    let server = builder()
        .entries(&many)
        .option("sizelimit size.soft=600 size.hard=600 size.prtotal=unlimited");
    let server = server.start().await.unwrap();
    let data = fetch(&server.url(), &config("(ou=u*)", &["ou"])).await.unwrap();
    assert_eq!(data.as_object().unwrap().len(), 1_300);
    let limited = builder().entries(&many).option("sizelimit 600").start().await.unwrap();
    let error = fetch(&limited.url(), &config("(ou=u*)", &["ou"])).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("no more entries"), "{error}");
    // Nor is more read than one fetch may bring.
    let mut means = Means::standard(Duration::from_secs(10)).unwrap();
    means.max_bytes = 10_000;
    let error = fetch_with(&means, &server.url(), &config("(ou=u*)", &["ou"])).await.unwrap_err();
    assert!(error.to_string().contains("more than the limit of 10000 bytes"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_is_named_without_secrets() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let server = builder().start().await.unwrap();
    let with = |member: &str, value: Value| {
        let mut config = config("(objectClass=*)", &[]);
        config[member] = value;
        config
    };
    let params = |params: Value| with("connection_params", params);
    for (config, permanent, words) in [
        (with("search", json!("(hidden")), true, "config.search: it is not a filter"),
        (with("search", json!(["hidden"])), true, "config.search: it has the wrong type"),
        (with("attributes", json!("hidden")), true, "config.attributes: it has the wrong type"),
        (with("attributes", json!([1])), true, "config.attributes[0]: it has the wrong type"),
        (with("root", Value::Null), true, "config.root: give the entry"),
        (with("root", json!("dc=hidden")), true, "config.root: there is no such entry"),
        (with("root", json!("hidden")), true, "config.root: it is not the name of an entry"),
        (with("root", json!("ou=elsewhere,dc=example,dc=org")), true, "referral"),
        (with("scope", json!("hidden")), true, "config.scope: give"),
        (params(json!({"user": "cn=hidden"})), true, "password: a user needs one"),
        (
            params(json!({"user": server.user(), "password": "hidden"})),
            false,
            "refuses the user or the password",
        ),
        (
            params(json!({"user": "cn=hidden,dc=example,dc=org", "password": "hidden"})),
            false,
            "refuses the user or the password",
        ),
        (params(json!({"password": ["hidden"]})), true, "connection_params.password: it has"),
        (params(json!({"url": "http://hidden"})), true, "url: this fetcher knows no `http`"),
        (params(json!({"start_tls": true})), false, "refuses StartTLS"),
    ] {
        let error = fetch(&server.url(), &config).await.expect_err(&config.to_string());
        let text = error.to_string();
        assert!(text.contains(words), "{config}: {text}");
        assert_eq!(error.is_permanent(), permanent, "{config}: {text}");
        assert!(!text.contains("hidden") && !text.contains(server.password()), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_hangs_is_asked_again() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let mut server = builder().start().await.unwrap();
    let fetchers = Fetchers::standard(&Means::standard(Duration::from_millis(700)).unwrap());
    let bob = source(server.url(), &config("(uid=bob)", &["uid"]));
    let expected = r#"{"uid=bob,ou=people,dc=example,dc=org":{"uid":["bob"]}}"#;
    assert_eq!(fetchers.fetch(&bob).await.unwrap().get(), expected);
    fetchers.fetch(&bob).await.unwrap();
    let searches = server.logs().to_string();
    let mut searches = searches.lines().filter(|line| line.contains(" SRCH base="));
    let connection = |line: &str| {
        line.split_whitespace().find(|word| word.starts_with("conn=")).map(str::to_owned)
    };
    let (one, two) = (searches.next().and_then(connection), searches.next().and_then(connection));
    assert!(one.is_some() && one == two, "one connection is kept and used again");
    server.kill().await.unwrap();
    let error = fetchers.fetch(&bob).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("cannot connect"), "{error}");
    server.restart().await.unwrap();
    fetchers.fetch(&bob).await.unwrap();
    // The connection that was kept is dead now, and nobody has noticed yet.
    server.restart().await.unwrap();
    fetchers.fetch(&bob).await.unwrap();
    server.hold(true).await.unwrap();
    let error = fetchers.fetch(&bob).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("no answer in time"), "{error}");
    server.hold(false).await.unwrap();
    let alice = source(server.url(), &config("(uid=alice)", &["cn"]));
    let expected = r#"{"uid=alice,ou=people,dc=example,dc=org":{"cn":["Alice"]}}"#;
    assert_eq!(fetchers.fetch(&alice).await.unwrap().get(), expected);
}

#[tokio::test]
async fn tls_is_spoken_from_the_start_or_later_with_those_whose_authority_is_trusted() {
    if !require(&[Part::Slapd]).unwrap() {
        return;
    }
    let authority = Authority::new().unwrap();
    // Without TLS this server answers nobody.
    let server = builder().tls(&authority).option("security tls=1").start().await.unwrap();
    let means = trusting(&authority);
    let bob = config("(uid=bob)", &["uid"]);
    let expected = json!({"uid=bob,ou=people,dc=example,dc=org": {"uid": ["bob"]}});
    let secure = server.secure_url().unwrap();
    assert_eq!(fetch_with(&means, &secure, &bob).await, Ok(expected.clone()));
    let mut later = bob.clone();
    later["connection_params"] = json!({"start_tls": true});
    assert_eq!(fetch_with(&means, &server.url(), &later).await, Ok(expected));
    let error = fetch_with(&means, &server.url(), &bob).await.unwrap_err();
    assert!(error.to_string().contains("wants TLS") && !error.is_permanent(), "{error}");
    for (url, config) in [(&secure, &bob), (&server.url(), &later)] {
        let error = fetch(url, config).await.unwrap_err();
        assert!(error.to_string().contains("no TLS") && !error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_none_does_no_harm() {
    // A message of 60,000 sequences in one another: whoever reads that by recursion falls.
    let mut deep = vec![];
    for _ in 0..60_000_u32 {
        let length = u32::try_from(deep.len()).unwrap().to_be_bytes();
        deep.splice(0..0, [&[0x30, 0x84], &length[..]].concat());
    }
    let entry = [&[0x30, 12, 2, 1, 1, 0x64, 7, 4, 3][..], b"c=a", &[0x30, 0]].concat();
    for (first, more, words) in [
        (deep, vec![], "what is not LDAP"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![], "what is not LDAP"),
        // One message that never ends, and messages that never end.
        (vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], vec![b'x'; 4096], "more than the limit"),
        (vec![], entry, "more than the limit"),
        // An entry that is none, a result that is none, an answer to nobody's question.
        (vec![0x30, 7, 2, 1, 1, 0x64, 2, 4, 0], vec![], "what is not LDAP"),
        (vec![0x30, 6, 2, 1, 1, 0x65, 1, 0], vec![], ""),
        (vec![0x30, 5, 2, 1, 1, 0x7e, 0], vec![], ""),
        (vec![0x30, 2, 5, 0], vec![], ""),
    ] {
        let url = format!("ldap://{}", stranger(first.clone(), more).await);
        let mut means = Means::standard(Duration::from_secs(5)).unwrap();
        means.max_bytes = 1 << 20;
        let error = fetch_with(&means, &url, &config("(a=b)", &[])).await.unwrap_err();
        let shown = first.get(..20).unwrap_or(&first);
        assert!(error.to_string().contains(words), "{shown:x?}: {error}");
        assert!(!error.is_permanent(), "{shown:x?}: {error}");
    }
}
