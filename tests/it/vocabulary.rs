//! The words that code does not use: private words that were replaced by the terms of the field.
//!
//! One rule: a word is forbidden as the name of a type, module, function, constant or file, or as any identifier where
//! it has no other meaning. `CONTRIBUTING.md` has the glossary; stored names (event types, columns, GraphQL) are not
//! identifiers of code and stay.

use std::path::{Path, PathBuf};

/// Words that are no identifier at all below `within` (everywhere if empty): word, instead, within.
const IDENTIFIERS: &[(&str, &str, &[&str])] = &[
    ("World", "LoadedState", &[]),
    ("Reads", "ReadSet", &[]),
    ("Changes", "NewEvents", &[]),
    ("world", "loaded", &[]),
    ("Fact", "an event", &[]),
    ("Facts", "events, or what is derived from them", &[]),
    ("fact", "event", &[]),
    ("facts", "events", &[]),
    ("Door", "GraphqlEndpoint, transport", &[]),
    ("DoorOptions", "EndpointOptions", &[]),
    ("door", "endpoint, transport", &[]),
    ("Fault", "UserError", &["api/"]),
    ("coded", "error_with_code", &[]),
    (
        "unreadable",
        "read_failed",
        &["api/src/graphql/", "api/src/http/"],
    ),
    (
        "at_least",
        "honor_min_position, wait_for_position",
        &["api/src/graphql/", "projections/"],
    ),
    ("reach", "wait_for_position", &["api/", "projections/"]),
    ("Moment", "AsOf, LogInstant", &[]),
    ("MomentLoader", "AsOfLoader", &[]),
    ("Asked", "AsOfRequest", &[]),
    ("Seen", "AsOfInfo", &[]),
    ("Standing", "…Status", &[]),
    ("Follower", "…Subscription, ProjectionHandle", &[]),
    ("Wish", "…Options, …Request", &[]),
    ("wish", "options, request", &[]),
    ("Ground", "Snapshot, Fixture", &[]),
    ("ground", "snapshot, fixture", &[]),
    ("Terms", "JobRequirements", &[]),
    ("Abilities", "WorkerCapabilities", &[]),
    ("abilities", "capabilities", &[]),
    ("Claim", "Reservation", &[]),
    ("ClaimKey", "ReservationKey", &[]),
    ("ClaimEvent", "ReservationEvent", &[]),
    ("catalogue", "event_registry", &[]),
    ("Conversation", "ChildProtocol", &["workers/src/"]),
    ("Deaf", "Unresponsive", &[]),
    ("Nonsense", "ProtocolError", &[]),
    ("News", "AttemptReport", &[]),
    ("news", "report, message, event", &[]),
    ("Halt", "StopRequest", &[]),
    ("halt", "stop_request", &[]),
    ("Heart", "LeaseHeartbeat", &[]),
    ("heart", "heartbeat", &[]),
    ("beats", "worker_heartbeat", &[]),
    ("Patience", "RetryBudget, Backoff", &[]),
    ("PATIENCE", "TIMEOUT", &[]),
    ("Journal", "HistoryWriter, AcknowledgementLog", &[]),
    ("journal", "history_writer, acknowledgements", &[]),
    ("Strand", "VersionTrack", &[]),
    ("Dense", "HotColumns", &[]),
    ("dense", "hot", &["projections/"]),
    ("HashingLane", "HashingPool", &[]),
    ("LaneError", "HashingPoolError", &[]),
    ("lane", "hashing_pool", &["api/", "ops/"]),
    ("Surroundings", "Environment", &[]),
    ("surroundings", "environment", &[]),
    ("Cast", "Participants", &["tests/", "domain/"]),
    ("cast", "fixtures, participants", &["tests/", "domain/"]),
    ("Scene", "Scenario", &[]),
    ("scene", "scenario", &[]),
    ("sentence", "given_when_then", &["domain/", "tests/"]),
    ("Hindrance", "SigningError", &[]),
    ("Weather", "FaultRates", &[]),
];

/// Every crate but that of training.
const OURS: &[&str] = &[
    "domain/",
    "projections/",
    "api/",
    "workers/src/",
    "ops/",
    "tests/",
];

