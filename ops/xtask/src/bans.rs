//! The crates that `.deny.toml` bans, wholly (`name`) or below a version (`name@<1.2.3`).
//!
//! The rule: an entry that is not understood is an error, so that no ban is only believed to hold.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One ban.
struct Ban {
    name: String,
    /// Versions below this one; all without it.
    below: Option<[u64; 3]>,
    reason: String,
}

/// All of them.
pub(crate) struct Bans(Vec<Ban>);

impl Bans {
    /// Reads the table `[bans]`.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context(".deny.toml")?;
        let entries = table.get("bans").and_then(|bans| bans.get("deny"));
        let entries = entries.and_then(toml::Value::as_array).into_iter().flatten();
        entries.map(ban).collect::<Result<_>>().map(Self)
    }

    /// Why a package of cargo's metadata is banned, if it is.
    pub(crate) fn refusal(&self, package: &Value) -> Option<String> {
        let name = package["name"].as_str()?;
        let text = package["version"].as_str()?;
        // What cannot be read as a version counts as below each.
        let version = version(text).unwrap_or_default();
        let applies = |ban: &&Ban| ban.name == name && ban.below.is_none_or(|floor| version < floor);
        let ban = self.0.iter().find(applies)?;
        Some(format!("{name} {text}: {}", ban.reason))
    }
}

fn ban(entry: &toml::Value) -> Result<Ban> {
    let text = |key| entry.get(key).and_then(toml::Value::as_str);
    let spec = text("crate").context("a ban without crate")?;
    let (name, below) = match spec.split_once('@') {
        None => (spec, None),
        Some((name, range)) => match range.strip_prefix('<').and_then(version) {
            Some(floor) => (name, Some(floor)),
            None => bail!("the ban {spec} is not understood; write name or name@<1.2.3"),
        },
    };
    Ok(Ban {
        name: name.to_owned(),
        below,
        reason: text("reason").context("a ban without reason")?.to_owned(),
    })
}

/// Three numbers; what follows them, as of a pre-release, does not count.
fn version(text: &str) -> Option<[u64; 3]> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::Bans;
    use serde_json::json;

    #[test]
    fn a_crate_is_banned_wholly_or_below_a_version() {
        let text =
            "[bans]\ndeny = [{ crate = 'a@<0.23.45', reason = 'old' }, { crate = 'b', reason = 'two' }]";
        let bans = Bans::read(text).expect("good");
        let refusal = |name: &str, version: &str| bans.refusal(&json!({"name": name, "version": version}));
        assert_eq!(refusal("a", "0.23.44").as_deref(), Some("a 0.23.44: old"));
        assert_eq!(refusal("a", "0.9.99").as_deref(), Some("a 0.9.99: old"));
        assert_eq!(refusal("a", "0.23.45"), None);
        assert_eq!(refusal("a", "1.0.0"), None);
        assert_eq!(refusal("b", "9.0.0").as_deref(), Some("b 9.0.0: two"));
        assert_eq!(refusal("c", "0.0.1"), None);
    }

    #[test]
    fn a_ban_that_is_not_understood_is_an_error() {
        for entry in [
            "{ crate = 'a@>1', reason = 'x' }",
            "{ crate = 'a' }",
            "{ reason = 'x' }",
        ] {
            assert!(
                Bans::read(&format!("[bans]\ndeny = [{entry}]")).is_err(),
                "{entry}"
            );
        }
    }

    /// FX1: the floor that keeps RUSTSEC-2026-0285 out.
    #[test]
    fn rustls_below_the_advisory_is_banned_here() {
        let path = crate::root().expect("a root").join(".deny.toml");
        let bans = Bans::read(&std::fs::read_to_string(path).expect("the policy")).expect("good");
        let refusal = |version: &str| bans.refusal(&json!({"name": "rustls", "version": version}));
        assert!(refusal("0.23.44").is_some());
        assert_eq!(refusal("0.23.45"), None);
    }
}
