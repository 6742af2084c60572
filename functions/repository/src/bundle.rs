//! A bundle server: `bundle.tar.gz` at an address, which has changed if its tag has, or its
//! bytes where it has none (`spec/opal-protocol.md` §2.6).

use archive::{Limits, read_wanted};
use protocol::opal::filter::Filter;
use protocol::opal::policy::Files;
use protocol::repository::{Access, Place};
use protocol::{Millis, Problem, hex};
use s3::Signer;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::failure::Failure;

/// The file, in the folder that the settings name.
const FILE: &str = "bundle.tar.gz";
/// What answers, in the words of an error.
const SERVER: &str = "the bundle server";
/// Bytes of a bundle as it travels.
pub const MAX_BYTES: usize = 16 << 20;
/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;

/// A `GET`, which is sent without following redirects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// Names in lower case, and values. Some are secret: never log them.
    pub headers: Vec<(&'static str, String)>,
    redirects: u32,
}

/// How an answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// The bundle follows.
    Bundle,
    /// It is what was known.
    Unchanged,
    /// It is elsewhere: send this.
    Elsewhere(Box<Request>),
}

impl Request {
    /// Asks for the bundle, unless it is the one that has the tag `known`.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(
        place: &Place,
        access: &Access,
        known: Option<&str>,
        now: Millis,
    ) -> Result<Self, Failure> {
        let url = address(place.url()).map_err(Failure::Lasting)?;
        let mut headers = vec![];
        match (place, access) {
            (Place::S3 { region, .. }, Access::Key { id, secret }) => {
                let secret = secret.expose();
                let signer = Signer { id, secret, region, service: "s3", token: None };
                headers.extend(signer.sign_get(&s3::host(&url), url.path(), now));
            }
            (_, Access::Bearer(token)) => {
                headers.push(("authorization", format!("Bearer {}", token.expose())));
            }
            _ => {}
        }
        if let Some(tag) = known.filter(|tag| is_etag(tag)) {
            headers.push(("if-none-match", tag.to_owned()));
        }
        Ok(Self { url, headers, redirects: 0 })
    }

    /// What the status and the location of an answer mean.
    ///
    /// # Errors
    /// It is neither the bundle nor a way to it.
    pub fn head(&self, status: u16, location: Option<&str>) -> Result<Head, Failure> {
        let is_conditional = self.headers.iter().any(|(name, _)| *name == "if-none-match");
        match (status, location) {
            (200, _) => Ok(Head::Bundle),
            (304, _) if is_conditional => Ok(Head::Unchanged),
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                self.moved(location).map(|request| Head::Elsewhere(Box::new(request)))
            }
            _ => Err(Failure::status(SERVER, status)),
        }
    }

    /// The same at another place. What opens this server is not for another.
    fn moved(&self, location: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            let detail = format!("{SERVER} redirects {why}; set the address where the bundle is");
            Failure::Lasting(Problem::new(502, detail))
        };
        if self.redirects >= MAX_REDIRECTS {
            return Err(refuse("in a circle"));
        }
        let url = self.url.join(location).map_err(|_| refuse("to what is no address"))?;
        if !matches!(url.scheme(), "http" | "https") || self.url.scheme() > url.scheme() {
            return Err(refuse("to an address that is not of https"));
        }
        let mut headers = self.headers.clone();
        if url.origin() != self.url.origin() {
            headers.retain(|(name, _)| *name == "if-none-match");
        }
        Ok(Self { url, headers, redirects: self.redirects + 1 })
    }
}

/// What tells this bundle from others: its tag, or a digest where it has none.
#[must_use]
pub fn tag(etag: Option<&str>, body: &[u8]) -> String {
    let etag = etag.filter(|etag| is_etag(etag));
    etag.map_or_else(|| hex(&Sha256::digest(body)), str::to_owned)
}

/// The files of a bundle that are wanted.
///
/// # Errors
/// It cannot be read.
pub fn read(body: &[u8], filter: &Filter) -> Result<Files, Failure> {
    let files = read_wanted(body, &Limits::default(), &|path| filter.wants(path))?;
    Ok(filter.settle(files))
}

