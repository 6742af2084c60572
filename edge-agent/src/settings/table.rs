//! The table of settings.

use super::kind::Kind;

/// One setting.
pub struct Setting {
    /// Its name: the key of the file, and what the others are made from.
    pub name: &'static str,
    /// What its values look like.
    pub(super) kind: Kind,
    /// Its value where nobody gives one.
    pub default: Option<&'static str>,
    /// True if it is never shown.
    pub secret: bool,
    /// OPAL's name of the same setting, for `OPAL_…`.
    pub opal: Option<&'static str>,
    /// Permit's name of the same setting, for `PDP_…`.
    pub permit: Option<&'static str>,
    /// One line for people.
    pub help: &'static str,
}

impl Setting {
    const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, default: None, secret: false, opal: None, permit: None, help }
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn opal(mut self, opal: &'static str) -> Self {
        self.opal = Some(opal);
        self
    }

    const fn permit(mut self, permit: &'static str) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The flag, without its dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// What stands for a value in help texts.
    #[must_use]
    pub fn placeholder(&self) -> String {
        self.kind.placeholder()
    }

    /// The variables that set it, the stronger one first.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let own = format!("GIRASOL_{}", self.name.to_ascii_uppercase());
        let opal = self.opal.map(|name| format!("OPAL_{name}"));
        let permit = self.permit.map(|name| format!("PDP_{name}"));
        std::iter::once(own).chain(opal).chain(permit).collect()
    }
}

/// Log levels, and what OPAL calls some of them.
const LEVELS: Kind = Kind::Choice {
    of: &["error", "warn", "info", "debug", "trace"],
    also: &[("warning", "warn"), ("critical", "error"), ("success", "info")],
};

/// On or off, in the words that OPAL takes.
const SWITCH: Kind = Kind::Choice {
    of: &["true", "false"],
    also: &[
        ("1", "true"),
        ("yes", "true"),
        ("on", "true"),
        ("0", "false"),
        ("no", "false"),
        ("off", "false"),
    ],
};

