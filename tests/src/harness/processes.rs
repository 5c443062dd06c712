//! Processes as the machine lists them.

/// Whether the process is there and has not ended.
#[must_use]
pub fn is_alive(process: i32) -> bool {
    // "id (name) state …", and the name may hold anything.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// The living children of `parent` that are called `name`.
///
/// # Panics
/// Elsewhere than on Linux.
#[must_use]
pub fn children(parent: i32, name: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return false;
        };
        let Some((command, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else {
            return false;
        };
        let mut fields = rest.split_whitespace();
        let (state, found) = (fields.next(), fields.next());
        command == name && !matches!(state, Some("Z" | "X")) && found == Some(&parent.to_string())
    })
    .collect()
}
