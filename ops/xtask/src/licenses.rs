//! The licences of all dependencies against the allow-list in `.deny.toml`, and the crates that it bans.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{bans::Bans, spdx::Expression};

/// Licences that every crate may have, and those that one crate may have besides.
struct Policy {
    allowed: BTreeSet<String>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

/// Fails when a dependency has no licence that is allowed; names it. Has `cargo deny` look as well where
/// that is installed.
pub(crate) fn check(root: &Path) -> Result<()> {
    let text = std::fs::read_to_string(root.join(".deny.toml")).context(".deny.toml")?;
    let (policy, bans) = (Policy::read(&text)?, Bans::read(&text)?);
    let said = crate::command(root)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("cargo metadata could not be run")?;
    if !said.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&said.stderr).trim()
        );
    }
    let metadata: Value = serde_json::from_slice(&said.stdout).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let refused: Vec<String> = packages
        .iter()
        .filter_map(|package| policy.refusal(package))
        .collect();
    if !refused.is_empty() {
        bail!(
            "licences that .deny.toml does not allow:\n  {}\nChoose another crate, or allow it there with the reason.",
            refused.join("\n  ")
        );
    }
    let banned: Vec<String> = packages
        .iter()
        .filter_map(|package| bans.refusal(package))
        .collect();
    if !banned.is_empty() {
        bail!("crates that .deny.toml bans:\n  {}", banned.join("\n  "));
    }
    eprintln!(
        "    {} packages have allowed licences, none is banned",
        packages.len()
    );
    if is_deny_installed(root) {
        crate::cargo(root, &["deny", "check", "licenses", "bans", "sources"])?;
    }
    Ok(())
}

fn is_deny_installed(root: &Path) -> bool {
    crate::command(root)
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|said| said.status.success())
}

impl Policy {
    fn read(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context(".deny.toml")?;
        let licenses = table.get("licenses").context(".deny.toml has no [licenses]")?;
        let allowed = texts(licenses.get("allow"));
        if allowed.is_empty() {
            bail!(".deny.toml allows no licence");
        }
        let mut exceptions = BTreeMap::new();
        for exception in licenses
            .get("exceptions")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = exception
                .get("crate")
                .and_then(toml::Value::as_str)
                .context("an exception without crate")?;
            exceptions.insert(name.to_owned(), texts(exception.get("allow")));
        }
        Ok(Self { allowed, exceptions })
    }

    /// Why a package of cargo's metadata is refused, if it is.
    fn refusal(&self, package: &Value) -> Option<String> {
        let name = package["name"].as_str().unwrap_or("?");
        let version = package["version"].as_str().unwrap_or("?");
        let Some(license) = package["license"].as_str() else {
            return Some(format!("{name} {version}: states no licence"));
        };
        let Some(expression) = Expression::parse(license) else {
            return Some(format!("{name} {version}: '{license}' is not understood"));
        };
        let own = self.exceptions.get(name);
        let allows = |id: &str| self.allowed.contains(id) || own.is_some_and(|own| own.contains(id));
        (!expression.holds(&allows)).then(|| format!("{name} {version}: {license}"))
    }
}

fn texts(list: Option<&toml::Value>) -> BTreeSet<String> {
    let items = list.and_then(toml::Value::as_array).into_iter().flatten();
    items.filter_map(toml::Value::as_str).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use serde_json::json;

    #[test]
    fn a_licence_is_allowed_for_all_or_for_one() {
        let policy = "[licenses]\nallow = ['MIT']\nexceptions = [{ crate = 'one', allow = ['MPL-2.0'] }]";
        let policy = Policy::read(policy).expect("good");
        let package =
            |name: &str, license: Option<&str>| json!({"name": name, "version": "1", "license": license});
        assert_eq!(policy.refusal(&package("any", Some("GPL-3.0 OR MIT"))), None);
        assert_eq!(policy.refusal(&package("one", Some("MPL-2.0"))), None);
        assert_eq!(
            policy.refusal(&package("two", Some("MPL-2.0"))).as_deref(),
            Some("two 1: MPL-2.0")
        );
        assert!(policy.refusal(&package("none", None)).is_some());
        assert!(policy.refusal(&package("odd", Some("MIT AND"))).is_some());
    }

    #[test]
    fn a_policy_that_allows_nothing_is_a_mistake() {
        assert!(Policy::read("[licenses]\nallow = []").is_err());
        assert!(Policy::read("[bans]").is_err());
    }
}
