//! The addresses that are never fetched from (`refused.txt`), by themselves, behind redirects,
//! and as hosts of fetchers that are not HTTP's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Path;
use axum::http::HeaderValue;

use super::*;
use crate::net::{ConnectError, Lookup, Reach, Why};

const TABLE: &str = include_str!("refused.txt");

/// What an error says, for each reason of the table.
const WORDS: [(&str, &str); 6] = [
    ("address", "is a link-local or metadata address"),
    ("no-machine", "is not the address of a machine"),
    ("name", "is the name of a metadata service"),
    ("resolved", "is a link-local or metadata address"),
    ("parser", "url: "),
    ("scheme", "is not fetched from; give http"),
];

/// What names of the table resolve to.
const NAMES: [(&str, &[&str]); 14] = [
    ("rebind.test", &["169.254.169.254"]),
    ("169.254.169.254.nip.test", &["169.254.169.254"]),
    ("a9fea9fe.nip.test", &["169.254.169.254"]),
    ("169-254-169-254.sslip.test", &["169.254.169.254"]),
    ("mapped.rebind.test", &["::ffff:169.254.169.254"]),
    ("translated.rebind.test", &["64:ff9b::a9fe:a9fe"]),
    ("linklocal6.rebind.test", &["fe80::a9fe:a9fe"]),
    ("container.rebind.test", &["169.254.170.2"]),
    ("alibaba.rebind.test", &["100.100.100.200"]),
    ("azure.rebind.test", &["168.63.129.16"]),
    ("teredo.rebind.test", &["2001:0:4136:e378:8000:63bf:5601:5601"]),
    ("6to4.rebind.test", &["2002:a9fe:a9fe::1"]),
    ("two.rebind.test", &["169.254.169.254", "fd00:ec2::254"]),
    ("else", &["127.0.0.1"]),
];

/// The rows: a reason, and an address.
fn table() -> Vec<(&'static str, String)> {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<_> = rows
        .map(|line| {
            let (reason, text) = line.split_once(' ').unwrap();
            let mut parts = text.split("\\u");
            let mut plain = parts.next().unwrap().to_owned();
            for part in parts {
                let (code, rest) = part.split_at(4);
                plain.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
                plain.push_str(rest);
            }
            (reason, plain)
        })
        .collect();
    assert!(rows.len() >= 300, "{}", rows.len());
    rows
}

/// A resolver that knows the names of the table, takes all others for this machine, and counts.
fn names(asked: &Arc<AtomicUsize>) -> Lookup {
    let asked = Arc::clone(asked);
    Arc::new(move |name, port| {
        asked.fetch_add(1, Ordering::SeqCst);
        let known = NAMES.iter().find(|(known, _)| *known == name).or(NAMES.last()).unwrap().1;
        let addresses = known.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        let addresses = addresses.collect();
        Box::pin(async move { Ok(addresses) })
    })
}

fn guarded(asked: &Arc<AtomicUsize>) -> (Reach, HttpFetcher) {
    let reach = Reach::default().with_lookup(names(asked));
    let means = Means::standard(Duration::from_secs(5)).unwrap();
    (reach.clone(), HttpFetcher::new(means.reaching(reach).unwrap()))
}

fn words(reason: &str) -> &'static str {
    WORDS.iter().find(|(known, _)| *known == reason).expect(reason).1
}

