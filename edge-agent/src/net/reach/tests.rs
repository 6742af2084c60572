//! What the rules reach. The addresses that are refused without any are a table beside the HTTP
//! fetcher.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn rules(rules: &[&str]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn reach(allow: &[&str], deny: &[&str]) -> Reach {
    Reach::new(&rules(allow), &rules(deny)).unwrap()
}

/// Resolves every name to these.
fn always(ips: &[&str]) -> Lookup {
    let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Arc::new(move |_, port| {
        let addresses = ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        Box::pin(async move { Ok(addresses) })
    })
}

fn checked(reach: &Reach, url: &str) -> Result<(), Why> {
    reach.check(&Url::parse(url).unwrap()).map_err(|refused| refused.why())
}

async fn resolved(reach: &Reach, host: &str, port: u16) -> Result<Vec<String>, Why> {
    match reach.resolve(host, port).await {
        Ok(found) => Ok(found.iter().map(|address| address.ip().to_string()).collect()),
        Err(ConnectError::Refused(refused)) => Err(refused.why()),
        Err(ConnectError::Io(error)) => panic!("{error}"),
    }
}

#[test]
fn loopback_private_and_public_addresses_are_reached_without_rules() {
    for host in [
        "127.0.0.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "100.100.100.201",
        "8.8.8.8",
        "192.0.0.191",
        "[fd00::1]",
        "[fd00:ec2::255]",
        "[2001:db8::1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::1]",
        "localhost",
        "my_db",
        "169.254.169.254.example.com",
        "metadata.example.com",
    ] {
        let default = Reach::default();
        assert_eq!(checked(&default, &format!("http://{host}/latest")), Ok(()), "{host}");
        assert_eq!(checked(&default, &format!("redis://{host}/1")), Ok(()), "{host}");
    }
    // A socket of this machine, and an address whose host is in the settings.
    assert_eq!(checked(&Reach::default(), "postgresql:///db"), Ok(()));
}

#[test]
fn a_rule_is_a_name_a_network_or_the_beginning_of_an_address() {
    const ALLOWED: Result<(), Why> = Ok(());
    const OTHER: Result<(), Why> = Err(Why::NotAllowed);
    for (rule, url, expected) in [
        ("db.internal", "postgresql://DB.internal.:5433/x", ALLOWED),
        ("DB.Internal.", "http://db.internal/", ALLOWED),
        ("db.internal", "http://x.db.internal/", OTHER),
        ("db.internal", "http://db.internal.example.com/", OTHER),
        ("bücher.example", "http://xn--bcher-kva.example/", ALLOWED),
        ("*.example.com", "http://a.b.example.com/", ALLOWED),
        ("*.example.com", "http://example.com/", OTHER),
        ("*.example.com", "http://badexample.com/", OTHER),
        ("db.internal:5432", "postgresql://db.internal/x", ALLOWED),
        ("db.internal:5432", "postgresql://db.internal:5433/x", OTHER),
        ("10.0.0.0/8", "http://10.1.2.3/", ALLOWED),
        ("10.0.0.0/8", "http://0xa010203/", ALLOWED),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", ALLOWED),
        ("10.0.0.0/8", "http://11.1.2.3/", OTHER),
        ("::ffff:10.0.0.0/104", "http://10.1.2.3/", ALLOWED),
        ("::ffff:10.0.0.0/104", "http://11.1.2.3/", OTHER),
        ("::ffff:10.1.2.3", "http://10.1.2.3/", ALLOWED),
        ("10.1.2.3", "http://10.1.2.3:8080/", ALLOWED),
        ("10.1.2.3", "http://10.1.2.4/", OTHER),
        ("10.1.2.3:80", "http://10.1.2.3/", ALLOWED),
        ("10.1.2.3:80", "http://10.1.2.3:81/", OTHER),
        ("fd00::/8", "http://[fd12::1]/", ALLOWED),
        ("[fd12::1]:8443", "https://[fd12::1]:8443/", ALLOWED),
        ("::1", "http://[::1]:80/", ALLOWED),
        ("https://api.test/v1/*", "https://api.test/v1/users?q=1", ALLOWED),
        ("https://api.test/v1/*", "https://api.test:443/v1/", ALLOWED),
        ("https://api.test/v1/*", "http://api.test/v1/users", OTHER),
        ("https://api.test/v1/*", "https://api.test:8443/v1/users", OTHER),
        ("https://api.test/v1/*", "https://api.test/v2/users", OTHER),
        ("https://api.test/v1/*", "https://api.test/v1/../v2/users", OTHER),
        ("https://api.test/v1/*", "https://api.test/v1/%2e%2e/v2", OTHER),
        ("https://api.test/v1/*", "https://api.test/v1/..%2fv2", OTHER),
        ("https://api.test/v1/*", "https://api.test/v1/%252e%252e%252fv2", OTHER),
        ("https://api.test/v1/*", "https://api.test/v1/..%5cv2", OTHER),
        ("https://api.test/v1/*", "https://api.test/V1/users", OTHER),
        ("https://api.test/v1", "https://api.test/v1?q=1", ALLOWED),
        ("https://api.test/v1", "https://api.test/v1/users", OTHER),
        ("https://api.test:8443", "https://api.test:8443/any", ALLOWED),
        ("https://api.test/", "https://api.test/any", ALLOWED),
        ("api.test/v1/*", "http://api.test/v1/x", ALLOWED),
        ("api.test/v1/*", "https://api.test/v1/x", ALLOWED),
        ("api.test/v1/*", "http://api.test:8080/v1/x", OTHER),
        ("api.test:8080/v1/*", "http://api.test:8080/v1/x", ALLOWED),
        ("api.test/v1/*", "http://me:pw@api.test/v1/x", ALLOWED),
        ("postgres://db.internal", "postgresql://db.internal/x", ALLOWED),
        ("rediss://db.internal", "valkeys://db.internal/1", ALLOWED),
        ("rediss://db.internal", "redis://db.internal/1", OTHER),
        ("api.test/v1/*", "http://api.test@evil.test/v1/x", OTHER),
    ] {
        assert_eq!(checked(&reach(&[rule], &[]), url), expected, "{rule} {url}");
    }
}

