//! The main job on real parts: functions on workerd, agents, data sources, OPA.
//!
//! | what is shown | file |
//! |---|---|
//! | mint, publish, fan out, fetch, apply, decide | `main_job.rs` |
//! | who may do what; what a bad token is told | `tokens.rs` |
//! | grants: what they allow, who makes them, what the audits say | `grants.rs`, `control_plane.rs` |
//! | facts: how they are kept, who gets them and decides on them | `facts.rs`, `fact_topics.rs` |
//! | what a bad update is told, and that the log is unchanged | `updates.rs` |
//! | which policy gets in | `policy_gate.rs` |
//! | publishes at the same time | `together.rs` |
//! | the native dialect, frame by frame | `socket.rs` |
//! | receipts, one's own writes, tokens that end, state that stays | `promises.rs` |
//! | base sources, also periodic ones | `base_sources.rs` |
//! | policy in the log, and agents that decide by it | `policy_log.rs` |
//! | sources that are down, slow, broken | `sources.rs` |
//! | secrets that get out nowhere | `canary.rs` |
//! | a policy that is followed: commits, force pushes, refusals, credentials | `repository.rs`, `following.rs` |
//! | a scope that follows a repository of its own | `repository_scopes.rs` |
//! | who is heard when somebody has pushed | `webhook.rs` |
//! | a policy from a bundle server, or from S3-compatible storage | `bundle_source.rs` |
//! | a real OPA beside the agent, also one that restarts | `opa.rs` |
//! | whether a user may do something, by the enforcement calls | `enforcement.rs` |
//! | a real OPA without an agent: bundles, status, decisions | `bundles.rs` |
//! | policies that the commands push, and a repository that they track | `policy_commands.rs` |
//! | grants at the agent: what is allowed, what is not, and without the hub | `plane_agent.rs`, `plane_agent/` |
//! | what changes in a database, in decisions | `watch.rs` |
//! | the agent's commands, and mistakes at the command line | `commands.rs` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod base_sources;
mod browser;
mod bundle_source;
mod bundles;
mod canary;
mod commands;
mod control_plane;
mod enforcement;
mod fact_topics;
mod facts;
mod following;
mod grants;
mod main_job;
mod opa;
mod plane;
mod plane_agent;
mod policy_commands;
mod policy_gate;
mod policy_log;
mod promises;
mod proxy;
mod repository;
mod repository_scopes;
mod socket;
mod sources;
mod support;
mod together;
mod tokens;
mod updates;
mod watch;
mod webhook;
