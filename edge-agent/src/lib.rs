//! The edge agent: keeps the policy engine beside it current, or decides by itself.
//!
//! connect → replay → fetch → apply → report. The agent never decides in which order
//! updates take effect, that is the hub's; it never shows a secret; and whatever a source,
//! a hub or a caller sends it, it does not panic.
//!
//! | question | module |
//! |---|---|
//! | What happens next? (no sockets, no clock) | [`core`] |
//! | Who carries that out? | [`runtime`] |
//! | Where does data come from? | [`fetch`] |
//! | Where do the secrets come from that sources name? | [`secrets`] |
//! | Where does it go, and what decides? | [`engine`] |
//! | What survives a restart? | [`store`] |
//! | What can be asked of the embedded engine? | [`decisions`] |
//! | How is the agent? | [`local_api`] |
//! | How is a fact written through it, and held until it is enforced? | [`facts`] |
//! | May this user do this? | `enforcement` |
//! | What may the bearer of a grant do here? | [`plane`] |
//! | What stands in front of an application? | `proxy` |
//! | How do changes of a database become updates? | [`watch`] |
//! | Which settings are there, from where? | [`settings`] |
//! | Which commands? | [`cli`] |
//! | How does anything here connect out, and where may it? | [`net`], [`http`] |
//! | What time is it? | `clock` |
//! | What is data while nobody looks into it? | [`json`] |

pub mod cli;
pub(crate) mod clock;
pub mod core;
pub(crate) mod decision_log;
pub mod decisions;
pub(crate) mod enforcement;
pub mod engine;
pub mod facts;
pub mod fetch;
pub mod http;
pub mod json;
pub mod local_api;
pub mod logging;
pub mod net;
pub mod opal;
pub mod plane;
pub mod policy;
pub(crate) mod proxy;
pub mod runtime;
pub mod secrets;
pub mod settings;
pub mod store;
#[cfg(feature = "postgres")]
pub mod watch;
