//! Requests to S3-compatible storage are signed with AWS's Signature Version 4
//! (`spec/opal-protocol.md` §2.6).

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use protocol::{Millis, hex};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of nothing: what a `GET` has as its body.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The header of [`Signer::token`]; its name is the last one of all.
const TOKEN: &str = "x-amz-security-token";

/// Who signs, for what.
#[derive(Clone, Copy)]
pub struct Signer<'s> {
    /// The access key's id.
    pub id: &'s str,
    /// Its secret.
    pub secret: &'s str,
    /// What goes with keys that hold for a while.
    pub token: Option<&'s str>,
    /// The region.
    pub region: &'s str,
    /// The service.
    pub service: &'s str,
}

impl Signer<'_> {
    /// The headers that make a `GET` of this a signed one. `host` is as it is sent, with the port
    /// unless that is the scheme's own; `path` is encoded as it is sent.
    #[must_use]
    pub fn sign_get(&self, host: &str, path: &str, now: Millis) -> Vec<(&'static str, String)> {
        let date = written(now);
        let mut headers =
            vec![("host", host), ("x-amz-content-sha256", NOTHING), ("x-amz-date", date.as_str())];
        headers.extend(self.token.map(|token| (TOKEN, token)));
        let mut sent = vec![("authorization", self.authorization(path, &headers))];
        sent.extend(headers.iter().skip(1).map(|(name, value)| (*name, (*value).to_owned())));
        sent
    }

    /// The value of `Authorization` for a `GET` without a query. `headers` are all that are
    /// signed, in the order of their names, and `x-amz-date` is among them.
    fn authorization(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let date = headers.iter().find(|(name, _)| *name == "x-amz-date").map_or("", |it| it.1);
        let day = date.split('T').next().unwrap_or_default();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let request = format!("GET\n{path}\n\n{lines}\n{names}\n{NOTHING}");
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let digest = hex(&Sha256::digest(request));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let first = format!("AWS4{}", self.secret).into_bytes();
        let parts = [day, self.region, self.service, "aws4_request"];
        let key = parts.iter().fold(first, |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &text));
        let id = self.id;
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, \
             Signature={signature}"
        )
    }
}

/// HMAC-SHA256, which takes a key of any length.
fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return vec![] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// As `20130524T000000Z`.
fn written(at: Millis) -> String {
    let at = i64::try_from(at.0).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    at.unwrap_or_default().format("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2013-05-24, midnight.
    const AT: Millis = Millis(1_369_353_600_000);

    #[test]
    fn the_signature_is_that_of_awss_test_suite() {
        let signer = Signer {
            id: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "service",
            token: None,
        };
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        assert_eq!(
            signer.authorization("/", &headers),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn the_signature_is_that_of_s3s_documentation() {
        let signer = Signer {
            id: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "s3",
            token: None,
        };
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", NOTHING),
            ("x-amz-date", "20130524T000000Z"),
        ];
        let signed = signer.authorization("/test.txt", &headers);
        assert!(
            signed.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{signed}"
        );
    }

    #[test]
    fn a_get_is_signed_with_its_host_its_body_and_its_moment() {
        let signer = Signer { id: "I", secret: "s", region: "r", service: "s3", token: None };
        let headers = signer.sign_get("h:9000", "/b/bundle.tar.gz", AT);
        let value = |name: &str| headers.iter().find(|it| it.0 == name).unwrap().1.as_str();
        assert_eq!(value("x-amz-date"), "20130524T000000Z");
        assert_eq!(value("x-amz-content-sha256"), NOTHING);
        let authorization = value("authorization");
        assert!(authorization.contains("Credential=I/20130524/r/s3/aws4_request"));
        assert!(authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date"));
        let other = signer.sign_get("other", "/b/bundle.tar.gz", AT);
        assert_eq!(headers.len(), 3, "the host is sent by whoever connects");
        assert_ne!(other.first().unwrap().1, authorization);
    }

    #[test]
    fn a_token_is_sent_and_signed() {
        let signer = Signer { id: "I", secret: "s", region: "r", service: "s3", token: Some("t") };
        let headers = signer.sign_get("h", "/b/k", AT);
        assert_eq!(headers.last(), Some(&("x-amz-security-token", "t".to_owned())));
        let authorization = &headers.first().unwrap().1;
        let signed = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        assert!(authorization.contains(signed), "{authorization}");
    }
}
