//! What is subscribed to at an opal-server, and where that is fetched from
//! (`spec/opal-protocol.md` §4.5, §4.6).

use protocol::opal::{policy, topics};

/// What the agent wants of an opal-server.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The tenant; [`protocol::DEFAULT_SCOPE`] for a server without scopes.
    pub scope: String,
    /// Data topics, as the settings name them; none if no data is wanted.
    pub topics: Vec<String>,
    /// Folders of the policy repository; none if no policies are wanted.
    pub policy_dirs: Vec<String>,
}

impl Subscription {
    fn is_scoped(&self) -> bool {
        self.scope != protocol::DEFAULT_SCOPE
    }

    /// The strings that the server is given.
    pub(super) fn channels(&self) -> Vec<String> {
        self.policy_channels().chain(self.data_channels()).collect()
    }

    fn data_channels(&self) -> impl Iterator<Item = String> {
        self.topics.iter().map(|topic| match self.is_scoped() {
            true => format!("{}:data:{topic}", self.scope),
            false => topic.clone(),
        })
    }

    fn policy_channels(&self) -> impl Iterator<Item = String> {
        self.dirs().into_iter().map(|dir| match self.is_scoped() {
            true => format!("{}:{}", self.scope, policy::topic(&dir)),
            false => policy::topic(&dir),
        })
    }

    /// The folders, without those that are inside another one.
    pub(super) fn dirs(&self) -> Vec<String> {
        let plain = |dir: &String| {
            let dir = dir.trim_matches('/');
            if dir.is_empty() { ".".to_owned() } else { dir.to_owned() }
        };
        let all: Vec<String> = self.policy_dirs.iter().map(plain).collect();
        let is_inside = |dir: &String, other: &String| {
            dir != other
                && (other == "."
                    || dir.strip_prefix(other.as_str()).is_some_and(|it| it.starts_with('/')))
        };
        let mut dirs: Vec<String> =
            all.iter().filter(|dir| !all.iter().any(|it| is_inside(dir, it))).cloned().collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// True if a `notify` on this channel is about policies.
    pub(super) fn is_policy(&self, channel: &str) -> bool {
        self.policy_channels().any(|ours| ours == channel)
    }

    /// True if a `notify` on this channel is about data. The old form `app::topic` counts as
    /// `topic` (§1.4).
    pub(super) fn is_data(&self, channel: &str) -> bool {
        let plain = channel.split_once("::").map_or(channel, |(_, topic)| topic);
        self.data_channels().any(|ours| ours == channel || ours == plain)
    }

    /// True if an entry with these topics is for us: opal-server names a scope's topic in three
    /// ways, of which its own client knows only one (§4.6).
    pub(super) fn takes(&self, entry: &[String]) -> bool {
        self.topics.iter().any(|ours| {
            let names: Vec<_> = topics::names(&self.scope, ours).collect();
            entry.iter().any(|topic| {
                protocol::topic::expand(topic).any(|topic| names.iter().any(|it| it == topic))
            })
        })
    }

    /// Path and query of the policies, after this revision if one is given.
    pub(super) fn policy_request(&self, base_hash: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for dir in self.dirs() {
            query.append_pair("path", &dir);
        }
        if let Some(hash) = base_hash {
            query.append_pair("base_hash", hash);
        }
        format!("{}policy?{}", self.prefix(), query.finish())
    }

    /// Path of the base sources.
    pub(super) fn config_request(&self) -> String {
        let last = if self.is_scoped() { "data" } else { "data/config" };
        format!("{}{last}", self.prefix())
    }

    fn prefix(&self) -> String {
        if self.is_scoped() { format!("scopes/{}/", self.scope) } else { String::new() }
    }
}
