//! Which names are those of credentials, and which texts look like one.

/// Parts of names of credentials, without what separates words.
const PARTS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "accountkey",
    "sharedkey",
    "masterkey",
    "credential",
    "authorization",
    "cookie",
    "signature",
    "bearer",
    "clientkey",
    "connectionstring",
];

/// Whole names of credentials.
const NAMES: [&str; 9] = ["auth", "pass", "pw", "pat", "jwt", "sas", "pin", "pincode", "bindpw"];

/// How names end that only tell of a credential: which, where it is, of which kind.
const ABOUT: [&str; 19] = [
    "url",
    "uri",
    "endpoint",
    "type",
    "name",
    "path",
    "file",
    "header",
    "keyid",
    "accesskeyid",
    "field",
    "column",
    "expiry",
    "expires",
    "ttl",
    "algorithm",
    "limit",
    "tokens",
    "version",
];

/// Members beside a credential that are none: of `auth: {user, method, …}`.
const PLAIN: [&str; 10] = [
    "user",
    "username",
    "method",
    "type",
    "mechanism",
    "source",
    "db",
    "realm",
    "scheme",
    "region",
];

/// Headers that say nothing of who asks, though they end as keys do.
const PLAIN_HEADERS: [&str; 2] = ["idempotencykey", "surrogatekey"];

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A member of the settings, at any depth.
    Member,
    /// A header.
    Header,
    /// A parameter of an address, or a field of a form.
    Query,
}

impl Place {
    /// Where the members of the member `name` stand.
    pub(super) fn below(self, name: &str) -> Self {
        match name {
            "headers" => Self::Header,
            "data" => Self::Query,
            _ => self,
        }
    }

    /// True for the name of a credential.
    pub(super) fn is_credential(self, name: &str) -> bool {
        let name: String =
            name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let known = NAMES.contains(&name.as_str())
            || name.ends_with("auth")
            || PARTS.iter().any(|part| name.contains(part));
        match self {
            _ if ABOUT.iter().any(|end| name.ends_with(end)) => false,
            // In settings a `key` is a column's, an object's, or one of Redis.
            Self::Member => known,
            Self::Query => known || name == "key" || name == "sig",
            Self::Header => {
                let is_key = name.ends_with("key") && !PLAIN_HEADERS.contains(&name.as_str());
                known || is_key || name.ends_with("sig")
            }
        }
    }
}

/// True for a member that is none, though it stands among credentials.
pub(super) fn is_plain(name: &str) -> bool {
    PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(name))
}

/// True for a member that holds a text in a language of its own.
pub(super) fn is_program(name: &str) -> bool {
    matches!(name, "query" | "transform" | "search")
}

/// True for a text that is a credential, whatever it is called.
pub(super) fn has_form_of_credential(text: &str) -> bool {
    let text = text.trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
    let is_shown = ["bearer", "basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let is_jwt = text.starts_with("eyJ") && text.matches('.').count() == 2 && text.len() > 40;
    (is_shown && !rest.trim().contains(' ')) || is_jwt || text.contains("PRIVATE KEY-----")
}