/// Words that may be a field, variant or variable, and name no type, module or function: word, instead, within.
const DEFINITIONS: &[(&str, &str, &[&str])] = &[
    ("View", "ResolvedAsOf, or what is shown", OURS),
    ("Instant", "LogInstant", &[]),
    ("End", "AttemptOutcome, or of what", &[]),
    ("Told", "Acknowledgement", &[]),
    ("Said", "SourceValue", &[]),
    ("Trouble", "WriteFailure", &[]),
    ("Ahead", "Prefetch", &[]),
    ("standing", "status", &[]),
    ("moment", "as_of", &["projections/", "workers/src/"]),
    ("judge", "verdict", &["workers/src/"]),
    ("hours", "gpu_quota", &["workers/src/"]),
    ("patience", "retry", &[]),
    ("orders", "cancellation", &["workers/src/"]),
    ("rule", "lease_expiry", &["workers/src/"]),
    ("terms", "requirements, options", &[]),
    ("lane", "hashing pool, concurrency", &["api/", "ops/"]),
    ("lanes", "hashing_concurrency", &["api/", "ops/"]),
    ("demands", "requirements", &[]),
    ("things", "one file for each context", &["domain/"]),
    ("claim", "reservation", &["domain/src/identity/", "api/"]),
];

/// Words of the training crate, as definitions.
const TRAINING: &[(&str, &str, &[&str])] = &[
    ("Sight", "AttentionMask", &["workers/ml/"]),
    ("few", "small_m", &["workers/ml/"]),
    ("by_hand", "backward", &["workers/ml/"]),
    ("Turn", "AutodiffGuard", &["workers/ml/src/graphs"]),
    ("Watcher", "TrainingObserver", &["workers/ml/"]),
    ("Basis", "ModelSetup", &["workers/ml/"]),
    ("judge", "track_best", &["workers/ml/"]),
];

/// Parts of file names.
const FILES: &[&str] = &[
    "world",
    "door",
    "doors",
    "catalogue",
    "things",
    "claim",
    "journal",
    "moment",
    "standing",
    "follower",
    "heart",
    "beats",
    "patience",
    "orders",
    "halt",
    "hours",
    "conversation",
    "ground",
    "cast",
    "scene",
    "sentence",
    "facts",
];

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the workspace").to_owned()
}

/// Every Rust source of the workspace as path and text, without this one.
fn sources() -> Vec<(String, String)> {
    let (root, mut found) = (root(), Vec::new());
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str())
            {
                open.push(path);
            } else if name.ends_with(".rs") && name != "vocabulary.rs" {
                let text = std::fs::read_to_string(&path).expect("a readable source");
                let relative = path.strip_prefix(&root).expect("below the root");
                found.push((relative.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    assert!(found.len() > 300, "the workspace was not found");
    found.sort();
    found
}

/// The length of the string, character or comment at the beginning of `text`, if one begins there. Raw strings end
/// with as many `#` as they begin with.
fn not_code(text: &str) -> Option<usize> {
    let until = |from: usize, end: &str| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('"') || (prefix.ends_with('r') && rest.starts_with('#')))
    });
    if let Some(prefix) = prefix {
        let rest = &text[prefix.len()..];
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if rest[hashes..].starts_with('"') {
            let from = prefix.len() + hashes + 1;
            return Some(match prefix.ends_with('r') {
                true => until(from, &format!("\"{}", "#".repeat(hashes))),
                false => escaped(text, from, '"'),
            });
        }
    }
    // A quote begins a character where it is closed, else a lifetime.
    let quoted = usize::from(text.starts_with("b'"));
    let mut letters = text[quoted..].strip_prefix('\'')?.chars();
    match (letters.next()?, letters.next()?) {
        ('\\', _) => Some(escaped(text, quoted + 1, '\'')),
        (letter, '\'') => Some(quoted + 2 + letter.len_utf8()),
        _ => None,
    }
}

/// Where the literal that `end` closes is over, with escapes.
fn escaped(text: &str, from: usize, end: char) -> usize {
    let mut letters = text[from..].char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == end {
            return from + at + 1;
        }
    }
    text.len()
}

