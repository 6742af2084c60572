//! Scopes as OPAL describes them (`spec/opal-protocol.md` §2.5, §4.7).

use protocol::opal::data::SourceList;
use protocol::opal::topics::internal;
use protocol::repository::{Access, Secret, TOKEN_USER, Wanted};
use protocol::{DEFAULT_SCOPE, Problem, Update, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Bytes of a scope's name, which is part of its topics.
const MAX_NAME_BYTES: usize = 128;

/// A scope: a tenant with data, policy and tokens of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// Its name.
    pub scope_id: String,
    /// Where its policy comes from; nowhere if it is given with `PUT /scopes/{id}/policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySource>,
    /// Its base sources.
    #[serde(default)]
    pub data: SourceList,
}

/// Where a scope's policy comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicySource {
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The branch.
    #[serde(default = "main")]
    pub branch: String,
    /// The folders that its clients get.
    #[serde(default = "root")]
    pub directories: Vec<String>,
    /// Endings of the files that count; OPAL's if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Patterns of files that do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_ignore: Option<Vec<String>>,
    /// Where its manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Somebody looks without being told to.
    #[serde(default)]
    pub poll_updates: bool,
    /// How to get in there; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Everything else, kept as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How to get into a policy's repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "auth_type", rename_all = "lowercase")]
pub enum Auth {
    /// It is open.
    None {},
    /// With a key.
    Ssh {
        /// Whose.
        username: String,
        /// The public half.
        #[serde(default)]
        public_key: Option<String>,
        /// The private half, with its lines.
        private_key: String,
    },
    /// With GitHub's token.
    #[serde(rename = "github_token")]
    GithubToken {
        /// The token.
        token: String,
    },
    /// With a password.
    Userpass {
        /// Whose.
        username: String,
        /// The password.
        password: String,
    },
}

fn root() -> Vec<String> {
    vec![".".to_owned()]
}

/// The branch that OPAL takes where a scope names none.
fn main() -> String {
    "main".to_owned()
}

impl PolicySource {
    /// Which of its files are wanted.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted {
            extensions: self.extensions.clone(),
            ignore: self.bundle_ignore.clone().unwrap_or_default(),
            directories: self.directories.clone(),
            manifest: self.manifest.clone().unwrap_or_default(),
        }
    }

    /// How to get in there.
    #[must_use]
    pub fn access(&self) -> Access {
        match &self.auth {
            Some(Auth::GithubToken { token }) => Access::Basic {
                username: TOKEN_USER.to_owned(),
                password: Secret::new(token.clone()),
            },
            Some(Auth::Userpass { username, password }) => Access::Basic {
                username: username.clone(),
                password: Secret::new(password.clone()),
            },
            None | Some(Auth::None {} | Auth::Ssh { .. }) => Access::Open,
        }
    }
}

impl Scope {
    /// Reads and checks a request's body.
    ///
    /// # Errors
    /// 422 with the place and the reason.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let scope: Self = json::parse(body)?;
        check_name(&scope.scope_id)?;
        if scope.scope_id == DEFAULT_SCOPE {
            return Err(Problem::invalid(format!(
                "scope_id: `{DEFAULT_SCOPE}` is there already; set its sources with PUT \
                 /data/config and its policy with PUT /policy"
            )));
        }
        scope.data.check("data.")?;
        if let Some(Auth::Ssh { private_key, .. }) =
            scope.policy.as_ref().and_then(|policy| policy.auth.as_ref())
        {
            check_key(private_key)?;
            return Err(Problem::invalid(
                "policy.auth.auth_type: a function cannot speak ssh; give an address of https and \
                 a token, or no policy and run `edge-agent policy track` where the key is",
            ));
        }
        Ok(scope)
    }

    /// The scope as it is shown: without what opens its policy's repository.
    #[must_use]
    pub fn shown(mut self) -> Self {
        if let Some(policy) = &mut self.policy {
            policy.auth = None;
            policy.url = policy.url.take().map(|url| without_user(&url));
        }
        self
    }

    /// The folders that its clients get.
    #[must_use]
    pub fn directories(&self) -> Vec<String> {
        self.policy.as_ref().map_or_else(root, |policy| policy.directories.clone())
    }
}

/// An address without what opens it.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// OPAL's words for a key that lost its lines on the way.
fn check_key(key: &str) -> Result<(), Problem> {
    if !key.contains('\n') {
        return Err(Problem::invalid(
            "policy.auth.private_key: private key is expected to contain newlines!",
        ));
    }
    let has = |word: &str| key.contains(word);
    if has("-----BEGIN ") && has("PRIVATE KEY-----") && has("-----END ") {
        return Ok(());
    }
    Err(Problem::invalid("policy.auth.private_key: private key is invalid"))
}

/// Checks the name of a scope.
///
/// # Errors
/// 422 for one that could not be part of a topic, or of an address.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let is_good = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().any(|it| it.is_control() || it.is_whitespace() || "/:?#%".contains(it))
        && !matches!(name, "." | "..");
    if is_good {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "scope_id: give 1 to {MAX_NAME_BYTES} bytes without spaces and without any of / : ? # %"
    )))
}

/// The scope that an update to the default one names in all of its topics, as OPAL's publishers
/// reach a scope's clients: `s1:data:users` (`spec/opal-protocol.md` §4.6).
#[must_use]
pub fn named_by_topics(update: &Update) -> Option<&str> {
    let topics = update.entries.iter().flat_map(|entry| &entry.topics);
    let mut scopes = topics.map(|topic| topic.split_once(":data:").map(|(scope, _)| scope));
    let scope = scopes.next()??;
    (scopes.all(|other| other == Some(scope)) && check_name(scope).is_ok()).then_some(scope)
}

