//! The reference for operators, made from the declarations.

use super::keys::{Key, SECTIONS};
use super::sources::{ALIASES, OTHER_VARIABLES, variable};

const INTRODUCTION: &str = "\
# Configuration

Generated from the source; `cargo xtask bless` writes it.

Values come from a TOML file (`--config`, else `ANNEAL_CONFIG`, else `anneal.toml` in the data folder), \
then from the environment, then from flags; the later wins. Unknown keys and bad values are refused at \
start, all at once. A secret comes from the environment, or from the file that `<key>_file` names; it is \
refused in the configuration file and in flags, and never printed.
";

/// The whole reference as Markdown: every key with its variable, unit, range, default and meaning.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for section in SECTIONS {
        let title = section
            .keys
            .first()
            .and_then(|key| key.name.split_once('.'))
            .map_or("general", |(name, _)| name);
        out.push_str(&format!("\n## {title}\n\n{}\n\n", prose(section.doc)));
        out.push_str("| Key | Variable | Value | Default | Meaning |\n| --- | --- | --- | --- | --- |\n");
        for key in section.keys {
            out.push_str(&row(key));
        }
    }
    out.push_str("\n## Other variables\n\n| Variable | Meaning |\n| --- | --- |\n");
    for (name, key) in ALIASES {
        out.push_str(&format!("| `{name}` | another name of `{}` |\n", variable(key)));
    }
    for (name, meaning) in OTHER_VARIABLES {
        out.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    out
}

fn row(key: &Key) -> String {
    let range = key
        .range
        .map(|(least, most)| format!(", {least} to {most}"))
        .unwrap_or_default();
    let unit = if key.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", key.unit)
    };
    let secret = if key.secret { ", secret" } else { "" };
    let default = if key.default.is_empty() {
        "(empty)".into()
    } else {
        format!("`{}`", key.default)
    };
    let (name, variable, kind, doc) = (key.name, variable(key.name), key.kind, prose(key.doc));
    format!("| `{name}` | `{variable}` | {kind}{unit}{range}{secret} | {default} | {doc} |\n")
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
