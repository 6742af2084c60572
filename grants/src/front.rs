//! What stands before the model: which requests are refused, and what the model is asked
//! (`spec/opa-and-grants.md` §4.3).
//!
//! A path that two readers could read in two ways is refused, so that what the model allows is what
//! the router then does. It is decoded once, here, and nowhere else.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use protocol::limits::MAX_ASKED_PATH_BYTES;
use protocol::plane::grants::Token;
use protocol::plane::{Question, Refusal};

/// Where the health check is.
const HEALTH: &str = "/api/v1/healthz";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The health check needs no token.
    Health,
    /// This is to be asked of the model.
    Ask(Question),
}

/// The method that a request with this method is asked about: who may not read may not ask what
/// there is to read.
fn asked_about(method: &str) -> &str {
    if method == "HEAD" { "GET" } else { method }
}

/// Looks at a request: its method, its path as it came (percent-encoded, without query), and the
/// value of the token's header.
///
/// # Errors
/// In this order: 400 without a token, 401 for what is no token, 400 for a path that router and
/// model could read in two ways or that is too long.
pub fn admit(method: &str, path: &str, token: Option<&str>) -> Result<Admission, Refusal> {
    let path = read(path);
    let method = asked_about(method);
    if method == "GET" && path.as_ref().is_ok_and(|path| path == HEALTH) {
        return Ok(Admission::Health);
    }
    let token = token.filter(|token| !token.is_empty()).ok_or_else(Refusal::missing_key)?;
    let Token { domain, subject } = Token::read(token).ok_or_else(Refusal::invalid_key)?;
    let path = path.map_err(|why| Refusal::new(400, "invalid path", why))?;
    Ok(Admission::Ask(Question { subject, domain, path, method: method.to_owned() }))
}

/// The path, decoded, and without a slash at its end.
fn read(path: &str) -> Result<String, Cow<'static, str>> {
    if path.len() > MAX_ASKED_PATH_BYTES {
        return Err(format!("a path has at most {MAX_ASKED_PATH_BYTES} bytes").into());
    }
    if !escapes(path).all(|escape| escape.is_some()) {
        return Err("a `%` is followed by two hexadecimal digits: write `%25` for it".into());
    }
    let is_slash = |escape: Option<[u8; 2]>| {
        escape.is_some_and(|[high, low]| [*b"2f", *b"5c"].contains(&[high, low]))
    };
    if path.contains('\\') || escapes(path).any(is_slash) {
        return Err("a path has no encoded slash and no backslash: segments are between `/`".into());
    }
    let decoded = percent_decode_str(path).decode_utf8();
    let decoded = decoded.map_err(|_| "the path is not UTF-8: encode its characters so")?;
    if escapes(&decoded).any(|escape| escape.is_some()) {
        return Err("the path is percent-encoded twice: encode it once".into());
    }
    if decoded.chars().any(char::is_control) {
        return Err("a path has no control characters, such as line ends: leave them out".into());
    }
    let inner = decoded.strip_prefix('/').ok_or("a path begins with `/`")?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for segment in inner.split('/') {
        if segment.is_empty() && decoded.len() > 1 {
            return Err("a path has no two slashes in a row: write one".into());
        }
        if [".", ".."].contains(&segment) {
            return Err("a path has no segment `.` or `..`: send the path that it leads to".into());
        }
    }
    Ok(format!("/{inner}"))
}

