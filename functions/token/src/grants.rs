//! The body of `POST /api/v1/grants`, and what is made of it: a grant, and its token, which is
//! told once (`spec/opa-and-grants.md` §4.2).

use std::fmt;

use protocol::plane::Refusal;
use protocol::plane::grants::{Effect, Grant, PathSyntax, Subject, Token, check_domain};
use protocol::{Millis, Problem, json, limits};
use serde::Deserialize;
use speedate::DateTime;

/// What a grant may name; other methods are covered by `*` alone.
const METHODS: [&str; 5] = ["*", "GET", "POST", "PUT", "DELETE"];
/// Letters and digits of a token's secret: about 190 bits.
const SECRET_LENGTH: usize = 32;
/// Letters and digits of an id: about 119 bits.
const ID_LENGTH: usize = 20;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A request's body. An unknown member is refused: a misspelt restriction would be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    domain: String,
    allowed_http_methods: Vec<String>,
    #[serde(default)]
    paths: Option<Vec<String>>,
    #[serde(default)]
    path_syntax: PathSyntax,
    #[serde(default)]
    eft: Effect,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    /// The grant is this role's.
    #[serde(default)]
    role: Option<String>,
    /// The grant is added to that one's token.
    #[serde(default)]
    grant_id: Option<String>,
}

/// A new grant, and its token, unless it is a role's or added to another one. Its `Debug` leaves
/// out the token.
pub struct MadeGrant {
    /// The grant. One that is added to another has no subject yet: the hub knows that one's.
    pub grant: Grant,
    /// What its bearer sends.
    pub token: Option<String>,
}

impl fmt::Debug for MadeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeGrant").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// Reads the body of a request for a grant, and makes it.
///
/// # Errors
/// 400 `Validation Error` that names the member and what is possible; 500 without randomness.
pub fn make_grant(body: &[u8], now: Millis) -> Result<MadeGrant, Refusal> {
    let request: Request =
        json::parse(body).map_err(|problem| Refusal::validation(problem.detail))?;
    request.check().map_err(Refusal::validation)?;
    let expires_at = request.expires_at.as_deref().map(|text| moment(text, now)).transpose();
    let expires_at = expires_at.map_err(Refusal::validation)?;
    let (subject, token) = match (&request.role, &request.grant_id) {
        (Some(role), _) => (Subject::Role(role.clone()), None),
        (None, Some(_)) => (Subject::Token(String::new()), None),
        (None, None) => {
            let token = Token::write(&request.domain, &random_text(SECRET_LENGTH)?);
            let subject = Token::read(&token).map(|read| read.subject);
            let subject = subject.ok_or_else(|| Problem::internal("a token cannot be read"))?;
            (Subject::Token(subject), Some(token))
        }
    };
    let Request { domain, allowed_http_methods, paths, path_syntax, eft, roles, grant_id, .. } =
        request;
    let paths = paths.filter(|paths| !paths.is_empty()).unwrap_or_else(|| vec!["*".to_owned()]);
    let grant = Grant {
        id: new_id("grant")?,
        domain,
        subject,
        allowed_http_methods,
        paths,
        path_syntax,
        eft,
        roles,
        expires_at,
        created_at: now,
        added_to: grant_id,
    };
    Ok(MadeGrant { grant, token })
}

/// An id that nobody has: `fact_…`, with twenty letters or digits.
///
/// # Errors
/// 500 without randomness.
pub fn new_id(kind: &str) -> Result<String, Problem> {
    Ok(format!("{kind}_{}", random_text(ID_LENGTH)?))
}

/// Letters and digits, each as likely as the others.
fn random_text(length: usize) -> Result<String, Problem> {
    let mut text = String::with_capacity(length);
    // Bytes from 248 on would make the first letters likelier.
    let fair = |byte: &u8| usize::from(*byte) < ALPHABET.len() * 4;
    while text.len() < length {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)
            .map_err(|_| Problem::internal("the source of randomness does not answer"))?;
        let letters = bytes.iter().filter(|byte| fair(byte));
        let letters = letters.filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()));
        text.extend(letters.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(text)
}

