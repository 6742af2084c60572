//! Data from where it lives, to a decision.
//!
//! | figure | file |
//! |---|---|
//! | 100,000 rows of PostgreSQL: time and memory, beside the real opal-client | `rows.rs`, `table.rs` |
//! | a changed row of PostgreSQL, watched | `capture.rs` |
//! | fifty sources of which one hangs | `hanging.rs` |

mod capture;
mod hanging;
mod rows;
mod table;

use anyhow::Result;

use super::report::Report;

pub(crate) async fn measure(report: &mut Report, rounds: u64) -> Result<()> {
    rows::measure(report, rounds.min(15)).await?;
    capture::measure(report, rounds).await?;
    hanging::measure(report, rounds).await
}
