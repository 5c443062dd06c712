//! The options that texts name are those of the command line.

use anneal::cli::Cli;
use clap::CommandFactory as _;

/// Every option of every verb.
fn options() -> Vec<String> {
    fn gather(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(
            command
                .get_arguments()
                .filter_map(|argument| argument.get_long().map(str::to_owned)),
        );
        command.get_subcommands().for_each(|verb| gather(verb, found));
    }
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    gather(&command, &mut found);
    found
}

/// Words of other programs that our texts name, and of programs that we call.
const OF_OTHERS: [&str; 23] = [
    // curl
    "data-binary",
    // cargo
    "exact",
    "features",
    "workspace",
    "bless",
    "release",
    "locked",
    "seed",
    "test",
    "ignored",
    "nocapture",
    "p",
    // PostgreSQL's programs
    "version",
    "bindir",
    "pgdata",
    "username",
    "auth",
    "encoding",
    "locale",
    "data-checksums",
    "no-instructions",
    // useradd, umount
    "system",
    "lazy",
];

/// FR15: an option that a text or a message of ours names is one that there is.
#[test]
fn every_option_that_a_text_names_exists() {
    let known = options();
    assert!(
        known.len() > 15 && known.iter().any(|option| option == "listen"),
        "{known:?}"
    );
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let (mut open, mut unknown, mut seen) = (Vec::new(), Vec::new(), 0);
    for place in [
        "ops/src",
        "ops/guides",
        "ops/runbooks",
        "api/src",
        "domain",
        "projections/src",
        "workers/src",
        "workers/ml/src",
        "schema",
        "README.md",
    ] {
        open.push(root.join(place));
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(&path)
                    .expect("readable")
                    .map(|entry| entry.expect("one").path()),
            );
            continue;
        }
        let ours = path
            .extension()
            .is_some_and(|ending| ["rs", "md"].iter().any(|wanted| ending == *wanted));
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        // Of the guides only what is said of our own command.
        let prose = path.extension().is_some_and(|ending| ending == "md");
        let told = |line: &str| ours && (!prose || line.contains("anneal "));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| told(line)) {
            for (at, _) in line.match_indices("--") {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '-') {
                    continue;
                }
                let option: String = line[at + 2..]
                    .chars()
                    .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
                    .collect();
                if option.is_empty() || option.starts_with('-') {
                    continue;
                }
                seen += 1;
                if !known.contains(&option) && !OF_OTHERS.contains(&option.as_str()) {
                    unknown.push(format!("{}:{}: --{option}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
