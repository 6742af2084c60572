//! Where an object is: `s3://BUCKET/KEY`, as people and tools write it, and the address that it
//! is asked for at.

use std::fmt::Write as _;

use url::Url;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key, as it is: nothing in it is encoded.
    pub key: String,
}

/// Where the bucket is in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The first part of the path; all there is at most servers but AWS's own.
    Path,
    /// The first part of the host.
    Host,
}

/// Why something is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not of the form `s3://BUCKET/KEY`.
    #[error("give s3://BUCKET/KEY")]
    Form,
    /// The bucket's name has a letter that none may have.
    #[error("the bucket's name has 3 to 63 letters, digits, `-`, `.` and `_`")]
    Bucket,
    /// A part of the key is `.` or `..`, which every program on the way may understand.
    #[error("no part of the key may be `.` or `..`")]
    Dots,
    /// The endpoint is no address, or has more than a host and a path.
    #[error("give an endpoint such as https://storage.example.com, without user and query")]
    Endpoint,
}

impl Place {
    /// Reads `s3://BUCKET/KEY`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let rest = text.trim().strip_prefix("s3://").ok_or(PlaceError::Form)?;
        let (bucket, key) = rest.split_once('/').ok_or(PlaceError::Form)?;
        let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_');
        if !bucket.chars().all(plain)
            || !(3..=63).contains(&bucket.len())
            || !bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
        {
            return Err(PlaceError::Bucket);
        }
        if key.is_empty() {
            return Err(PlaceError::Form);
        }
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(PlaceError::Dots);
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Its address at `endpoint`, whose path, if it has one, comes first.
    ///
    /// # Errors
    /// The endpoint is none.
    pub fn address(&self, endpoint: &str, style: Style) -> Result<Url, PlaceError> {
        let mut url = Url::parse(endpoint.trim()).map_err(|_| PlaceError::Endpoint)?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|_| is_plain).ok_or(PlaceError::Endpoint)?.to_owned();
        let mut path = url.path().trim_end_matches('/').to_owned();
        match style {
            Style::Path => {
                path.push('/');
                path.push_str(&self.bucket);
            }
            Style::Host => {
                let host = format!("{}.{host}", self.bucket);
                url.set_host(Some(&host)).map_err(|_| PlaceError::Endpoint)?;
            }
        }
        path.push('/');
        encode(&mut path, &self.key);
        url.set_path(&path);
        Ok(url)
    }
}

/// As the signature has it: everything but letters, digits, `-._~` and the slash.
fn encode(path: &mut String, key: &str) {
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
}

/// An address's host as it is sent and signed: with the port, unless that is the scheme's own.
#[must_use]
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_an_address_in_both_styles() {
        for (text, endpoint, style, address) in [
            (
                "s3://data/users.json",
                "https://s3.eu-west-1.amazonaws.com",
                Style::Host,
                "https://data.s3.eu-west-1.amazonaws.com/users.json",
            ),
            (
                "s3://data/a b/ü+?#%41.json",
                "http://127.0.0.1:9000/",
                Style::Path,
                "http://127.0.0.1:9000/data/a%20b/%C3%BC%2B%3F%23%2541.json",
            ),
            ("s3://data//x", "https://h/base/", Style::Path, "https://h/base/data//x"),
        ] {
            let url = Place::parse(text).unwrap().address(endpoint, style).unwrap();
            assert_eq!(url.as_str(), address);
        }
        assert_eq!(host(&Url::parse("http://127.0.0.1:9000/b").unwrap()), "127.0.0.1:9000");
        assert_eq!(host(&Url::parse("https://h:443/b").unwrap()), "h");
    }

    #[test]
    fn what_is_no_object_and_no_endpoint_is_refused() {
        for (text, error) in [
            ("", PlaceError::Form),
            ("http://data/x", PlaceError::Form),
            ("s3://data", PlaceError::Form),
            ("s3://data/", PlaceError::Form),
            ("s3:///x", PlaceError::Bucket),
            ("s3://a@b.c/x", PlaceError::Bucket),
            ("s3://a:1/x", PlaceError::Bucket),
            ("s3://-ab/x", PlaceError::Bucket),
            ("s3://data/a/../../other/x", PlaceError::Dots),
            ("s3://data/./x", PlaceError::Dots),
        ] {
            assert_eq!(Place::parse(text), Err(error), "{text}");
        }
        let place = Place::parse("s3://data/%2e%2e/x").unwrap();
        let url = place.address("https://h", Style::Path).unwrap();
        assert_eq!(url.as_str(), "https://h/data/%252e%252e/x", "encoded once more");
        for endpoint in ["", "h", "ftp://h", "https://u:p@h", "https://h?x=1", "https://h/#a"] {
            assert_eq!(
                place.address(endpoint, Style::Path),
                Err(PlaceError::Endpoint),
                "{endpoint}"
            );
        }
    }
}