/// For each `%`: the two digits behind it, in lower case; none if there are not two.
fn escapes(path: &str) -> impl Iterator<Item = Option<[u8; 2]>> + '_ {
    path.split('%').skip(1).map(|after| {
        let digits = after.as_bytes().first_chunk::<2>()?;
        digits.iter().all(u8::is_ascii_hexdigit).then(|| digits.map(|it| it.to_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "v1:sandbox.example.com:secret";

    fn asked(path: &str) -> Result<String, u16> {
        match admit("GET", path, Some(TOKEN)) {
            Ok(Admission::Ask(question)) => Ok(question.path),
            Ok(Admission::Health) => Ok("health".to_owned()),
            Err(refusal) => Err(refusal.status),
        }
    }

    #[test]
    fn the_health_check_alone_needs_no_token() {
        for path in [HEALTH, "/api/v1/healthz/", "/api/v1/%68ealthz"] {
            assert_eq!(admit("GET", path, None), Ok(Admission::Health), "{path}");
        }
        for (method, path) in [
            ("POST", HEALTH),
            ("get", HEALTH),
            ("GET", "/api/v1/healthz/x"),
            ("GET", "//api/v1/healthz"),
            ("GET", "/api/v1/HEALTHZ"),
        ] {
            let refused = admit(method, path, None).unwrap_err();
            assert_eq!(refused, Refusal::missing_key(), "{method} {path}");
        }
    }

    #[test]
    fn a_request_is_refused_for_its_token_before_its_path() {
        for token in [None, Some("")] {
            assert_eq!(admit("GET", "/a//b", token), Err(Refusal::missing_key()));
        }
        for token in ["v1", "v1:d", "v1:d:s:x", "v2:d:s", " v1:d:s", "V1:d:s"] {
            assert_eq!(admit("GET", "/a//b", Some(token)), Err(Refusal::invalid_key()), "{token}");
        }
        assert_eq!(asked("/a//b"), Err(400));
    }

    #[test]
    fn what_may_be_read_may_be_asked_for_with_head_and_nothing_else() {
        for (method, asked) in [("HEAD", "GET"), ("head", "head"), ("OPTIONS", "OPTIONS")] {
            let Ok(Admission::Ask(question)) = admit(method, "/a", Some(TOKEN)) else {
                panic!("refused")
            };
            assert_eq!(question.method, asked);
        }
        assert_eq!(admit("HEAD", HEALTH, None), Ok(Admission::Health));
    }

    #[test]
    fn the_model_is_asked_with_the_tokens_hash_and_the_method_as_it_came() {
        let Ok(Admission::Ask(question)) = admit("brew", "/a/", Some(TOKEN)) else {
            panic!("refused")
        };
        assert_eq!((&*question.domain, &*question.method), ("sandbox.example.com", "brew"));
        assert_eq!(question.subject, Token::read(TOKEN).unwrap().subject);
    }

    #[test]
    fn a_path_is_decoded_once_and_loses_one_slash() {
        for (path, expected) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a%20b", "/a b"),
            ("/%C3%A9", "/é"),
            ("/100%25", "/100%"),
            ("/a%3Fb", "/a?b"),
            ("/A/b", "/A/b"),
            ("/...", "/..."),
        ] {
            assert_eq!(asked(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "a",
            "*",
            "//",
            "/a//",
            "/a//b",
            "//a",
            "/a%2Fb",
            "/a%2fb",
            "/a%252Fb",
            "/a%252e",
            "/a%5Cb",
            "/a\\b",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a/../",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a%0A",
            "/a%00",
            "/a\n",
            "/a%0D%0Ab",
            "/a%C2%85",
            "/a%FF",
            "/a%",
            "/a%4",
            "/a%zz",
        ] {
            assert_eq!(asked(path), Err(400), "{path}");
        }
        let fits = format!("/{}", "a".repeat(MAX_ASKED_PATH_BYTES - 1));
        assert!(asked(&fits).is_ok());
        assert_eq!(asked(&format!("{fits}a")), Err(400));
        assert_eq!(asked(&"/a".repeat(50_000)), Err(400));
    }

    #[test]
    fn a_refused_path_is_told_how_to_be_written() {
        let refused = admit("GET", "/a%2Fb", Some(TOKEN)).unwrap_err();
        assert_eq!(refused.message, "invalid path");
        assert!(refused.detail.unwrap().contains("no encoded slash"));
    }
}