fn is_etag(tag: &str) -> bool {
    tag.strip_prefix("W/").unwrap_or(tag).starts_with('"')
}

/// Where the bundle is, by the address of its folder.
///
/// # Errors
/// 503: it is no address of `http` or `https` without userinfo.
pub fn address(folder: &str) -> Result<Url, Problem> {
    let url = Url::parse(&format!("{}/{FILE}", folder.trim().trim_end_matches('/')));
    let is_plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    url.ok().filter(is_plain).ok_or_else(|| {
        Problem::unavailable(
            "the address of the bundle server must begin with https:// or http://, and have no \
             user, query or fragment",
        )
    })
}

#[cfg(test)]
mod tests {
    use protocol::repository::Secret;

    use super::*;

    fn request(url: &str, known: Option<&str>) -> Request {
        let place = Place::Bundle { url: url.to_owned() };
        let access = Access::Bearer(Secret::new("s3cret".to_owned()));
        Request::new(&place, &access, known, Millis(0)).unwrap()
    }

    fn names(request: &Request) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_bundle_is_asked_for_with_its_tag_and_a_digest_is_none() {
        let plain = request("https://h/a/", None);
        assert_eq!(plain.url.as_str(), "https://h/a/bundle.tar.gz");
        assert_eq!(names(&plain), ["authorization"]);
        for tag in ["\"abc\"", "W/\"abc\""] {
            assert_eq!(names(&request("https://h/a", Some(tag))).last(), Some(&"if-none-match"));
        }
        let digest = tag(None, b"bytes");
        assert_eq!(digest.len(), 64);
        assert_eq!(names(&request("https://h/a", Some(&digest))), ["authorization"]);
        assert_eq!(tag(Some("\"abc\""), b"bytes"), "\"abc\"");
        assert_eq!(tag(Some("abc"), b"bytes"), digest, "not what a tag is");
    }

    #[test]
    fn unchanged_is_an_answer_only_to_who_knows_something() {
        assert_eq!(request("https://h", Some("\"a\"")).head(304, None), Ok(Head::Unchanged));
        assert!(request("https://h", None).head(304, None).is_err());
        assert_eq!(request("https://h", None).head(200, None), Ok(Head::Bundle));
    }

    #[test]
    fn credentials_follow_a_redirect_only_within_the_same_origin() {
        let from = request("https://h/a", Some("\"a\""));
        let to = |location: &str| match from.head(302, Some(location)) {
            Ok(Head::Elsewhere(request)) => Some((request.url.to_string(), names(&request).len())),
            _ => None,
        };
        assert_eq!(to("/b.gz"), Some(("https://h/b.gz".to_owned(), 2)));
        assert_eq!(to("https://h:444/b.gz"), Some(("https://h:444/b.gz".to_owned(), 1)));
        assert_eq!(to("https://i/b.gz"), Some(("https://i/b.gz".to_owned(), 1)));
        assert_eq!(to("http://h/b.gz"), None);
        assert_eq!(to("file:///b.gz"), None);
        let mut request = from.clone();
        for _ in 0..MAX_REDIRECTS {
            request = request.moved("/again").unwrap();
        }
        assert!(request.moved("/again").is_err());
    }

    #[test]
    fn an_address_with_a_user_is_refused_without_being_repeated() {
        for url in ["https://u:pw@h", "ftp://h", "h", "", "https://h/?token=pw", "https://h/#pw"] {
            let problem = address(url).unwrap_err();
            assert!(!problem.detail.contains("pw"), "{problem}");
        }
    }

    #[test]
    fn an_s3_request_is_signed() {
        let (url, region) = ("http://127.0.0.1:9000/bucket".to_owned(), "eu-1".to_owned());
        let access = Access::Key { id: "ID".to_owned(), secret: Secret::new("s".to_owned()) };
        let signed = Request::new(&Place::S3 { url, region }, &access, None, Millis(0)).unwrap();
        assert_eq!(names(&signed), ["authorization", "x-amz-content-sha256", "x-amz-date"]);
    }
}