#[tokio::test]
async fn every_address_of_the_table_is_refused_for_its_reason() {
    let asked = Arc::default();
    let (_, fetcher) = guarded(&asked);
    let mut wrong = vec![];
    for (reason, url) in table() {
        let before = asked.load(Ordering::SeqCst);
        let result = fetcher.fetch(&Source { url: url.clone(), config: None }).await;
        let resolved = asked.load(Ordering::SeqCst) - before;
        let said = result.err().map_or_else(|| "fetched".to_owned(), |error| error.to_string());
        let expected = usize::from(reason == "resolved");
        if !said.contains(words(reason)) || resolved != expected {
            wrong.push(format!("{reason} {url:?}: {said} ({resolved} names resolved)"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Redirects to the row of the table, with the status.
async fn redirecting() -> String {
    let to = |Path((status, row)): Path<(u16, usize)>| async move {
        let (_, url) = table().swap_remove(row);
        let location = HeaderValue::from_bytes(url.as_bytes());
        // What a header cannot hold, a server cannot send.
        let location = location.unwrap_or(HeaderValue::from_static("http://169.254.169.254/"));
        Response::builder().status(status).header("location", location).body(Body::empty()).unwrap()
    };
    serve(Router::new().route("/{status}/{row}", any(to))).await
}

#[tokio::test]
async fn no_redirect_leads_to_an_address_of_the_table() {
    let base = redirecting().await;
    let asked = Arc::default();
    let (_, fetcher) = guarded(&asked);
    let mut wrong = vec![];
    for (row, (reason, target)) in table().into_iter().enumerate() {
        let statuses: &[u16] = &[301, 302, 303, 307, 308];
        // Every status for the first, one for each of the others.
        let statuses = if row == 0 { statuses } else { &statuses[row % 5..=row % 5] };
        for status in statuses {
            let url = format!("{base}/{status}/{row}");
            let result = fetcher.fetch(&Source { url, config: None }).await;
            let said = result.err().map_or_else(|| "fetched".to_owned(), |error| error.to_string());
            let refused = WORDS.iter().any(|(_, words)| said.contains(words))
                || said.contains("redirects to something that is not an address");
            // What is no address by itself is a path of the same server.
            if !refused && !said.starts_with(&base) {
                wrong.push(format!("{reason} {target:?} by {status}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_redirect_without_a_scheme_is_looked_at_like_any_other() {
    for (location, words) in [
        ("//169.254.169.254/latest", "is a link-local or metadata address"),
        ("//0xa9fea9fe", "is a link-local or metadata address"),
        ("\\\\169.254.169.254\\latest", "is a link-local or metadata address"),
        ("/\\169.254.169.254/latest", "is a link-local or metadata address"),
        ("//user@[::ffff:a9fe:a9fe]:80/", "is a link-local or metadata address"),
        ("//metadata.google.internal/", "is the name of a metadata service"),
        ("//rebind.test/", "is a link-local or metadata address"),
        ("file:///etc/passwd", "`file` is not fetched from"),
    ] {
        let location = HeaderValue::from_static(location);
        let answer =
            any(move || async move { (axum::http::StatusCode::FOUND, [("location", location)]) });
        let base = serve(Router::new().route("/", answer)).await;
        let (_, fetcher) = guarded(&Arc::default());
        let error = fetcher.fetch(&Source { url: base, config: None }).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.is_permanent());
    }
}

#[tokio::test]
async fn callbacks_go_no_further_than_fetches() {
    let base = redirecting().await;
    let (_, fetcher) = guarded(&Arc::default());
    for (url, permanent) in [
        ("http://0xa9fea9fe/".to_owned(), true),
        ("http://metadata.google.internal/".to_owned(), true),
        ("ftp://localhost/".to_owned(), true),
        ("http://rebind.test/".to_owned(), false),
        (format!("{base}/307/0"), false),
    ] {
        let error = fetcher.send(&url, None, "{}").await.unwrap_err();
        assert!(WORDS.iter().any(|(_, words)| error.to_string().contains(words)), "{error}");
        assert_eq!(error.is_permanent(), permanent, "{error}");
    }
}

/// The host of an address as it was written.
fn raw_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    (!host.is_empty()).then_some(host)
}

#[tokio::test]
async fn fetchers_that_are_not_https_refuse_the_same_hosts() {
    let asked = Arc::default();
    let (reach, _) = guarded(&asked);
    let (mut wrong, mut count) = (vec![], 0);
    for (reason, url) in table() {
        if matches!(reason, "parser" | "scheme") {
            continue;
        }
        let parsed = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let raw = raw_host(&url).map(str::to_owned);
        for host in parsed.into_iter().chain(raw) {
            count += 1;
            match reach.resolve(&host, 5432).await {
                Err(ConnectError::Refused(_)) => {}
                other => wrong.push(format!("{reason} {host:?}: {other:?}")),
            }
            // A scheme whose hosts the parser leaves as they are written.
            if reason != "resolved"
                && let Ok(url) = Url::parse(&format!("postgresql://me@{host}:5432/db"))
                && reach.check(&url).is_ok()
            {
                wrong.push(format!("{reason} {url}: not refused"));
            }
        }
    }
    for (host, why) in [
        ("fe80::1%eth0", Why::Address),
        ("[fe80::1%25eth0]", Why::Address),
        ("fe80::1", Why::Address),
        ("169.254.169.254 ", Why::NoHost),
        ("", Why::NoHost),
        (".", Why::NoHost),
        ("a b", Why::NoHost),
        ("a/b", Why::NoHost),
        ("169.254.169.254\0", Why::NoHost),
    ] {
        match reach.resolve(host, 1).await {
            Err(ConnectError::Refused(refused)) => assert_eq!(refused.why(), why, "{host:?}"),
            other => wrong.push(format!("{host:?}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 400, "{count}");
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_connected_to_where_it_was_checked() {
    let base = serve(Router::new().route("/", answer(200, "application/json", "[1]"))).await;
    let port = Url::parse(&base).unwrap().port().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let turning: Lookup = Arc::new(move |_, port| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let ip: IpAddr = if first { "127.0.0.1" } else { "169.254.169.254" }.parse().unwrap();
        Box::pin(async move { Ok(vec![SocketAddr::new(ip, port)]) })
    });
    let means = Means::standard(Duration::from_secs(5)).unwrap();
    let reach = Reach::default().with_lookup(turning);
    let url = format!("http://turning.test:{port}/");
    let source = Source { url, config: None };

    let fetcher = HttpFetcher::new(means.reaching(reach.clone()).unwrap());
    assert_eq!(fetcher.fetch(&source).await.unwrap().get(), "[1]");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "resolved once, and not again to connect");

    let again = HttpFetcher::new(means.reaching(reach.clone()).unwrap());
    let error = again.fetch(&source).await.unwrap_err().to_string();
    assert!(error.contains("turning.test is a link-local or metadata address"), "{error}");

    asked.store(0, Ordering::SeqCst);
    reach.connect("turning.test", port).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let refused = reach.connect("turning.test", port).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused}");
}