/// Calls the topics of an update for a scope as its hub does.
pub fn name_topics(scope: &str, update: &mut Update) {
    for topic in update.entries.iter_mut().flat_map(|entry| &mut entry.topics) {
        *topic = internal(scope, topic).to_owned();
    }
}

#[cfg(test)]
mod tests {
    use protocol::Claims;

    use super::*;

    const OPALS: &str = r#"{"scope_id":"s1","policy":{"source_type":"git","url":"file:///x","branch":"master","auth":{"auth_type":"none"},"directories":["app"],"poll_updates":true},"data":{"entries":[{"url":"http://h/users","topics":["policy_data"],"dst_path":"/users"}]}}"#;

    fn refusal(body: &str) -> String {
        Scope::parse(body.as_bytes()).unwrap_err().detail
    }

    #[test]
    fn opals_example_is_read_and_shown_without_its_auth() {
        let scope = Scope::parse(OPALS.as_bytes()).unwrap();
        assert_eq!(scope.directories(), ["app"]);
        let shown = serde_json::to_value(scope.shown()).unwrap();
        assert_eq!(shown["policy"]["url"], "file:///x");
        assert_eq!(shown["policy"].get("auth"), None);
        assert_eq!(shown["data"]["entries"][0]["dst_path"], "/users");
        assert!(Scope::parse(br#"{"scope_id":"bare"}"#).is_ok());
    }

    #[test]
    fn a_policys_source_has_opals_defaults_and_shows_no_credentials() {
        let scope = |policy: &str| {
            let body = format!(r#"{{"scope_id":"s","policy":{policy}}}"#);
            Scope::parse(body.as_bytes()).unwrap()
        };
        let bare = scope(r#"{"url":"https://h/x","auth":{"auth_type":"none"}}"#).policy.unwrap();
        assert_eq!((bare.branch.as_str(), bare.poll_updates), ("main", false));
        assert_eq!((bare.wanted().directories, bare.access()), (root(), Access::Open));
        let full = scope(
            r#"{"url":"https://u:pw@h/x","branch":"b","extensions":[".rego"],
                "bundle_ignore":["t/**"],"manifest":"m","poll_updates":true,
                "auth":{"auth_type":"github_token","token":"s3cret"}}"#,
        );
        let policy = full.policy.clone().unwrap();
        assert_eq!(policy.wanted().ignore, ["t/**"]);
        assert!(
            matches!(policy.access(), Access::Basic { username, .. } if username == "x-access-token")
        );
        let shown = serde_json::to_string(&full.shown()).unwrap();
        assert!(shown.contains("https://h/x") && shown.contains(r#""branch":"b""#), "{shown}");
        assert!(!shown.contains("pw") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn bad_scopes_are_refused_with_their_place() {
        for (body, words) in [
            ("{}", "missing field `scope_id`"),
            (r#"{"scope_id":"a:b"}"#, "scope_id: give"),
            (r#"{"scope_id":""}"#, "scope_id: give"),
            (r#"{"scope_id":"default"}"#, "PUT /data/config"),
            (r#"{"scope_id":"s","data":{"entries":[{}]}}"#, "url"),
            (r#"{"scope_id":"s","data":{"entries":[{"url":""}]}}"#, "data.entries[0].url"),
            (r#"{"scope_id":"s","policy":{"auth":{"auth_type":"magic"}}}"#, "magic"),
        ] {
            assert!(refusal(body).contains(words), "{body}: {}", refusal(body));
        }
        let ssh = |key: &str| {
            serde_json::json!({"scope_id": "s", "policy": {"auth": {
                "auth_type": "ssh", "username": "git", "private_key": key,
            }}})
            .to_string()
        };
        assert!(refusal(&ssh("x")).contains("expected to contain newlines!"));
        assert!(refusal(&ssh("x\n")).contains("private key is invalid"));
        let key = "-----BEGIN X PRIVATE KEY-----\nx\n-----END X PRIVATE KEY-----\n";
        assert!(refusal(&ssh(key)).contains("policy track"));
    }

    #[test]
    fn an_update_is_for_the_scope_that_all_its_topics_name() {
        let named = |topics: &[&str]| {
            let entry = serde_json::json!({"url": "http://h", "topics": topics});
            let update = serde_json::json!({"entries": [entry]}).to_string();
            named_by_topics(&Update::parse(update.as_bytes()).unwrap()).map(str::to_owned)
        };
        assert_eq!(named(&["s1:data:a", "s1:data:b/c"]).as_deref(), Some("s1"));
        for topics in [
            &["s1:data:a", "b"][..],
            &["s1:data:a", "s2:data:a"],
            &["a"],
            &["s1:data:a", "s1x:data:a"],
        ] {
            assert_eq!(named(topics), None, "{topics:?}");
        }
    }

    #[test]
    fn a_token_reads_the_scopes_that_it_names() {
        let claims = |scopes: Option<&[&str]>| Claims {
            sub: String::new(),
            jti: None,
            exp: 1,
            iat: None,
            peer_type: None,
            permitted_topics: None,
            allowed_scopes: scopes.map(|it| it.iter().map(ToString::to_string).collect()),
        };
        assert!(claims(None).require_scope(DEFAULT_SCOPE).is_ok());
        assert_eq!(claims(None).require_scope("s1").unwrap_err().status, 403);
        assert!(claims(Some(&["s1"])).require_scope("s1").is_ok());
        assert!(claims(None).require_change("s1").is_ok());
        assert!(claims(Some(&["s1"])).require_change("s1").is_ok());
        for other in ["s2", DEFAULT_SCOPE] {
            assert_eq!(claims(Some(&["s1"])).require_change(other).unwrap_err().status, 403);
        }
    }
}
