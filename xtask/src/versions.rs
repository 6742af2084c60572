//! Which version of a tool is the right one, read from where it is pinned.

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// The version of `tool` in a workspace manifest's `[workspace.metadata.tools]`.
pub(crate) fn pinned(manifest: &str, tool: &str) -> Result<String> {
    let manifest: Table = manifest.parse().context("Cargo.toml is not valid TOML")?;
    ["workspace", "metadata", "tools"]
        .iter()
        .try_fold(&manifest, |table, key| table.get(*key)?.as_table())
        .and_then(|tools| tools.get(tool)?.as_str())
        .map(str::to_owned)
        .with_context(|| {
            format!("add `{tool} = \"<version>\"` to [workspace.metadata.tools] in Cargo.toml")
        })
}

/// The one version of `package` in a Cargo.lock.
pub(crate) fn locked(lockfile: &str, package: &str) -> Result<String> {
    let lockfile: Table = lockfile.parse().context("Cargo.lock is not valid TOML")?;
    let packages = lockfile.get("package").and_then(Value::as_array);
    let versions: Vec<&str> = packages
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("name").and_then(Value::as_str) == Some(package))
        .filter_map(|entry| entry.get("version")?.as_str())
        .collect();
    match versions.as_slice() {
        [version] => Ok((*version).to_owned()),
        [] => bail!("Cargo.lock holds no `{package}`: run `cargo update --workspace`"),
        several => bail!(
            "Cargo.lock holds several versions of `{package}` ({}): bring its users to one",
            several.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKFILE: &str = r#"
        version = 4
        [[package]]
        name = "getrandom"
        version = "0.2.16"
        [[package]]
        name = "getrandom"
        version = "0.4.3"
        [[package]]
        name = "wasm-bindgen"
        version = "0.2.129"
        [[package]]
        name = "wasm-bindgen-macro"
        version = "0.2.130"
    "#;

    #[test]
    fn the_locked_version_is_that_of_the_package_with_exactly_this_name() {
        assert_eq!(locked(LOCKFILE, "wasm-bindgen").unwrap(), "0.2.129");
    }

    #[test]
    fn a_package_that_is_missing_or_there_twice_has_no_locked_version() {
        let missing = locked(LOCKFILE, "worker").unwrap_err().to_string();
        assert!(missing.contains("no `worker`"), "{missing}");
        let twice = locked(LOCKFILE, "getrandom").unwrap_err().to_string();
        assert!(twice.contains("0.2.16, 0.4.3"), "{twice}");
    }

    #[test]
    fn a_pinned_version_comes_from_the_workspace_metadata() {
        let manifest = "[workspace.metadata.tools]\nopa = \"v1.22.2\"";
        assert_eq!(pinned(manifest, "opa").unwrap(), "v1.22.2");
        let error = pinned(manifest, "worker-build").unwrap_err().to_string();
        assert!(error.contains("workspace.metadata.tools"), "{error}");
    }

    #[test]
    fn this_workspace_pins_every_tool_by_an_exact_version() {
        let manifest = include_str!("../../Cargo.toml");
        for tool in ["worker-build", "cargo-machete", "cargo-deny", "opa", "uv"] {
            let version = pinned(manifest, tool).unwrap();
            assert_eq!(version.split('.').count(), 3, "{tool} {version}");
        }
    }
}
