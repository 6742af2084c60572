//! The real servers that data lives in, each started for one test alone, on loopback, with its
//! files in a folder that goes when it is dropped.
//!
//! | question | file |
//! |---|---|
//! | how is PostgreSQL run? | `postgres.rs` |
//! | how is Redis run? | `redis.rs` |
//! | who runs a server that refuses to run as root? | `user.rs` |
//! | which certificate does a server with TLS show? | `authority.rs` |

mod authority;
mod postgres;
mod redis;
mod user;

pub use authority::Authority;
pub use postgres::{Postgres, PostgresBuilder};
pub use redis::{Redis, RedisBuilder};
