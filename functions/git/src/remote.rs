//! Where a repository is, and who asks for it.

use base64ct::{Base64, Encoding as _};
use percent_encoding::percent_decode_str;
use protocol::repository::Secret;

use crate::error::GitError;

/// Ways to name a repository that need another program than this.
const OTHER_WAYS: [&str; 4] = ["ssh://", "git://", "git+ssh://", "file://"];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    None,
    /// A user with a password, or a user name that the host wants with a token.
    Basic {
        /// The user.
        username: String,
        /// Its password, or a token.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

/// A repository on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `http(s)://host[:port]/path` without a user and without a `/` at its end.
    url: String,
    auth: Auth,
}

// === impl Auth ===

impl Auth {
    /// Whether there are credentials.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Basic { username, password } => {
                let both = format!("{username}:{}", password.expose());
                Some(format!("Basic {}", Base64::encode_string(both.as_bytes())))
            }
            Self::Bearer(token) => Some(format!("Bearer {}", token.expose())),
        }
    }
}

// === impl Remote ===

impl Remote {
    /// A repository by the URL that `git clone` takes. A user in the URL counts if `auth` is
    /// [`Auth::None`]; it is not part of [`Remote::url`].
    ///
    /// # Errors
    /// [`GitError::Url`]: not HTTP or HTTPS, no host, or a query. The text has nothing of the URL.
    pub fn new(url: &str, auth: Auth) -> Result<Self, GitError> {
        let (scheme, authority, path) = split(url)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let auth = match (auth, user) {
            (Auth::None, Some(user)) => from_userinfo(user)?,
            (auth, _) => auth,
        };
        let path = path.trim_end_matches('/');
        Ok(Self { url: format!("{scheme}://{}{path}", host.to_ascii_lowercase()), auth })
    }

    /// `http(s)://host[:port]/path`, which holds no secret.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who asks.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Follows a redirect of `asked`, an address in this repository, to `location`. Credentials
    /// go along only within the same scheme, host and port.
    pub(crate) fn moved(&self, suffix: &str, location: &str) -> Result<Self, GitError> {
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            format!("{}{location}", origin(&self.url))
        } else {
            location.to_owned()
        };
        let Some(base) = absolute.strip_suffix(suffix) else {
            return Err(GitError::Redirect(
                "to a place that is no repository; check its URL and its credentials".to_owned(),
            ));
        };
        let new = Self::new(base, Auth::None)?;
        if self.url.starts_with("https:") && !new.url.starts_with("https:") {
            return Err(GitError::Redirect("from https to http; that is not followed".to_owned()));
        }
        let same = origin(&self.url) == origin(&new.url);
        let auth = if same { self.auth.clone() } else { Auth::None };
        Ok(Self { url: new.url, auth })
    }
}

fn split(url: &str) -> Result<(&str, &str, &str), GitError> {
    let bad = |reason: &str| Err(GitError::Url(reason.to_owned()));
    let Some((scheme, rest)) = ["https", "http"].into_iter().find_map(|scheme| {
        let (found, rest) = url.split_once("://")?;
        found.eq_ignore_ascii_case(scheme).then_some((scheme, rest))
    }) else {
        let other = OTHER_WAYS.iter().any(|way| url.starts_with(way));
        let is_ssh = !url.contains("://") && url.contains('@');
        return bad(if other || is_ssh {
            "is not http:// or https://, which is all that the functions speak; give that one, or \
             run `edge-agent policy track` on a machine that reaches it"
        } else {
            "must begin with https:// or http://"
        });
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return bad("has no host");
    }
    if url.contains(['?', '#', '\\']) || url.chars().any(|it| it.is_control() || it == ' ') {
        return bad("has a query, a fragment or characters that no URL has; give it without");
    }
    Ok((scheme, authority, path))
}

/// `scheme://host:port` of a URL that [`Remote::new`] wrote.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(start..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| start + at);
    url.get(..end).unwrap_or(url)
}

fn from_userinfo(user: &str) -> Result<Auth, GitError> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(GitError::Url("has a user that is not UTF-8".to_owned())),
    };
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    Ok(Auth::Basic { username: decode(username)?, password: Secret::new(decode(password)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_url_becomes_credentials_and_is_shown_nowhere() {
        let remote = Remote::new("https://a%40b:p%3Aw@Git.Example/x.git/", Auth::None).unwrap();
        assert_eq!(remote.url(), "https://git.example/x.git");
        let basic = Auth::Basic { username: "a@b".into(), password: Secret::new("p:w") };
        assert_eq!(remote.auth(), &basic);
        assert!(!format!("{remote:?}").contains("p:w"), "{remote:?}");
        assert_eq!(remote.auth().header().unwrap(), "Basic YUBiOnA6dw==");
        let own = Remote::new("https://u:p@h/x", Auth::Bearer(Secret::new("t"))).unwrap();
        assert_eq!(own.auth().header().unwrap(), "Bearer t");
    }

    #[test]
    fn what_cannot_be_followed_is_refused_without_being_repeated() {
        for (url, why) in [
            ("ssh://git@h/x", "policy track"),
            ("git@h:x.git", "policy track"),
            ("file:///tmp/x", "policy track"),
            ("h/x", "must begin"),
            ("https://", "no host"),
            ("https://u:secret@/x", "no host"),
            ("https://h/x?token=secret", "query"),
            ("https://h/x y", "characters"),
        ] {
            let error = Remote::new(url, Auth::None).unwrap_err();
            assert!(error.to_string().contains(why), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_follow_a_redirect_only_within_the_same_origin() {
        let auth = Auth::Bearer(Secret::new("t"));
        let remote = Remote::new("https://h/a", auth.clone()).unwrap();
        let to = |location: &str| remote.moved("/info/refs", location);
        assert_eq!(to("/b/info/refs"), Remote::new("https://h/b", auth.clone()));
        assert_eq!(to("https://H/b/info/refs"), Remote::new("https://h/b", auth));
        for other in ["https://h:444", "https://i", "https://h.i", "https://x@i"] {
            let moved = to(&format!("{other}/b/info/refs")).unwrap();
            assert!(!moved.auth().is_given(), "{moved:?}");
        }
        assert!(to("http://h/b/info/refs").is_err());
        assert!(to("https://h/login").is_err());
        assert!(to("//h/b/info/refs").is_err());
    }
}
