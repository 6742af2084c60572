//! Starts the real parts of Girasol on loopback: the functions on workerd, edge agents, OPA, data
//! sources, the real OPAL. The tests, the demo and the benchmarks all start them here, so that what
//! is tested, shown and measured is the same thing.
//!
//! Nothing in here stands in for a part of Girasol, and nothing listens beyond 127.0.0.1. Every
//! child is killed, by its process id, when its handle is dropped; a child's last words are printed
//! when a test that holds it panics.
//!
//! | question | file |
//! |---|---|
//! | how is the Worker run on workerd, how do I mint and publish? | `functions.rs` |
//! | how is an agent run, how do I wait for it? | `agent.rs` |
//! | who publishes what changes in a database? | `watch.rs` |
//! | what stands in front of an application? | `guard.rs` |
//! | how is OPA run? | `opa.rs` |
//! | how are the real opal-server and opal-client run, who speaks OPAL's socket? | `opal/` |
//! | how is a program run that uses Permit's SDK? | `permit.rs` |
//! | how are the functions or an opal-server asked? | `api.rs` |
//! | where does data come from, how does a source fail? | `source.rs`, `server.rs` |
//! | how are the servers run that data lives in, with which certificates? | `stores/` |
//! | where does policy come from, how is git served over HTTP? | `git/` |
//! | what does a real browser make of a page? | `browser.rs` |
//! | how does the network fail, how many bytes pass? | `proxy.rs` |
//! | which binaries are used, and what if one is missing? | `parts.rs` |
//! | which keys and secrets are used? | `keys.rs` |
//! | how does a child start, speak and end? | `process.rs` |
//! | `demo`, `dev`, `bench` | `bin/testbed/` |

mod agent;
mod api;
mod browser;
mod functions;
mod git;
mod guard;
mod http;
mod keys;
mod opa;
mod opal;
mod parts;
mod permit;
mod process;
mod proxy;
mod server;
mod source;
mod stores;
mod watch;

pub use agent::{Agent, AgentBuilder, Engine};
pub use api::Api;
pub use browser::open_page;
pub use functions::{Functions, FunctionsBuilder};
pub use git::{GitServer, Repository};
pub use guard::Guard;
pub use http::{Answer, http_client, http_client_builder, http_client_within};
pub use keys::{Keys, load_or_create_secret, write_private};
pub use opa::Opa;
pub use opal::{
    Heard, OpalClient, OpalClientBuilder, OpalPeer, OpalServer, OpalServerBuilder, Said, Upgrade,
    opal_program, said,
};
pub use parts::{Part, checkout, require};
pub use permit::permit_program;
pub use process::{Logs, Process, command, free_port};
pub use proxy::Proxy;
pub use source::{Received, Reply, Source};
pub use stores::{
    Authority, Ferretdb, MariaDb, MariaDbBuilder, Postgres, PostgresBuilder, Redis, RedisBuilder,
    S3, Slapd, SlapdBuilder,
};
pub use watch::{Watcher, WatcherBuilder};
