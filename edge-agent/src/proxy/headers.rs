//! The headers that engine and application both get: there is one reading of them, or none.
//!
//! Whatever two readers could take for two different things is refused before anybody looks at it:
//! headers that may come once and come twice, values that are not ASCII. The rest is put as one line
//! each, as RFC 9110 §5.3 has it.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use protocol::plane::HEADER;

use super::vault::Undone;
use crate::http::hops;

/// What may come once: of two, engine and application could each go by another one.
const ONCE: [&str; 4] = ["content-length", "host", "authorization", HEADER];

/// Makes a request's headers those that are handed on. `host` is for requests that name none.
///
/// # Errors
/// 400: which header, and what is wrong with it; never its value.
pub(super) fn settle(headers: &mut HeaderMap, host: &str, peer: SocketAddr) -> Result<(), Undone> {
    let refuse = |message: String| Err(Undone { status: 400, message });
    let unreadable = headers.iter().find(|(_, value)| value.to_str().is_err());
    if let Some((name, _)) = unreadable {
        return refuse(format!("the header {name} has a value that is not ASCII: encode it"));
    }
    let named = hops::named(headers);
    for once in ONCE {
        if headers.get_all(once).iter().nth(1).is_some() {
            return refuse(format!("the header {once} comes twice: send it once"));
        }
        if named.iter().any(|name| name.as_str().eq_ignore_ascii_case(once)) {
            return refuse(format!("the header Connection names {once}, which is not about it"));
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return refuse("send Content-Length or Transfer-Encoding, and not both".to_owned());
    }
    hops::leave_out(headers);
    // The grant's token is the proxy's business.
    headers.remove(HEADER);
    join(headers)?;
    if let (false, Ok(host)) = (headers.contains_key(header::HOST), HeaderValue::from_str(host)) {
        headers.insert(header::HOST, host);
    }
    tell_of(headers, peer);
    Ok(())
}

/// Puts what comes several times as one line.
fn join(headers: &mut HeaderMap) -> Result<(), Undone> {
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if values.len() < 2 {
            continue;
        }
        // Cookies are no list (RFC 9113 §8.2.3).
        let between: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
        let joined = HeaderValue::from_bytes(&values.join(between)).map_err(|_| Undone {
            status: 400,
            message: format!("the values of {name} cannot be put in one line: send it once"),
        })?;
        headers.insert(name, joined);
    }
    Ok(())
}

/// Says who asked, after what others before said.
fn tell_of(headers: &mut HeaderMap, peer: SocketAddr) {
    const FOR: &str = "x-forwarded-for";
    let before = headers.get(FOR).and_then(|it| it.to_str().ok());
    let address = peer.ip().to_canonical();
    let forwarded = before.map_or_else(|| address.to_string(), |it| format!("{it}, {address}"));
    if let Ok(value) = HeaderValue::from_str(&forwarded) {
        headers.insert(FOR, value);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry("x-forwarded-host").or_insert(host);
    }
    headers.entry("x-forwarded-proto").or_insert(HeaderValue::from_static("http"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these, or which status and why.
    fn settled(lines: &[(&'static str, &str)]) -> Result<HeaderMap, Undone> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        settle(&mut headers, "upstream:80", "10.0.0.1:4711".parse().unwrap())?;
        Ok(headers)
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_and_not_repeated() {
        for (lines, why) in [
            ([("authorization", "Bearer a1b2"), ("Authorization", "Bearer a1b2")], "authorization"),
            ([("host", "a1b2"), ("host", "b")], "host comes twice"),
            ([("content-length", "3"), ("content-length", "3")], "content-length comes twice"),
            ([(HEADER, "v1:a1b2:x"), (HEADER, "v1:a:y")], "comes twice"),
            ([("x-user", "a1b2\u{e4}"), ("a", "b")], "x-user has a value that is not ASCII"),
            ([("connection", "close, Host"), ("host", "a1b2")], "names host"),
            ([("connection", "authorization"), ("authorization", "a1b2")], "names authorization"),
            ([("transfer-encoding", "chunked"), ("content-length", "5")], "and not both"),
        ] {
            let undone = settled(&lines).unwrap_err();
            assert_eq!(undone.status, 400, "{undone:?}");
            assert!(undone.message.contains(why), "{why}: {undone:?}");
            assert!(!undone.message.contains("a1b2"), "{undone:?}");
        }
    }

    #[test]
    fn what_comes_several_times_is_one_line() {
        let headers = settled(&[
            ("x-role", "user"),
            ("host", "shop.example.com"),
            ("x-role", "admin, root"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("connection", "x-gone"),
            ("x-gone", "1"),
            ("x-gone", "2"),
            (HEADER, "v1:a:b"),
        ]);
        let headers = headers.unwrap();
        let lines: Vec<_> = headers.iter().map(|(name, it)| (name.as_str(), it)).collect();
        let mut lines: Vec<_> =
            lines.into_iter().map(|(name, it)| (name, it.to_str().unwrap())).collect();
        lines.sort_unstable();
        let expected = [
            ("cookie", "a=1; b=2"),
            ("host", "shop.example.com"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "shop.example.com"),
            ("x-forwarded-proto", "http"),
            ("x-role", "user, admin, root"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_application_is_told_who_asked() {
        let headers =
            settled(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "203.0.113.10")]);
        let headers = headers.unwrap();
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 203.0.113.10, 10.0.0.1");
        assert_eq!(headers["host"], "upstream:80");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }
}
