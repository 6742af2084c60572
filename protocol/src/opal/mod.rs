//! OPAL's words where they differ from ours: the frames of its socket, its data sources, its
//! policy bundles, and how a scope's topics are called (`spec/opal-protocol.md`).
//!
//! | question | file |
//! |---|---|
//! | What travels on the socket of an OPAL client? | [`rpc`] |
//! | What does it fetch at first, and what is an entry to it? | [`data`] |
//! | What is a policy, and what is told of a change of it? | [`policy`] |
//! | Which files of a repository are its policy? | [`filter`] |
//! | Which paths does a pattern leave out? | [`ignore`] |
//! | What does a change of its `data.json` files write? | [`data_files`] |
//! | What is a topic of a scope called there? | [`topics`] |

pub mod data;
pub mod data_files;
pub mod filter;
pub mod ignore;
pub mod policy;
pub mod rpc;
pub mod topics;