impl Request {
    fn check(&self) -> Result<(), String> {
        check_domain(&self.domain).map_err(|reason| format!("domain: {reason}"))?;
        if self.allowed_http_methods.is_empty() {
            return Err("allowed_http_methods: name at least one; `*` is all".to_owned());
        }
        for (at, method) in self.allowed_http_methods.iter().enumerate() {
            if !METHODS.contains(&method.as_str()) {
                return Err(format!(
                    "allowed_http_methods[{at}]: give one of {}",
                    METHODS.join(", ")
                ));
            }
        }
        if self.allowed_http_methods.len() > METHODS.len() {
            return Err("allowed_http_methods: name each once".to_owned());
        }
        let paths = self.paths.iter().flatten();
        if paths.clone().count() > limits::MAX_GRANT_PATHS {
            return Err(format!("paths: at most {}", limits::MAX_GRANT_PATHS));
        }
        for (at, path) in paths.enumerate() {
            if path.len() > limits::MAX_PATTERN_BYTES {
                return Err(format!("paths[{at}]: at most {} bytes", limits::MAX_PATTERN_BYTES));
            }
            ::grants::pattern::check(path, self.path_syntax)
                .map_err(|error| format!("paths[{at}]: {error}"))?;
        }
        if self.roles.len() > limits::MAX_GRANT_ROLES {
            return Err(format!("roles: at most {}", limits::MAX_GRANT_ROLES));
        }
        for (at, role) in self.roles.iter().enumerate() {
            check_role(role).map_err(|reason| format!("roles[{at}]: {reason}"))?;
        }
        self.role
            .iter()
            .try_for_each(|role| check_role(role).map_err(|it| format!("role: {it}")))?;
        if self.role.is_some() && self.grant_id.is_some() {
            return Err("grant_id: a grant is a role's, or is added to another one".to_owned());
        }
        Ok(())
    }
}

/// No role is called as the hash of a token is.
fn check_role(role: &str) -> Result<(), String> {
    let limit = limits::MAX_SLUG_BYTES;
    let is_name = |it: u8| it.is_ascii_alphanumeric() || b"_.:-".contains(&it);
    if role.is_empty() || role.len() > limit || !role.bytes().all(is_name) {
        return Err(format!("a role has 1 to {limit} letters, digits, `_`, `.`, `:` or `-`"));
    }
    if role.len() == limit && role.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err("a role is not 64 hexadecimal digits: choose another name".to_owned());
    }
    Ok(())
}