#[test]
fn deny_wins_over_allow_and_sees_through_other_ways_to_write_it() {
    for (rule, url, denied) in [
        ("db.internal", "http://DB.INTERNAL./", true),
        ("db.internal", "http://db2.internal/", false),
        ("10.0.0.0/8", "http://10.0.0.1/", true),
        ("10.0.0.0/8", "http://[::ffff:a00:1]/", true),
        ("10.0.0.0/8", "http://[64:ff9b::10.0.0.1]/", true),
        ("10.0.0.0/8", "http://[2002:a00:1::]/", true),
        ("127.0.0.0/8", "http://2130706433/", true),
        ("::1", "http://[0:0:0:0:0:0:0:1]/", true),
        ("http://api.test/admin*", "http://api.test/admin/x", true),
        ("http://api.test/admin*", "http://api.test/Admin", true),
        ("http://api.test/admin*", "http://api.test/%61dmin", true),
        ("http://api.test/admin*", "http://api.test/%2561dmin", true),
        ("http://api.test/admin*", "http://api.test//admin", true),
        ("http://api.test/admin*", "http://api.test/x/..%2fadmin", true),
        ("http://api.test/admin*", "http://api.test/%ff", true),
        ("http://api.test/admin*", "http://api.test/other", false),
        ("http://api.test/admin", "http://api.test/admin/", true),
        ("http://api.test/admin", "http://api.test/admin/x", false),
        ("api.test:9000", "http://api.test:9000/", true),
        ("api.test:9000", "http://api.test/", false),
        ("postgres://db.internal", "postgresql://db.internal:5432/x", true),
        ("mariadb://db.internal", "mysql://db.internal/x", true),
        ("redis://db.internal", "valkeys://db.internal/1", true),
        ("mongodb+srv://db.internal", "mongodb://db.internal/x", true),
        ("mongodb://db.internal", "mongodb+srv://db.internal/x", true),
        ("http://db.internal", "https://db2.internal/x", false),
    ] {
        for allow in [&[][..], &["api.test", "db2.internal", "0.0.0.0/0"]] {
            let expected = if denied { Err(Why::Denied) } else { Ok(()) };
            assert_eq!(checked(&reach(allow, &[rule]), url), expected, "{rule} {url}");
        }
    }
}

