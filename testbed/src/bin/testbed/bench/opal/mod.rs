//! The real OPAL beside Girasol, in the same run on the same machine.
//!
//! | figure | file |
//! |---|---|
//! | events a second and publish → last of 100 subscribers; one that is frozen | `fan_out.rs` |
//! | the subscribers: OPAL's socket, as opal-client speaks it | `audience.rs` |
//! | accepted updates that are lost over a restart of the hub | `lost.rs` |
//! | edge agent and opal-client of one opal-server | `agent.rs` |

mod agent;
mod audience;
mod fan_out;
mod lost;

use anyhow::Result;

use super::report::Report;

pub(crate) async fn measure(report: &mut Report, starts: u64) -> Result<()> {
    fan_out::measure(report).await?;
    lost::measure(report).await?;
    agent::measure(report, starts).await
}
