//! Who is connected, in OPAL's shapes (`spec/opal-protocol.md` §2.4).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use protocol::internal::{PeerInfo, Peers};
use protocol::repository::RepositoryState;
use protocol::{Millis, Problem};
use serde::Serialize;

/// The answer of `GET /pubsub_client_info` is an object of these by client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientInfo {
    client_id: String,
    source_host: Option<String>,
    source_port: Option<u16>,
    /// Seconds since the epoch.
    connect_time: f64,
    subscribed_topics: Vec<String>,
    /// Connections of this client.
    refcount: u32,
    query_params: BTreeMap<String, String>,
}

/// The answer of `GET /statistics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Since when the hub has been awake, in UTC without a zone, as OPAL writes it.
    uptime: String,
    version: &'static str,
    clients: BTreeMap<String, Vec<Channel>>,
    servers: Vec<String>,
    /// Beyond what OPAL shows.
    policy: PolicyStatus,
}

/// One connection of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    rpc_id: String,
    client_id: String,
    topics: Vec<String>,
}

/// The answer of `GET /stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    uptime: String,
    version: &'static str,
    client_count: usize,
    server_count: usize,
    policy: PolicyStatus,
}

/// The answer of `GET /policy/status`: how a policy that is followed stands. Moments are in UTC
/// without a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// The address of the repository or of the bundle server; none if the policy is pushed.
    source: Option<String>,
    /// The branch.
    branch: Option<String>,
    /// What was found there last: a commit, or a bundle's tag.
    head: Option<String>,
    /// The revision that was published last.
    revision: Option<String>,
    /// True while somebody looks.
    looking: bool,
    last_look: Option<String>,
    last_success: Option<String>,
    /// What was wrong at the last look.
    error: Option<String>,
    /// Looks in a row at which something was wrong.
    failures: u32,
    /// When somebody will look without being told to.
    next_look: Option<String>,
}

impl From<RepositoryState> for PolicyStatus {
    fn from(state: RepositoryState) -> Self {
        let place = state.place.as_ref();
        Self {
            source: place.map(|place| place.url().to_owned()),
            branch: place.and_then(|place| place.branch()).map(str::to_owned),
            head: state.head,
            revision: state.revision,
            looking: state.looking,
            last_look: state.last_look.map(written),
            last_success: state.last_success.map(written),
            error: state.error.map(|problem| problem.detail),
            failures: state.failures,
            next_look: state.next_look.map(written),
        }
    }
}

impl PolicyStatus {
    /// Nothing can be followed, since the settings are wrong.
    #[must_use]
    pub fn wrong(problem: Problem) -> Self {
        Self { error: Some(problem.detail), ..Self::default() }
    }
}

/// The clients of the OPAL dialect, by their names.
#[must_use]
pub fn clients(peers: &Peers) -> BTreeMap<String, ClientInfo> {
    let mut clients: BTreeMap<String, ClientInfo> = BTreeMap::new();
    for peer in &peers.peers {
        let Some(opal) = &peer.opal else { continue };
        let name = name_of(peer);
        let client = clients.entry(name.clone()).or_insert_with(|| ClientInfo {
            client_id: name,
            source_host: opal.host.clone(),
            source_port: None,
            connect_time: opal.connected.0 as f64 / 1_000.0,
            subscribed_topics: vec![],
            refcount: 0,
            query_params: opal.query.clone(),
        });
        client.refcount += 1;
        for topic in &peer.topics {
            if !client.subscribed_topics.contains(topic) {
                client.subscribed_topics.push(topic.clone());
            }
        }
    }
    clients
}

/// What a client of the OPAL dialect calls itself in its address, or else what tells it apart.
fn name_of(peer: &PeerInfo) -> String {
    let opal = peer.opal.as_ref();
    let given = opal.and_then(|opal| opal.query.get("__opal_client_id"));
    given.cloned().unwrap_or_else(|| {
        let host = opal.and_then(|opal| opal.host.as_deref()).unwrap_or("unknown");
        format!("host:{host}:{:x}", peer.socket)
    })
}

