//! An unmodified opal-server as the hub (`spec/opal-protocol.md` §0.2).
//!
//! opal-server numbers nothing, keeps nothing and replays nothing. [`Machine`] turns what it
//! says into the frames of our own hub, with numbers of this process's own, so that order,
//! fetching, writing ahead, refilling an engine, status and health are the
//! [core](crate::core)'s, as they are with a hub of ours:
//!
//! * Each connection: subscribe, then ask for the base sources and the policies. The base
//!   sources are one update, put before what was notified meanwhile.
//! * Each `notify` of data is an update, once for all the topics that it came on.
//! * The policies of a bundle are a set that the core gives to the engine; its `data.json`
//!   files are an update.
//!
//! No sockets and no clock: the shell is `runtime/opal_link.rs`.
//!
//! | question | file |
//! |---|---|
//! | What happens on each input? | `machine.rs` |
//! | What does a connection load? | `machine/loading.rs` |
//! | What is subscribed to, which entry is for us? | `subscription.rs` |
//! | How is an update read, and told from its copy on another topic? | `updates.rs` |
//! | What does a bundle change? | `repository.rs` |
//! | Which policies are left out? | `protocol::opal::ignore` |
//! | When are policies asked for? | `policy.rs` |
//! | What is given again to a core that had no room? | `recent.rs` |

mod machine;
mod policy;
mod recent;
mod repository;
mod subscription;
mod updates;

#[cfg(test)]
mod tests;

pub use machine::{Config, Effect, Input, Machine};
pub use subscription::Subscription;
