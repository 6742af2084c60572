//! The `config` of an LDAP source.

use ldap3::Scope;
use serde::Deserialize;

use crate::fetch::FetchError;

/// The settings as they are written.
#[derive(Default, Deserialize)]
pub(super) struct LdapConfig {
    #[serde(default)]
    connection_params: Option<LdapParams>,
    /// Below which entry to search; else the path of the address says.
    #[serde(default)]
    root: Option<String>,
    #[serde(default)]
    search: Option<String>,
    #[serde(default)]
    attributes: Option<Vec<String>>,
    #[serde(default)]
    scope: Option<String>,
}

/// Where the server is, and who we are there.
#[derive(Default, Deserialize)]
pub(super) struct LdapParams {
    #[serde(default)]
    pub(super) url: Option<String>,
    /// The entry to sign in as, by its whole name.
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) password: Option<String>,
    /// Whether to go on with TLS on the port of `ldap://`.
    #[serde(default)]
    pub(super) start_tls: Option<bool>,
}

/// What to search for.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) root: Option<String>,
    pub(super) scope: Scope,
    pub(super) filter: String,
    /// None: all that are not operational.
    pub(super) attributes: Vec<String>,
}

const SCOPES: [(&str, Scope); 3] =
    [("sub", Scope::Subtree), ("one", Scope::OneLevel), ("base", Scope::Base)];

/// Every entry has one.
const EVERYTHING: &str = "(objectClass=*)";

impl LdapConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the member that is wrong, not what it holds.
    pub(super) fn checked(self) -> Result<(Search, LdapParams), FetchError> {
        let filter = self.search.unwrap_or_else(|| EVERYTHING.to_owned());
        if ldap3::parse_filter(&filter).is_err() {
            let message =
                "config.search: it is not a filter; give one such as `(objectClass=person)`";
            return Err(FetchError::permanent(message));
        }
        let scope = match self.scope {
            None => Scope::Subtree,
            Some(name) => {
                let found = SCOPES.iter().find(|(known, _)| *known == name);
                found.map(|(_, scope)| *scope).ok_or_else(|| {
                    FetchError::permanent("config.scope: give `sub`, `one` or `base`")
                })?
            }
        };
        let attributes = self.attributes.unwrap_or_default();
        let params = self.connection_params.unwrap_or_default();
        if params.user.is_some() && params.password.as_ref().is_none_or(String::is_empty) {
            // A server would take it as a wish to be nobody, and answer as if all were well.
            let message = "config.connection_params.password: a user needs one";
            return Err(FetchError::permanent(message));
        }
        Ok((Search { root: self.root, scope, filter, attributes }, params))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(config: &str) -> Result<Search, FetchError> {
        let config = serde_json::from_str::<LdapConfig>(config).unwrap();
        config.checked().map(|(search, _)| search)
    }

    #[test]
    fn a_search_is_of_everything_below_unless_it_says_otherwise() {
        let search = checked("{}").unwrap();
        assert_eq!((search.filter.as_str(), search.scope), (EVERYTHING, Scope::Subtree));
        let search = checked(r#"{"search":"(uid=a*)","scope":"one","attributes":["cn"]}"#).unwrap();
        assert_eq!((search.filter.as_str(), search.scope), ("(uid=a*)", Scope::OneLevel));
        assert_eq!(search.attributes, ["cn"]);
    }

    #[test]
    fn bad_settings_are_named_without_what_they_hold() {
        for (config, words) in [
            (r#"{"search":"(hidden"}"#, "config.search: it is not a filter"),
            (r#"{"search":""}"#, "config.search: it is not a filter"),
            (r#"{"scope":"hidden"}"#, "config.scope: give `sub`"),
            (r#"{"connection_params":{"user":"hidden"}}"#, "password: a user needs one"),
            (
                r#"{"connection_params":{"user":"hidden","password":""}}"#,
                "password: a user needs one",
            ),
        ] {
            let error = checked(config).unwrap_err();
            let text = error.to_string();
            assert!(error.is_permanent() && text.contains(words), "{config}: {text}");
            assert!(!text.contains("hidden"), "{text}");
        }
    }
}
