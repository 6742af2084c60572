//! Every path of the Worker in one table.

/// What a path does; where it names a scope, to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Says that the Worker runs.
    Health,
    /// Describes every route.
    OpenApi,
    /// Shows that description.
    Docs,
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
    /// Answers a client that connects: where to fetch what.
    Sources,
    /// Sets where clients fetch first.
    SetSources,
    /// Goes back to what the settings say of that.
    UnsetSources,
    /// Serves OPAL's empty default source.
    Placeholder,
    /// Hears what became of an update at a client.
    Report,
    /// Serves data that was too large for a frame.
    FetchData,
    /// Shows a part of the log.
    ReadLog,
    /// Opens a socket to the hub.
    Subscribe,
    /// Serves policies.
    Policy,
    /// Replaces the policy.
    SetPolicy,
    /// Shows how the policy stands that is followed.
    PolicyStatus,
    /// Looks whether there is a new one.
    RefreshPolicy,
    /// Hears of a push to a repository.
    Webhook,
    /// Serves a bundle to an OPA without an agent.
    Bundle,
    /// Takes the status of one.
    TakeStatus,
    /// Shows the last status of each.
    Statuses,
    /// Takes decisions of one.
    TakeDecisions,
    /// Shows the newest decisions.
    Decisions,
    /// Shows who is connected.
    Clients,
    /// Shows who is connected, to what.
    Statistics,
    /// Counts who is connected.
    Stats,
    /// Lets a client begin, or has it wait.
    LoadLimit,
    /// Makes a scope.
    MakeScope,
    /// Lists the scopes.
    Scopes,
    /// Shows a scope.
    Scope,
    /// Forgets a scope.
    DeleteScope,
    /// Has every scope's policy fetched again.
    RefreshScopes,
    /// Has a scope's policy fetched again.
    RefreshScope,
    /// Serves a scope's policies.
    ScopePolicy,
    /// Answers a scope's client that connects.
    ScopeData,
    /// Decides.
    Decide,
    /// Says that decisions are made.
    DecisionHealth,
    /// Serves a plane.
    Plane(PlaneAction),
    /// Serves the directory.
    Directory,
    /// Says what a scope's ids are.
    DirectoryIds,
}

/// What a path of the control or the data plane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneAction {
    /// Says that the plane is there.
    Health,
    /// Makes a grant.
    CreateGrant,
    /// Lists grants.
    Grants,
    /// Shows a grant.
    Grant,
    /// Revokes a grant.
    DeleteGrant,
    /// Lists what was asked.
    Audits,
    /// Seals facts with the first key.
    Reseal,
    /// Keeps a fact.
    CreateFact,
    /// Keeps a fact that a browser gives.
    CreatePublicFact,
    /// Lists a scope's facts.
    Facts,
    /// Shows a fact.
    Fact,
    /// Forgets a fact.
    DeleteFact,
    /// Makes a scope of facts.
    CreateFactScope,
    /// Shows a scope of facts.
    FactScope,
    /// Makes a type of facts.
    CreateFactType,
    /// Lists types of facts.
    FactTypes,
    /// Says that a proxy is there.
    Deploy,
    /// Shows a proxy.
    Deployment,
    /// Lists proxies.
    Deployments,
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

const fn plane(method: &'static str, path: &'static str, action: PlaneAction) -> Route {
    route(method, path, Action::Plane(action))
}

