//! Every path of the Worker in one table.

/// What a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Says that the Worker runs.
    Health,
    /// Serves the keys that tokens can be verified with.
    Jwks,
    /// Mints a token.
    Mint,
    /// Renews the bearer's token.
    Renew,
    /// Refuses tokens from now on.
    Revoke,
    /// Takes an update.
    Publish,
    /// Shows a part of the log.
    ReadLog,
    /// Opens a socket to the hub.
    Subscribe,
}

/// A path with a method.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method, in capitals.
    pub method: &'static str,
    /// The path, without query.
    pub path: &'static str,
    /// What it does.
    pub action: Action,
}

const fn route(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, action }
}

/// The table.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Action::Health),
    route("GET", "/healthcheck", Action::Health),
    route("GET", "/.well-known/jwks.json", Action::Jwks),
    route("POST", "/token", Action::Mint),
    route("POST", "/token/renew", Action::Renew),
    route("POST", "/token/revoke", Action::Revoke),
    route("POST", "/data/config", Action::Publish),
    route("GET", "/log", Action::ReadLog),
    route("GET", "/ws", Action::Subscribe),
];

/// What a method and a path lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A row of the table.
    Action(Action),
    /// The path is there, for these methods.
    OtherMethods(Vec<&'static str>),
    /// No such path.
    Nothing,
}

/// Looks a request up in the table.
#[must_use]
pub fn find(method: &str, path: &str) -> Found {
    // The platform leaves the body of an answer to HEAD out.
    let method = if method == "HEAD" { "GET" } else { method };
    let here = || ROUTES.iter().filter(|route| route.path == path);
    match here().find(|route| route.method == method) {
        Some(route) => Found::Action(route.action),
        None if here().next().is_some() => {
            Found::OtherMethods(here().map(|route| route.method).collect())
        }
        None => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_and_a_path_lead_to_an_action() {
        assert_eq!(find("POST", "/data/config"), Found::Action(Action::Publish));
        assert_eq!(find("POST", "/token/renew"), Found::Action(Action::Renew));
        assert_eq!(find("GET", "/"), Found::Action(Action::Health));
        assert_eq!(find("HEAD", "/healthcheck"), Found::Action(Action::Health));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        assert_eq!(find("PUT", "/token"), Found::OtherMethods(vec!["POST"]));
        assert_eq!(find("GET", "/data/config/"), Found::Nothing);
    }
}