impl Statistics {
    /// Every client that has said who it is, and every agent.
    #[must_use]
    pub fn new(peers: &Peers, server: &str, policy: PolicyStatus) -> Self {
        let mut clients: BTreeMap<String, Vec<Channel>> = BTreeMap::new();
        for peer in &peers.peers {
            let said = peer.statistics.as_ref();
            let ids = match (said, &peer.agent) {
                (Some(said), _) => (said.client_id.clone(), said.rpc_id.clone()),
                (None, Some(agent)) => (agent.clone(), format!("{:032x}", peer.socket)),
                (None, None) => continue,
            };
            let (client_id, rpc_id) = ids;
            let topics = peer.topics.clone();
            let channel = Channel { rpc_id, client_id: client_id.clone(), topics };
            clients.entry(client_id).or_default().push(channel);
        }
        Self {
            uptime: written(peers.since),
            version: env!("CARGO_PKG_VERSION"),
            clients,
            servers: vec![server.to_owned()],
            policy,
        }
    }

    /// The same in numbers.
    #[must_use]
    pub fn count(&self) -> Stats {
        Stats {
            uptime: self.uptime.clone(),
            version: self.version,
            client_count: self.clients.len(),
            server_count: self.servers.len(),
            policy: self.policy.clone(),
        }
    }
}

fn written(at: Millis) -> String {
    let at = i64::try_from(at.0).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    at.unwrap_or_default().format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use protocol::internal::OpalPeer;
    use protocol::opal::rpc;
    use protocol::repository::Place;
    use serde_json::json;

    use super::*;

    fn peers() -> Peers {
        let opal = |id: Option<&str>| {
            let query = id.map(|id| ("__opal_client_id".to_owned(), id.to_owned()));
            Some(OpalPeer {
                host: Some("10.0.0.1".to_owned()),
                connected: Millis(1_500),
                query: query.into_iter().collect(),
                ..OpalPeer::default()
            })
        };
        let said = |rpc_id: &str| {
            let (client_id, rpc_id) = ("c".to_owned(), rpc_id.to_owned());
            Some(rpc::Statistics { client_id, rpc_id, topics: vec![] })
        };
        let peer = |socket, agent: Option<&str>, opal, topic: &str, statistics| PeerInfo {
            socket,
            agent: agent.map(str::to_owned),
            opal,
            topics: vec![topic.to_owned()],
            statistics,
        };
        Peers {
            since: Millis(0),
            peers: vec![
                peer(1, None, opal(Some("me")), "a", said("r1")),
                peer(2, None, opal(Some("me")), "policy:.", said("r2")),
                peer(255, None, opal(None), "b", None),
                peer(3, Some("edge"), None, "a", None),
            ],
        }
    }

    #[test]
    fn connections_of_one_name_are_one_client() {
        let clients = serde_json::to_value(clients(&peers())).unwrap();
        assert_eq!(clients.as_object().unwrap().len(), 2, "{clients}");
        assert_eq!(clients["me"]["refcount"], 2);
        assert_eq!(clients["me"]["subscribed_topics"], json!(["a", "policy:."]));
        assert_eq!(clients["host:10.0.0.1:ff"]["connect_time"], 1.5);
    }

    #[test]
    fn a_policy_that_is_followed_is_shown_with_what_is_wrong() {
        let state = RepositoryState {
            place: Some(Place::Git { url: "https://h/x".to_owned(), branch: "main".to_owned() }),
            revision: Some("c1".to_owned()),
            last_look: Some(Millis(0)),
            error: Some(Problem::invalid("a.rego:1:1: no")),
            ..RepositoryState::default()
        };
        let shown = serde_json::to_value(PolicyStatus::from(state)).unwrap();
        assert_eq!(shown["source"], "https://h/x");
        assert_eq!((&shown["branch"], &shown["revision"]), (&json!("main"), &json!("c1")));
        assert_eq!(shown["last_look"], "1970-01-01T00:00:00.000000");
        assert_eq!(shown["error"], "a.rego:1:1: no");
        assert_eq!(shown["next_look"], json!(null));
    }

    #[test]
    fn statistics_have_who_said_so_and_the_agents() {
        let statistics = Statistics::new(&peers(), "hub", PolicyStatus::default());
        let shown = serde_json::to_value(&statistics).unwrap();
        assert_eq!(shown["uptime"], "1970-01-01T00:00:00.000000");
        assert_eq!(shown["clients"]["c"].as_array().unwrap().len(), 2);
        assert_eq!(
            shown["clients"]["c"][1],
            json!({"rpc_id": "r2", "client_id": "c", "topics": ["policy:."]})
        );
        assert_eq!(shown["clients"]["edge"][0]["topics"], json!(["a"]));
        assert_eq!(statistics.count().client_count, 2);
    }
}
