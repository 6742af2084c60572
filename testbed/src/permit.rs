//! Programs that use Permit's real SDK.

use std::path::Path;

use anyhow::Result;

use crate::opal::{Said, said};
use crate::parts::Part;
use crate::process::command;

/// Runs a program in the Python that has a version of the SDK ([`Part::Permit3`] or
/// [`Part::Permit2`]), with these variables and nothing else that it would take for settings.
///
/// # Errors
/// The SDK is not installed.
pub async fn permit_program(sdk: Part, program: &Path, variables: &[(&str, &str)]) -> Result<Said> {
    let mut python = command(sdk.find()?);
    python.args(["-s", "-E"]).arg(program).envs(variables.iter().copied());
    said(python).await
}