#[tokio::test]
async fn metadata_is_reached_only_by_a_rule_that_names_just_its_address() {
    for (allow, host, expected) in [
        ("169.254.169.254", "169.254.169.254", Ok(())),
        ("169.254.169.254/32", "[::ffff:169.254.169.254]", Ok(())),
        ("169.254.0.0/16", "169.254.169.254", Ok(())),
        ("169.254.169.0/24", "169.254.169.254", Ok(())),
        ("0.0.0.0/0", "169.254.169.254", Err(Why::Address)),
        ("169.0.0.0/8", "169.254.169.254", Err(Why::Address)),
        ("169.254.169.253", "169.254.169.254", Err(Why::Address)),
        ("100.64.0.0/10", "100.100.100.200", Err(Why::Address)),
        ("100.100.100.200", "100.100.100.200", Ok(())),
        ("::/0", "[fd00:ec2::254]", Err(Why::Address)),
        ("fd00::/8", "[fd00:ec2::254]", Err(Why::Address)),
        ("fd00:ec2::254", "[fd00:ec2::254]", Ok(())),
        ("169.254.169.254", "[64:ff9b::a9fe:a9fe]", Err(Why::Address)),
        ("64:ff9b::/96", "[64:ff9b::a9fe:a9fe]", Err(Why::Address)),
        ("64:ff9b::a9fe:a9fe", "[64:ff9b::a9fe:a9fe]", Ok(())),
        ("*.google.internal", "metadata.google.internal", Err(Why::Name)),
        ("metadata.google.internal", "metadata.google.internal", Ok(())),
        ("*.azure.internal", "metadata.azure.internal", Err(Why::Name)),
    ] {
        let reach = reach(&[allow], &[]);
        assert_eq!(checked(&reach, &format!("http://{host}/")), expected, "{allow} {host}");
        let reach = reach.with_lookup(always(&["169.254.169.254"]));
        let resolved = resolved(&reach, host, 80).await;
        // A name that is allowed does not make its address so.
        let is_name = host.starts_with("metadata");
        assert_eq!(resolved.is_ok(), expected.is_ok() && !is_name, "{allow} {host}");
    }
}

#[tokio::test]
async fn refused_addresses_of_a_name_are_left_out_and_the_others_stay() {
    let mixed = always(&["169.254.169.254", "10.0.0.1", "fe80::1", "127.0.0.1", "0.0.0.0"]);
    let default = Reach::default().with_lookup(mixed.clone());
    assert_eq!(resolved(&default, "mixed.test", 80).await, Ok(rules(&["10.0.0.1", "127.0.0.1"])));
    let private = reach(&["10.0.0.0/8"], &[]).with_lookup(mixed.clone());
    assert_eq!(resolved(&private, "mixed.test", 80).await, Ok(rules(&["10.0.0.1"])));
    let not_private = reach(&["mixed.test"], &["10.0.0.0/8"]).with_lookup(mixed.clone());
    assert_eq!(resolved(&not_private, "mixed.test", 80).await, Ok(rules(&["127.0.0.1"])));
    let nothing = reach(&["192.168.0.0/16"], &[]).with_lookup(mixed);
    assert_eq!(resolved(&nothing, "mixed.test", 80).await, Err(Why::NotAllowed));
}

#[tokio::test]
async fn a_name_with_a_rule_of_its_own_is_reached_as_that_says_whatever_its_network() {
    let lookup = always(&["10.0.0.1"]);
    let reach = reach(&["https://api.test/v1/*", "10.0.0.0/8"], &[]).with_lookup(lookup);
    assert_eq!(checked(&reach, "https://api.test/v2/"), Err(Why::NotAllowed));
    assert_eq!(checked(&reach, "https://other.test/v2/"), Ok(()));
    assert_eq!(resolved(&reach, "api.test", 443).await, Ok(rules(&["10.0.0.1"])));
    assert_eq!(resolved(&reach, "api.test", 3306).await, Err(Why::NotAllowed));
    assert_eq!(resolved(&reach, "other.test", 3306).await, Ok(rules(&["10.0.0.1"])));
}

