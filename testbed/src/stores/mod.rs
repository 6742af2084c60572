//! The real servers that data lives in, each started for one test alone, on loopback, with its
//! files in a folder that goes when it is dropped.
//!
//! | question | file |
//! |---|---|
//! | how is MariaDB run? | `mariadb.rs` |
//! | how is PostgreSQL run? | `postgres.rs` |
//! | how is a server run that speaks MongoDB's protocol? | `ferretdb.rs` |
//! | how is an S3-compatible store run? | `s3.rs` |
//! | how is Redis run? | `redis.rs` |
//! | how is OpenLDAP run? | `slapd.rs` |
//! | who runs a server that refuses to run as root? | `user.rs` |
//! | which certificate does a server with TLS show? | `authority.rs` |

mod authority;
mod ferretdb;
mod mariadb;
mod postgres;
mod redis;
mod s3;
mod slapd;
mod user;

pub use authority::Authority;
pub use ferretdb::Ferretdb;
pub use mariadb::{MariaDb, MariaDbBuilder};
pub use postgres::{Postgres, PostgresBuilder};
pub use redis::{Redis, RedisBuilder};
pub use s3::S3;
pub use slapd::{Slapd, SlapdBuilder};
