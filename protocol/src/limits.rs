//! Every limit in one table. A request over one of them is refused with a message that
//! names the limit; nothing is cut off silently.

/// Bytes of a published update's body. With its envelope an update stays below
/// [`MAX_FRAME_BYTES`], so whatever is accepted can also be delivered.
pub const MAX_UPDATE_BYTES: usize = 1_000_000;
/// Bytes of one text frame on the socket, both ways. OPAL's clients close with 1009 above
/// 1 MiB (`spec/opal-protocol.md` §0.1 item 7).
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Bytes of a replay batch: small enough that a slow subscriber never makes the hub hold much.
pub const REPLAY_BATCH_BYTES: usize = 256 << 10;
/// Bytes of a request body that is not an update (a token request, a report).
pub const MAX_SMALL_BODY_BYTES: usize = 64 << 10;
/// Bytes of a fact's value.
pub const MAX_FACT_BYTES: usize = 32 << 10;
/// Facts of a scope.
pub const MAX_FACTS: u64 = 200_000;
/// Facts of a domain.
pub const MAX_DOMAIN_FACTS: u64 = 100_000;
/// The part of the log's retention that a scope's facts may have in bytes: a quarter. Retention
/// says facts again that it gives up, so they must leave room for everything else.
pub const FACTS_PART: u64 = 4;
/// The part that those of a domain may have: an eighth.
pub const DOMAIN_FACTS_PART: u64 = 8;
/// Scopes of a domain, by the application's ids, which group its facts.
pub const MAX_DOMAIN_SCOPES: u64 = 100_000;
/// Own types of facts of a domain.
pub const MAX_FACT_TYPES: usize = 1_000;
/// Bytes of a scope's custom id.
pub const MAX_CUSTOM_ID_BYTES: usize = 256;
/// Bytes of the name of a type of facts, or of a role.
pub const MAX_SLUG_BYTES: usize = 64;
/// Bytes of a domain, as DNS has it.
pub const MAX_DOMAIN_BYTES: usize = 253;
/// Grants that descend from one, made with its token or the tokens of those, and added to them: so
/// many go in one update, with up to a hundred of its own.
pub const MAX_MADE_GRANTS: usize = 900;
/// Paths of one grant.
pub const MAX_GRANT_PATHS: usize = 128;
/// Bytes of one of them, or of the pattern of a type of facts.
pub const MAX_PATTERN_BYTES: usize = 1_024;
/// Paths of one grant that need an engine of regular expressions: those in casbin's syntax in which
/// more than `.`, `/*` and `:name` has a meaning. The others cost no engine, and are free.
pub const MAX_GRANT_EXPRESSIONS: usize = 16;
/// The same of all grants of a domain.
pub const MAX_DOMAIN_EXPRESSIONS: u64 = 64;
/// The same of all grants of a scope. An engine takes a few KiB as a rule and some 200 KiB at most:
/// 64 compiled, and twice as much while it matches. So a hub, and an agent that has all grants,
/// hold about 50 MiB of them in the worst case.
pub const MAX_EXPRESSIONS: u64 = 256;
/// Roles of one grant.
pub const MAX_GRANT_ROLES: usize = 32;
/// Bytes of a path that grants are asked about; a longer one is refused.
pub const MAX_ASKED_PATH_BYTES: usize = 8 << 10;
/// Requests that are remembered for `GET /api/v1/api_audits`.
pub const MAX_AUDITS: usize = 10_000;
/// Requests with tokens that nobody was given that are remembered besides: anybody can send them, and
/// they push out no others.
pub const MAX_STRANGE_AUDITS: usize = 1_000;
/// Entries of one update.
pub const MAX_ENTRIES: usize = 1_000;
/// Topics of one entry, or of one subscription.
pub const MAX_TOPICS: usize = 128;
/// Bytes of all topics of a subscription together. The platform keeps 16 KiB for a socket
/// that sleeps, the token's claims are in there too, and what is kept can be larger than
/// what was said: a quote is escaped in JSON, and one character outside Latin-1 makes the
/// platform keep two bytes for each. With plain topics this leaves most of the room to the
/// claims; where it still does not fit, the hub refuses the socket and says so.
pub const MAX_SUBSCRIPTION_BYTES: usize = 4 << 10;
/// Bytes of one topic.
pub const MAX_TOPIC_BYTES: usize = 256;
/// Segments of one topic, after its prefix: each is a topic more that it is published to.
pub const MAX_TOPIC_SEGMENTS: usize = 16;
/// Different topics that one update is published to, parents included: each is a row in
/// the hub's index.
pub const MAX_EXPANDED_TOPICS: usize = 1_024;
/// Segments of a destination path.
pub const MAX_PATH_SEGMENTS: usize = 32;
/// Bytes of a destination path.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Levels of inline data. Engines differ in how deep a document they read.
pub const MAX_DATA_DEPTH: usize = 100;
/// Bytes of an update's `id`.
pub const MAX_ID_BYTES: usize = 256;
/// Bytes of an agent's name.
pub const MAX_AGENT_NAME_BYTES: usize = 128;
/// Seconds that an answer may be held back for somebody who waits.
pub const MAX_WAIT_SECONDS: u64 = 300;
/// Seconds for which it is held back if nobody says.
pub const DEFAULT_WAIT_SECONDS: u64 = 10;
/// Agents whose receipts a publisher can wait for by number.
pub const MAX_WAIT_AGENTS: u32 = 100_000;
/// Bytes on the way to all sockets that are pushed to, together: what a hub may come to
/// hold for subscribers that stopped reading.
pub const PUSH_BUDGET_BYTES: usize = 32 << 20;
/// Bytes on the way to one socket that is pushed to, at most.
pub const MAX_PUSH_WINDOW_BYTES: usize = 256 << 10;
/// The same, if there are very many sockets.
pub const MIN_PUSH_WINDOW_BYTES: usize = 16 << 10;
/// Bytes of a request body that is a set of policy files.
pub const MAX_POLICY_BYTES: usize = 8 << 20;
/// Bytes of a git host's webhook: GitHub sends up to so many.
pub const MAX_WEBHOOK_BYTES: usize = 25 << 20;
/// Bytes of one policy file: it is one row of the hub's storage, which takes 2 MB.
pub const MAX_POLICY_FILE_BYTES: usize = 1_500_000;
/// Bytes of a policy's name.
pub const MAX_REVISION_BYTES: usize = 128;
/// Files of a policy.
pub const MAX_POLICY_FILES: usize = 10_000;
/// Seconds for which a request for a bundle that has not changed is held, at most.
pub const MAX_POLL_SECONDS: u64 = 60;
/// Requests for bundles that one hub holds at one time.
pub const MAX_POLLS: usize = 5_000;
/// Different bundles that those who are held may wait for.
pub const MAX_POLLED: usize = 1_000;
/// Bytes of a page of the log that becomes a bundle.
pub const BUNDLE_PAGE_BYTES: usize = 2 << 20;
/// Bytes of inline data that become one bundle.
pub const MAX_BUNDLE_DATA_BYTES: usize = 16 << 20;
/// Bytes of a status or of a batch of decisions, inflated: each is one row of the hub's storage.
pub const MAX_REPORT_BYTES: usize = 1 << 20;
/// OPAs of which a hub keeps the last status.
pub const MAX_STATUSES: usize = 500;
/// Bytes of all those together.
pub const MAX_STATUSES_BYTES: usize = 16 << 20;
/// Decisions that a hub keeps.
pub const MAX_DECISIONS: usize = 10_000;
/// Reports in which they came: the list of them is read and written with each.
pub const MAX_DECISION_REPORTS: usize = 500;
/// Bytes of all those together.
pub const MAX_DECISIONS_BYTES: usize = 8 << 20;
/// Bytes of the key of a user, a tenant, a role, a type or an instance.
pub const MAX_KEY_BYTES: usize = 256;
/// Bytes of a name, a description or an email address of a directory.
pub const MAX_NAME_BYTES: usize = 1_024;
/// Users of a directory; tenants; resource instances: so many of each.
pub const MAX_DIRECTORY_THINGS: usize = 100_000;
/// Roles of one user, or relationships to one instance.
pub const MAX_DIRECTORY_LINKS: usize = 2_000;
/// Operations of one bulk call.
pub const MAX_BULK_OPERATIONS: usize = 5_000;
/// Things in a part of a list.
pub const MAX_PER_PAGE: usize = 100;