#[test]
fn an_address_with_a_rule_of_its_own_stays_in_its_network() {
    let reach = reach(&["http://10.0.0.1/v1/*", "10.0.0.0/8"], &[]);
    assert_eq!(checked(&reach, "http://10.0.0.1:8080/v2/"), Ok(()));
}

#[test]
fn what_a_proxy_resolves_is_allowed_by_its_name_or_not_at_all() {
    let reach = reach(&["10.0.0.0/8", "db.internal"], &[]);
    let unresolved = |url: &str| reach.check_unresolved(&Url::parse(url).unwrap());
    assert_eq!(unresolved("http://db.internal/"), Ok(()));
    assert_eq!(unresolved("http://10.0.0.1/"), Ok(()));
    let refused = unresolved("http://other.internal/").unwrap_err();
    assert_eq!(refused.why(), Why::NotAllowed);
    assert!(refused.to_string().contains("fetch_allow"), "{refused}");
}

#[test]
fn the_operators_own_addresses_are_added_where_rules_are_about_others() {
    let own = [Url::parse("http://hub.test:7002/").unwrap()];
    let some = reach(&["db.internal"], &["bad.test"]);
    assert_eq!(checked(&some, "http://hub.test:7002/data"), Err(Why::NotAllowed));
    let some = some.and(own.iter());
    assert_eq!(checked(&some, "http://hub.test:7002/data"), Ok(()));
    assert_eq!(checked(&some, "http://hub.test:7003/data"), Err(Why::NotAllowed));
    assert_eq!(checked(&some, "http://other.test/"), Err(Why::NotAllowed));
    assert_eq!(checked(&some, "http://bad.test/"), Err(Why::Denied));
    assert_eq!(checked(&Reach::default().and(own.iter()), "http://other.test/"), Ok(()));
}

#[test]
fn a_rule_that_cannot_be_read_is_counted_and_not_shown() {
    for rule in [
        "",
        "10.0.0.0/33",
        "10.0.0.0/8/8",
        "secret*",
        "*secret.test",
        "*.*.secret.test",
        "*",
        "https://secret.test/a*b",
        "https://me:secret@h/",
        "https://secret.test/?q",
        "secret.test:port",
        "sec ret.test",
        "se!cret://h/",
        "https://",
    ] {
        let error = Reach::new(&rules(&["db.internal", rule]), &[]).unwrap_err();
        assert!(error.starts_with("fetch_allow: rule 2: give a "), "{rule}: {error}");
        assert!(!error.contains("secret"), "{error}");
        let error = Reach::new(&[], &rules(&[rule])).unwrap_err();
        assert!(error.starts_with("fetch_deny: rule 1: give a "), "{rule}: {error}");
    }
}

#[test]
fn a_rule_that_would_never_hold_is_refused() {
    for (rule, words) in [
        ("127.0.0.1:8181", "give the address alone"),
        ("[::1]:8181", "give the address alone"),
        ("http://127.0.0.1", "give the address alone"),
        ("http://127.0.0.1/v1/*", "give the address alone"),
        ("s3://bucket", "give a scheme that sources have"),
        ("gopher://db.internal", "give a scheme that sources have"),
    ] {
        let error = Reach::new(&[], &rules(&[rule])).unwrap_err();
        assert!(error.starts_with(&format!("fetch_deny: rule 1: {words}")), "{rule}: {error}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let reach = Reach::default().with_lookup(always(&["127.0.0.2", "127.0.0.1"]));
    let stream = reach.connect("two.test", port).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    drop(listener);
    let error = reach.connect("two.test", port).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)), "{error}");
    let nothing = Reach::default().with_lookup(always(&[]));
    let error = nothing.connect("none.test", port).await.unwrap_err();
    assert_eq!(error.to_string(), "the name has no address");
}

#[tokio::test]
async fn a_literal_address_is_not_resolved() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![]) })
    });
    let reach = Reach::default().with_lookup(lookup);
    for host in ["127.0.0.1", "0x7f000001", "[::1]", "::1", "127.1"] {
        assert_eq!(reach.resolve(host, 1).await.unwrap().len(), 1, "{host}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