/// Every setting of the agent, in the order in which help and `print-config` show them.
pub const SETTINGS: &[Setting] = &[
    Setting::new("server", Kind::Url, "address of the Girasol functions, or of an opal-server")
        .default("http://localhost:7002")
        .opal("SERVER_URL"),
    Setting::new(
        "protocol",
        Kind::Choice { of: &["auto", "girasol", "opal"], also: &[] },
        "what the server speaks; auto finds out",
    )
    .default("auto"),
    Setting::new("token", Kind::Text, "the agent's token; better given by a variable or the file")
        .secret()
        .opal("CLIENT_TOKEN"),
    Setting::new("topics", Kind::Topics, "topics to subscribe to, separated by commas")
        .default("policy_data")
        .opal("DATA_TOPICS"),
    Setting::new("scope", Kind::Scope, "the scope whose updates and policies to receive")
        .default(protocol::DEFAULT_SCOPE)
        .opal("SCOPE_ID"),
    Setting::new(
        "agent_name",
        Kind::AgentName,
        "the agent's name in statistics and receipts; the machine's name if not given",
    )
    .opal("OPAL_CLIENT_STAT_ID"),
    Setting::new(
        "engine",
        Kind::Choice { of: &["regorus", "opa"], also: &[] },
        "what decides: the embedded engine, or an OPA beside the agent",
    )
    .default("regorus"),
    Setting::new(
        "rego_v0",
        SWITCH,
        "whether --engine regorus takes a policy for one from before OPA 1.0, if it imports nothing else",
    )
    .default("false")
    .opal("OPA_V0_COMPAT"),
    Setting::new(
        "decision_timeout_seconds",
        Kind::Seconds,
        "how long a decision of --engine regorus may take",
    )
    .default("5"),
    Setting::new(
        "decision_memory_limit",
        Kind::Bytes,
        "bytes by which the agent may grow during a decision of --engine regorus",
    )
    .default("512MiB"),
    Setting::new("opa_url", Kind::Url, "address of OPA, for --engine opa")
        .default("http://localhost:8181")
        .opal("POLICY_STORE_URL"),
    Setting::new("opa_token", Kind::Text, "bearer token for OPA")
        .secret()
        .opal("POLICY_STORE_AUTH_TOKEN"),
    Setting::new(
        "permit_policy",
        SWITCH,
        "whether --engine opa is given the built-in policy for /allowed, if there is no package permit",
    )
    .default("false"),
    Setting::new("policy_dir", Kind::Path, "folder of .rego files to load"),
    Setting::new(
        "data_dir",
        Kind::Path,
        "folder for state, so that the agent starts and decides without the hub; without it nothing is kept",
    ),
    Setting::new(
        "listen",
        Kind::Address,
        "where the agent's own API listens; loopback only, unless there is an api_key",
    )
    .default("127.0.0.1:7766"),
    Setting::new("listen_host", Kind::Text, "another host for listen, as OPAL has it")
        .opal("CLIENT_API_SERVER_HOST"),
    Setting::new("listen_port", Kind::Port, "another port for listen, as OPAL has it")
        .opal("CLIENT_API_SERVER_PORT"),
    Setting::new(
        "api_key",
        Kind::Text,
        "what callers of the agent's own API show as bearer's token; without it only its own machine may call",
    )
    .secret(),
    Setting::new(
        "facts_token",
        Kind::Text,
        "a datasource token that facts are written with for who shows the api_key; without it, what callers show is passed on",
    )
    .secret(),
    Setting::new(
        "local_facts_wait_timeout",
        Kind::Wait,
        "seconds for which the answer to a fact is held until this agent has it; 0 for none, -1 for no limit",
    )
    .default("10")
    .permit("LOCAL_FACTS_WAIT_TIMEOUT"),
    Setting::new(
        "local_facts_timeout_policy",
        Kind::Choice { of: &["ignore", "fail"], also: &[] },
        "what is answered if it does not have it then: as if it had, or 424",
    )
    .default("ignore")
    .permit("LOCAL_FACTS_TIMEOUT_POLICY"),
    Setting::new(
        "decision_listen",
        Kind::Address,
        "where the embedded engine answers like OPA, for --engine regorus",
    )
    .default("127.0.0.1:8181"),
    Setting::new(
        "decision_default",
        Kind::Text,
        "what POST / of the embedded engine decides, as a path below data",
    )
    .default("system/main"),
    Setting::new(
        "decision_authentication",
        Kind::Choice { of: &["off", "token"], also: &[] },
        "whether bearer's tokens are identities to the policy that decision_authorization asks",
    )
    .default("off"),
    Setting::new(
        "decision_authorization",
        Kind::Choice { of: &["off", "basic"], also: &[] },
        "whether data.system.authz.allow is asked before the embedded engine answers anything",
    )
    .default("off"),
    Setting::new(
        "decision_read_only",
        SWITCH,
        "whether nothing may be written into the embedded engine beside what comes through Girasol; true if not given, unless decision_listen is loopback and there is no api_key",
    ),
    Setting::new(
        "decision_log_console",
        SWITCH,
        "whether each decision of the embedded engine is a line on standard output",
    )
    .default("false"),
    Setting::new("decision_log_file", Kind::File, "file that each decision is appended to, a line each"),
    Setting::new(
        "decision_log_service",
        Kind::Url,
        "service that decisions are posted to, at /logs below it, as OPA does; the functions are one",
    ),
    Setting::new("decision_log_token", Kind::Text, "bearer token for that service").secret(),
    Setting::new(
        "decision_log_min_delay_seconds",
        Kind::Seconds,
        "seconds that pass between two posts at least, unless there is too much to wait",
    )
    .default("300"),
    Setting::new(
        "decision_log_max_delay_seconds",
        Kind::Seconds,
        "seconds that pass between two posts at most",
    )
    .default("600"),
    Setting::new("decision_log_chunk_bytes", Kind::Bytes, "bytes of one post, compressed")
        .default("32KiB"),
    Setting::new(
        "decision_log_buffer_bytes",
        Kind::Bytes,
        "bytes of posts that wait, compressed; the oldest go when there are more",
    )
    .default("16MiB"),
    Setting::new(
        "decision_log_buffer_events",
        Kind::Count,
        "decisions that wait to be logged; what comes when there are so many is dropped",
    )
    .default("10000"),
    Setting::new(
        "decision_log_max_per_second",
        Kind::Count,
        "decisions of one second that are logged; all if not given",
    ),
    Setting::new(
        "data_plane_listen",
        Kind::Address,
        "where the agent serves the data plane, for bearers of grants; nowhere if not given",
    ),
    Setting::new(
        "grants_offline_seconds",
        Kind::Interval,
        "seconds without the hub after which the data plane refuses everything; 0 for never",
    )
    .default("300"),
    Setting::new("log_level", LEVELS, "from which level log lines are written")
        .default("info")
        .opal("LOG_LEVEL"),
    Setting::new(
        "log_format",
        Kind::Choice { of: &["text", "json"], also: &[] },
        "log lines for people, or one JSON object a line",
    )
    .default("text"),
    Setting::new("fetch_timeout_seconds", Kind::Seconds, "seconds that one fetch may take")
        .default("10")
        .opal("HTTP_FETCHER_TIMEOUT"),
    Setting::new("fetch_max_bytes", Kind::Bytes, "bytes of data that one fetch may bring")
        .default("64MiB"),
    Setting::new(
        "fetch_allow",
        Kind::Rules,
        "where data may be fetched from, separated by commas: names, networks, https://host/path/*; everywhere if not given",
    ),
    Setting::new(
        "fetch_deny",
        Kind::Rules,
        "where data is never fetched from; wins over fetch_allow",
    ),
    Setting::new(
        "fetch_ca_file",
        Kind::File,
        "PEM file of certificates to trust besides the system's, in sources and in the server",
    )
    .opal("CLIENT_SSL_CONTEXT_TRUSTED_CA_FILE"),
    Setting::new(
        "fetch_cert_file",
        Kind::File,
        "PEM file of the certificate to show to sources that ask for one",
    ),
    Setting::new("fetch_key_file", Kind::File, "PEM file of its private key"),
    Setting::new(
        "fetch_proxy",
        Kind::Proxy,
        "HTTP proxy for fetches, in place of HTTP_PROXY and HTTPS_PROXY; NO_PROXY holds for both",
    )
    .secret(),
    Setting::new(
        "secrets_dir",
        Kind::Path,
        "folder of secrets that updates name as ${secret:NAME}, a file each; GIRASOL_SECRET_NAME goes before",
    ),
    Setting::new(
        "secrets_command",
        Kind::Command,
        "program, with its first arguments, that is run with the name of a secret and prints it",
    ),
    Setting::new(
        "secrets",
        Kind::Secrets,
        "hosts that a secret may go to, as {\"NAME\":{\"hosts\":[…]}}; tables in the file",
    ),
    Setting::new(
        "exec_fetchers",
        Kind::Programs,
        "programs that fetch data as exec:NAME, each with a command; tables in the file",
    ),
    Setting::new(
        "policy_dirs",
        Kind::Dirs,
        "folders of the hub's policy to load, separated by colons",
    )
    .default(".")
    .opal("POLICY_SUBSCRIPTION_DIRS"),
    Setting::new(
        "policies_to_ignore",
        Kind::Patterns,
        "patterns of policies that are not loaded from an opal-server, separated by commas",
    )
    .opal("POLICY_STORE_POLICY_PATHS_TO_IGNORE"),
    Setting::new("policy_updates", SWITCH, "whether to load policies from the hub")
        .default("true")
        .opal("POLICY_UPDATER_ENABLED"),
    Setting::new("data_updates", SWITCH, "whether to load data from an opal-server")
        .default("true")
        .opal("DATA_UPDATER_ENABLED"),
    Setting::new("data_sources_url", Kind::Url, "where the base sources are, if not at the opal-server")
        .opal("DEFAULT_DATA_SOURCES_CONFIG_URL"),
    Setting::new("socket_url", Kind::SocketUrl, "the opal-server's socket, if not /ws below server")
        .opal("SERVER_PUBSUB_URL"),
    Setting::new("socket_base_url", Kind::SocketUrl, "what the opal-server's /ws is below, if not server")
        .opal("SERVER_WS_URL"),
    Setting::new("report_updates", SWITCH, "whether registered callbacks hear of every update")
        .default("false")
        .opal("SHOULD_REPORT_ON_DATA_UPDATES"),
    Setting::new(
        "update_callbacks",
        Kind::Callbacks,
        "callbacks for report_updates, in place of the opal-server's own",
    )
    .secret()
    .opal("DEFAULT_UPDATE_CALLBACKS"),
    Setting::new("statistics", SWITCH, "whether to appear in an opal-server's statistics")
        .default("false")
        .opal("STATISTICS_ENABLED"),
    Setting::new(
        "keep_alive_seconds",
        Kind::Interval,
        "seconds between two pings in OPAL's protocol, beside the socket's own; 0 for none",
    )
    .default("0")
    .opal("KEEP_ALIVE_INTERVAL"),
];