/// The identifiers of the code of `text`, in order.
fn identifiers(text: &str) -> Vec<&str> {
    let (mut found, mut at) = (Vec::new(), 0);
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    while let Some(letter) = text[at..].chars().next() {
        if let Some(length) = not_code(&text[at..]) {
            at += length;
        } else if part(letter) {
            let length = text[at..].find(|letter| !part(letter)).unwrap_or(text.len() - at);
            found.push(&text[at..at + length]);
            at += length;
        } else {
            at += letter.len_utf8();
        }
    }
    found
}

/// The names that `text` defines as types, modules, functions and constants.
fn definitions(text: &str) -> Vec<&str> {
    const DEFINE: &[&str] = &["struct", "enum", "trait", "type", "mod", "fn", "const", "static"];
    let words = identifiers(text);
    let pairs = words.windows(2).filter(|pair| DEFINE.contains(&pair[0]));
    pairs.map(|pair| pair[1]).collect()
}

fn forbidden<'a>(path: &str, words: &[&str], list: &'a [(&str, &str, &[&str])]) -> Vec<(&'a str, &'a str)> {
    let here = |within: &[&str]| within.is_empty() || within.iter().any(|place| path.starts_with(place));
    let found = list
        .iter()
        .filter(|(word, _, within)| here(within) && words.contains(word));
    found.map(|(word, instead, _)| (*word, *instead)).collect()
}

#[test]
fn comments_and_strings_are_no_code() {
    let text = r##"fn one<'a>(x: &'a str) { let c = '"'; "fn two \" fn"; r#"fn "three"#; b'\''; /* fn four */ five } // fn six"##;
    assert_eq!(
        identifiers(text),
        ["fn", "one", "a", "x", "a", "str", "let", "c", "five"]
    );
    assert_eq!(definitions(text), ["one"]);
}

#[test]
fn no_private_word_names_anything() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let (words, defined) = (identifiers(&text), definitions(&text));
        let mut wrong = match path.starts_with("workers/ml/") {
            true => Vec::new(),
            false => forbidden(&path, &words, IDENTIFIERS),
        };
        wrong.extend(forbidden(&path, &defined, DEFINITIONS));
        wrong.extend(forbidden(&path, &defined, TRAINING));
        found.extend(
            wrong
                .iter()
                .map(|(word, instead)| format!("{path} names {word}; say {instead}")),
        );
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_file_is_named_by_a_private_word() {
    let paths = sources().into_iter().map(|(path, _)| path);
    let named = |path: &String| {
        let mut parts = path.trim_end_matches(".rs").split('/');
        !path.starts_with("workers/ml/") && parts.any(|part| FILES.contains(&part))
    };
    assert_eq!(paths.filter(named).collect::<Vec<_>>(), Vec::<String>::new());
}

/// Words that name no field, argument or type of the API, and no setting.
const CONTRACTS: &[&str] = &[
    "terms",
    "demands",
    "moment",
    "lanes",
    "lane",
    "fact",
    "facts",
    "door",
    "claim",
    "standing",
    "wish",
    "ground",
    "abilities",
    "heart",
    "beats",
    "halt",
    "journal",
    "basis",
];

#[test]
fn no_private_word_names_anything_in_the_contracts() {
    let named = |text: &str, file: &str| -> Vec<String> {
        let names: Vec<&str> = match file.ends_with(".md") {
            // Settings stand in backquotes.
            true => text
                .split('`')
                .skip(1)
                .step_by(2)
                .flat_map(|name| name.split(['.', '_']))
                .collect(),
            false => text.split(|letter: char| !letter.is_alphanumeric()).collect(),
        };
        let found = names
            .iter()
            .filter(|name| CONTRACTS.contains(&name.to_lowercase().as_str()));
        found.map(|name| format!("{file} names {name}")).collect()
    };
    let mut found = Vec::new();
    for file in ["schema/schema.graphql", "schema/config.md"] {
        let text = std::fs::read_to_string(root().join(file)).expect("a contract");
        // Descriptions are prose.
        let names: Vec<&str> = match file.ends_with(".graphql") {
            true => text.split("\"\"\"").step_by(2).collect(),
            false => vec![text.as_str()],
        };
        assert!(
            names.iter().map(|part| part.len()).sum::<usize>() > 5_000,
            "{file} is there"
        );
        found.extend(names.iter().flat_map(|part| named(part, file)));
    }
    assert_eq!(found, Vec::<String>::new());
}