/// A moment that is still to come.
fn moment(text: &str, now: Millis) -> Result<Millis, String> {
    let wrong = || "expires_at: give a time with its zone, such as 2027-01-31T12:00:00Z".to_owned();
    let at = DateTime::parse_str(text).map_err(|_| wrong())?;
    if at.time.tz_offset.is_none() {
        return Err(wrong());
    }
    let millis = at.timestamp_tz().saturating_mul(1_000);
    match u64::try_from(millis).map(Millis) {
        Ok(at) if at > now => Ok(at),
        _ => Err("expires_at: this is in the past; give a time to come".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn make(body: &Value) -> Result<MadeGrant, Refusal> {
        make_grant(body.to_string().as_bytes(), NOW)
    }

    /// Why a body is refused that is otherwise right.
    fn refused(member: &str, value: Value) -> String {
        let mut body = json!({"domain": "sandbox.example.com", "allowed_http_methods": ["GET"]});
        body[member] = value;
        let refusal = make(&body).unwrap_err();
        assert_eq!((refusal.status, refusal.message.as_str()), (400, "Validation Error"));
        refusal.detail.unwrap()
    }

    #[test]
    fn the_four_usual_grants_are_made_as_they_are_asked_for() {
        let fact = "/api/v1/facts/fact_1LqMuvudjA1xdtqbjd0l";
        for (methods, paths) in [
            (json!(["*"]), json!(["*"])),
            (json!(["POST", "GET"]), json!(["/api/v1/facts", "/api/v1/facts/*"])),
            (json!(["GET"]), json!([fact])),
            (json!(["POST"]), json!(["/js/v1/facts"])),
        ] {
            let body = json!({
                "domain": "sandbox.example.com", "allowed_http_methods": methods, "paths": paths });
            let made = make(&body).unwrap();
            assert_eq!(json!(made.grant.allowed_http_methods), methods);
            assert_eq!(json!(made.grant.paths), paths);
            let token = made.token.unwrap();
            let secret = token.strip_prefix("v1:sandbox.example.com:").unwrap();
            assert!(secret.len() == 32 && secret.bytes().all(|it| it.is_ascii_alphanumeric()));
            let subject = Subject::Token(Token::read(&token).unwrap().subject);
            assert_eq!(made.grant.subject, subject);
            assert!(!serde_json::to_string(&made.grant).unwrap().contains(secret));
        }
    }

    #[test]
    fn paths_left_out_or_empty_are_all_paths() {
        for paths in [json!(null), json!([])] {
            let body = json!({
                "domain": "a.example.com", "allowed_http_methods": ["GET"], "paths": paths });
            assert_eq!(make(&body).unwrap().grant.paths, ["*"]);
        }
    }

    #[test]
    fn a_roles_grant_and_one_that_is_added_have_no_token() {
        let mut body =
            json!({"domain": "a.example.com", "allowed_http_methods": ["*"], "role": "ops"});
        let made = make(&body).unwrap();
        assert!(made.token.is_none() && made.grant.subject == Subject::Role("ops".to_owned()));
        body["role"] = json!(null);
        body["grant_id"] = json!("grant_x");
        body["eft"] = json!("deny");
        let made = make(&body).unwrap();
        assert!(made.token.is_none() && made.grant.added_to.as_deref() == Some("grant_x"));
        assert_eq!(made.grant.eft, Effect::Deny);
        body["role"] = json!("ops");
        assert!(make(&body).is_err());
    }

    #[test]
    fn an_end_is_a_moment_to_come() {
        let body = json!({
            "domain": "a.example.com", "allowed_http_methods": ["GET"],
            "expires_at": "2027-01-31T12:00:00+01:00" });
        assert_eq!(make(&body).unwrap().grant.expires_at, Some(Millis(1_801_393_200_000)));
        for (text, why) in [
            ("2020-01-01T00:00:00Z", "past"),
            ("2027-01-31T12:00:00", "zone"),
            ("soon", "zone"),
            ("", "zone"),
        ] {
            assert!(refused("expires_at", json!(text)).contains(why), "{text}");
        }
    }

    #[test]
    fn every_fault_names_its_member_and_what_is_possible() {
        for (member, value, why) in [
            ("domain", json!("localhost"), "domain: give a fully qualified domain name"),
            ("domain", json!(""), "domain: "),
            ("domain", json!("a.example.com/x"), "domain: "),
            ("domain", json!("Sandbox.example.com"), "lower case: sandbox.example.com"),
            ("allowed_http_methods", json!([]), "allowed_http_methods: name at least one"),
            (
                "allowed_http_methods",
                json!(["GET", "PATCH"]),
                "allowed_http_methods[1]: give one of",
            ),
            ("allowed_http_methods", json!(["get"]), "allowed_http_methods[0]: "),
            ("allowed_http_methods", json!("GET"), "allowed_http_methods: invalid type"),
            ("paths", json!(["/a", "/foo*"]), "paths[1]: "),
            ("paths", json!(["x".repeat(2_000)]), "paths[0]: at most"),
            ("path_syntax", json!("glob"), "path_syntax: "),
            ("eft", json!("maybe"), "eft: "),
            ("roles", json!(["a b"]), "roles[0]: a role has"),
            ("role", json!("a".repeat(64)), "role: a role is not 64"),
            ("method", json!(["GET"]), "unknown field `method`"),
        ] {
            let detail = refused(member, value.clone());
            assert!(detail.contains(why), "{member} {value}: {detail}");
        }
        let casbin = json!({
            "domain": "a.example.com", "allowed_http_methods": ["GET"],
            "path_syntax": "casbin", "paths": ["/a("] });
        assert!(make(&casbin).unwrap_err().detail.unwrap().starts_with("paths[0]: "));
        assert!(make_grant(b"nope", NOW).is_err());
    }

    #[test]
    fn texts_are_never_twice_the_same_and_have_every_letter() {
        let texts: BTreeSet<String> = (0..200).map(|_| random_text(32).unwrap()).collect();
        assert_eq!(texts.len(), 200);
        let letters: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
        assert_eq!(letters.len(), ALPHABET.len());
    }
}