/// The table. A segment in braces stands for any one segment, and `{*rest}` at the end for all that
/// follows, which is named as it came; of two rows that a path fits the first counts.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Action::Health),
    route("GET", "/healthcheck", Action::Health),
    route("GET", "/openapi.json", Action::OpenApi),
    route("GET", "/docs", Action::Docs),
    route("GET", "/.well-known/jwks.json", Action::Jwks),
    route("POST", "/token", Action::Mint),
    route("POST", "/token/renew", Action::Renew),
    route("POST", "/token/revoke", Action::Revoke),
    route("GET", "/data/config", Action::Sources),
    route("POST", "/data/config", Action::Publish),
    route("PUT", "/data/config", Action::SetSources),
    route("DELETE", "/data/config", Action::UnsetSources),
    route("GET", "/policy-data", Action::Placeholder),
    route("POST", "/data/callback_report", Action::Report),
    route("GET", "/data/updates/{seq}/{place}", Action::FetchData),
    route("GET", "/policy", Action::Policy),
    route("PUT", "/policy", Action::SetPolicy),
    route("GET", "/policy/status", Action::PolicyStatus),
    route("POST", "/policy/refresh", Action::RefreshPolicy),
    route("POST", "/webhook", Action::Webhook),
    route("GET", "/bundles/{name}", Action::Bundle),
    route("POST", "/status", Action::TakeStatus),
    route("POST", "/status/{partition}", Action::TakeStatus),
    route("GET", "/status", Action::Statuses),
    route("POST", "/logs", Action::TakeDecisions),
    route("POST", "/logs/{partition}", Action::TakeDecisions),
    route("GET", "/logs", Action::Decisions),
    route("GET", "/log", Action::ReadLog),
    route("GET", "/ws", Action::Subscribe),
    route("GET", "/pubsub_client_info", Action::Clients),
    route("GET", "/statistics", Action::Statistics),
    route("GET", "/stats", Action::Stats),
    route("GET", "/loadlimit", Action::LoadLimit),
    route("PUT", "/scopes", Action::MakeScope),
    route("GET", "/scopes", Action::Scopes),
    route("POST", "/scopes/refresh", Action::RefreshScopes),
    route("GET", "/scopes/{id}", Action::Scope),
    route("DELETE", "/scopes/{id}", Action::DeleteScope),
    route("POST", "/scopes/{id}/refresh", Action::RefreshScope),
    route("GET", "/scopes/{id}/policy", Action::ScopePolicy),
    route("PUT", "/scopes/{id}/policy", Action::SetPolicy),
    route("GET", "/scopes/{id}/data", Action::ScopeData),
    route("POST", "/scopes/{id}/data/update", Action::Publish),
    route("GET", "/scopes/{id}/data/updates/{seq}/{place}", Action::FetchData),
    route("GET", "/scopes/{id}/bundles/{name}", Action::Bundle),
    route("POST", "/scopes/{id}/status", Action::TakeStatus),
    route("POST", "/scopes/{id}/status/{partition}", Action::TakeStatus),
    route("GET", "/scopes/{id}/status", Action::Statuses),
    route("POST", "/scopes/{id}/logs", Action::TakeDecisions),
    route("POST", "/scopes/{id}/logs/{partition}", Action::TakeDecisions),
    route("GET", "/scopes/{id}/logs", Action::Decisions),
    route("GET", "/scopes/{id}/log", Action::ReadLog),
    plane("GET", "/api/v1/healthz", PlaneAction::Health),
    plane("POST", "/api/v1/grants", PlaneAction::CreateGrant),
    plane("GET", "/api/v1/grants", PlaneAction::Grants),
    plane("GET", "/api/v1/grants/{grant}", PlaneAction::Grant),
    plane("DELETE", "/api/v1/grants/{grant}", PlaneAction::DeleteGrant),
    plane("GET", "/api/v1/api_audits", PlaneAction::Audits),
    plane("POST", "/api/v1/fact_keys/reseal", PlaneAction::Reseal),
    plane("POST", "/api/v1/facts", PlaneAction::CreateFact),
    plane("GET", "/api/v1/facts", PlaneAction::Facts),
    plane("GET", "/api/v1/facts/{fact}", PlaneAction::Fact),
    plane("DELETE", "/api/v1/facts/{fact}", PlaneAction::DeleteFact),
    plane("POST", "/api/v1/scopes", PlaneAction::CreateFactScope),
    plane("GET", "/api/v1/scopes", PlaneAction::FactScope),
    plane("POST", "/api/v1/fact_types", PlaneAction::CreateFactType),
    plane("GET", "/api/v1/fact_types", PlaneAction::FactTypes),
    plane("PUT", "/api/v1/proxies/{name}", PlaneAction::Deploy),
    plane("GET", "/api/v1/proxies/{name}", PlaneAction::Deployment),
    plane("GET", "/api/v1/proxies", PlaneAction::Deployments),
    plane("POST", "/js/v1/facts", PlaneAction::CreatePublicFact),
    plane("GET", "/scopes/{id}/api/v1/healthz", PlaneAction::Health),
    plane("POST", "/scopes/{id}/api/v1/grants", PlaneAction::CreateGrant),
    plane("GET", "/scopes/{id}/api/v1/grants", PlaneAction::Grants),
    plane("GET", "/scopes/{id}/api/v1/grants/{grant}", PlaneAction::Grant),
    plane("DELETE", "/scopes/{id}/api/v1/grants/{grant}", PlaneAction::DeleteGrant),
    plane("GET", "/scopes/{id}/api/v1/api_audits", PlaneAction::Audits),
    plane("POST", "/scopes/{id}/api/v1/fact_keys/reseal", PlaneAction::Reseal),
    plane("POST", "/scopes/{id}/api/v1/facts", PlaneAction::CreateFact),
    plane("GET", "/scopes/{id}/api/v1/facts", PlaneAction::Facts),
    plane("GET", "/scopes/{id}/api/v1/facts/{fact}", PlaneAction::Fact),
    plane("DELETE", "/scopes/{id}/api/v1/facts/{fact}", PlaneAction::DeleteFact),
    plane("POST", "/scopes/{id}/api/v1/scopes", PlaneAction::CreateFactScope),
    plane("GET", "/scopes/{id}/api/v1/scopes", PlaneAction::FactScope),
    plane("POST", "/scopes/{id}/api/v1/fact_types", PlaneAction::CreateFactType),
    plane("GET", "/scopes/{id}/api/v1/fact_types", PlaneAction::FactTypes),
    plane("PUT", "/scopes/{id}/api/v1/proxies/{name}", PlaneAction::Deploy),
    plane("GET", "/scopes/{id}/api/v1/proxies/{name}", PlaneAction::Deployment),
    plane("GET", "/scopes/{id}/api/v1/proxies", PlaneAction::Deployments),
    plane("POST", "/scopes/{id}/js/v1/facts", PlaneAction::CreatePublicFact),
    route("POST", "/", Action::Decide),
    route("GET", "/health", Action::DecisionHealth),
    route("GET", "/v1/data", Action::Decide),
    route("POST", "/v1/data", Action::Decide),
    route("GET", "/v1/data/{*rest}", Action::Decide),
    route("POST", "/v1/data/{*rest}", Action::Decide),
    route("POST", "/v0/data", Action::Decide),
    route("POST", "/v0/data/{*rest}", Action::Decide),
    route("GET", "/v1/query", Action::Decide),
    route("POST", "/v1/query", Action::Decide),
    route("GET", "/scopes/{id}/v1/data", Action::Decide),
    route("POST", "/scopes/{id}/v1/data", Action::Decide),
    route("GET", "/scopes/{id}/v1/data/{*rest}", Action::Decide),
    route("POST", "/scopes/{id}/v1/data/{*rest}", Action::Decide),
    route("POST", "/scopes/{id}/v0/data", Action::Decide),
    route("POST", "/scopes/{id}/v0/data/{*rest}", Action::Decide),
    route("GET", "/scopes/{id}/v1/query", Action::Decide),
    route("POST", "/scopes/{id}/v1/query", Action::Decide),
    route("GET", "/v2/api-key/scope", Action::DirectoryIds),
    route("GET", "/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("POST", "/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("PUT", "/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("PATCH", "/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("DELETE", "/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("GET", "/scopes/{id}/v2/api-key/scope", Action::DirectoryIds),
    route("GET", "/scopes/{id}/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("POST", "/scopes/{id}/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("PUT", "/scopes/{id}/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("PATCH", "/scopes/{id}/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
    route("DELETE", "/scopes/{id}/v2/facts/{project}/{environment}/{*rest}", Action::Directory),
];

/// What a method and a path lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A row of the table, with what stood in the place of its variables, decoded.
    Action(Action, Vec<String>),
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
    let here = || ROUTES.iter().filter_map(|route| Some((route, variables(route.path, path)?)));
    match here().find(|(route, _)| route.method == method) {
        Some((route, named)) => Found::Action(route.action, named),
        None if here().next().is_some() => {
            Found::OtherMethods(here().map(|(route, _)| route.method).collect())
        }
        None => Found::Nothing,
    }
}

/// What stands in the place of a pattern's variables; none if the path does not fit.
fn variables(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (pattern, path, rest) = match pattern.strip_suffix("/{*rest}") {
        Some(pattern) => {
            let count = pattern.matches('/').count();
            let (at, _) = path.match_indices('/').nth(count)?;
            (pattern, path.get(..at)?, path.get(at + 1..))
        }
        None => (pattern, path, None),
    };
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    let mut named = vec![];
    loop {
        match (patterns.next(), segments.next()) {
            (None, None) if rest.is_some() => {
                named.extend(rest.map(str::to_owned));
                return Some(named);
            }
            (None, None) => return Some(named),
            (Some(pattern), Some(segment)) if pattern.starts_with('{') => {
                named.push(publish::query::decode(segment)?);
            }
            (Some(pattern), Some(segment)) if pattern == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_method_and_a_path_lead_to_an_action() {
        assert_eq!(find("POST", "/data/config"), Found::Action(Action::Publish, vec![]));
        assert_eq!(find("POST", "/token/renew"), Found::Action(Action::Renew, vec![]));
        assert_eq!(find("GET", "/"), Found::Action(Action::Health, vec![]));
        assert_eq!(find("HEAD", "/healthcheck"), Found::Action(Action::Health, vec![]));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        assert_eq!(find("PUT", "/token"), Found::OtherMethods(vec!["POST"]));
        assert_eq!(find("GET", "/data/config/"), Found::Nothing);
    }

    #[test]
    fn variables_are_named_and_decoded() {
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            find("GET", "/scopes/a%20b/data/updates/7/0"),
            Found::Action(Action::FetchData, named(&["a b", "7", "0"]))
        );
        assert_eq!(find("POST", "/scopes/refresh"), Found::Action(Action::RefreshScopes, vec![]));
        assert_eq!(find("PATCH", "/scopes/x"), Found::OtherMethods(vec!["GET", "DELETE"]));
        assert_eq!(find("GET", "/scopes/"), Found::Nothing);
    }

    #[test]
    fn what_follows_is_named_as_it_came() {
        let found = |path: &str| match find("PUT", path) {
            Found::Action(action, named) => (Some(action), named.join(" ")),
            other => (None, format!("{other:?}")),
        };
        for (path, named) in [
            ("/v2/facts/p/e/users/a%2Fb", "p e users/a%2Fb"),
            ("/scopes/s%20x/v2/facts/p/e/users", "s x p e users"),
            ("/v2/facts/p/e/", "p e "),
        ] {
            assert_eq!(found(path), (Some(Action::Directory), named.to_owned()), "{path}");
        }
        for path in ["/v2/facts/p/e", "/v2/facts//e/users", "/scopes/v2/facts/p/e/users"] {
            assert_eq!(found(path).0, None, "{path}");
        }
    }

    #[test]
    fn the_openapi_document_names_exactly_the_routes_of_the_table() {
        let document = include_str!("../../../deploy/openapi.json");
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let described: BTreeSet<_> = paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let served: BTreeSet<_> =
            ROUTES.iter().map(|it| (it.method.to_owned(), it.path.to_owned())).collect();
        assert_eq!(described, served);
    }
}
