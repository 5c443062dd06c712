//! What `anneal audit` says, for people and for programs.
//!
//! The rule: with `--json` standard output holds one JSON object and nothing else; progress goes to standard
//! error, and only to a terminal.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use event_store::{integrity::export::VerifiedExport, postgres::Verified};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::say;

/// Something is not what was recorded.
const DAMAGED: u8 = 3;

/// A line that counts events while it lives.
pub(super) struct Progress(Option<(ProgressBar, Arc<std::sync::atomic::AtomicBool>)>);

impl Progress {
    /// Shows `done`, unless nobody would see it.
    pub(super) fn show(done: Arc<AtomicU64>, json: bool) -> Self {
        if json || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}") {
            bar.set_style(style);
        }
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (shown, end) = (bar.clone(), ended.clone());
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                shown.set_position(done.load(Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self(Some((bar, ended)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, ended)) = &self.0 {
            ended.store(true, Ordering::Relaxed);
            bar.finish_and_clear();
        }
    }
}

fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64().max(1e-6)
}

/// `faulty`: files of exported checkpoints that could not be read.
pub(super) fn whole(verified: &Verified, faulty: &[String], took: Duration, as_json: bool) -> ExitCode {
    let events = verified.tip.position;
    let (hash, root) = (hex::encode(verified.tip.hash), hex::encode(verified.root));
    if as_json {
        let answer = json!({
            "ok": true, "events": events, "hash": hash, "root": root, "checkpoints": verified.recorded,
            "exportedCheckpoints": verified.exported, "signed": verified.signed, "unreadableNotes": verified.unreadable, "unreadableFiles": faulty, "seconds": took.as_secs_f64(),
        });
        say!("{answer}");
        return ExitCode::SUCCESS;
    }
    say!("The log is whole: {events} events, last hash {hash}.");
    match verified.signed {
        0 => say!("No checkpoint is signed yet: nothing outside of the database vouches for it."),
        signed => say!(
            "Its tree has the root {root}; {} recorded and {} exported checkpoints fit, the newest covers {signed} \
             events.",
            verified.recorded,
            verified.exported
        ),
    }
    if verified.unreadable > 0 {
        say!(
            "{} exported notes are cut off and were left out.",
            verified.unreadable
        );
    }
    say!("{:.1} s, {:.0} events/s.", took.as_secs_f64(), rate(events, took));
    ExitCode::SUCCESS
}

pub(super) fn whole_export(verified: &VerifiedExport, took: Duration, as_json: bool) -> ExitCode {
    let manifest = &verified.manifest;
    let events = manifest.to + 1 - manifest.from;
    if as_json {
        let answer = json!({
            "ok": true, "events": events, "from": manifest.from, "to": manifest.to, "origin": manifest.origin,
            "hash": manifest.last_link, "signed": verified.checkpoint.size, "unlisted": verified.unlisted, "seconds": took.as_secs_f64(),
        });
        say!("{answer}");
        return ExitCode::SUCCESS;
    }
    say!(
        "The export is whole: events {} to {} of {}, last hash {}.",
        manifest.from,
        manifest.to,
        manifest.origin,
        manifest.last_link
    );
    if !verified.unlisted.is_empty() {
        say!(
            "NOTE: the folder also holds {}: not of the export, and nothing vouches for it.",
            verified.unlisted.join(", ")
        );
    }
    say!(
        "They are under the signed checkpoint of {} events. {:.1} s, {:.0} events/s.",
        verified.checkpoint.size,
        took.as_secs_f64(),
        rate(events, took)
    );
    ExitCode::SUCCESS
}

pub(super) fn damaged(why: &str, as_json: bool) -> ExitCode {
    match as_json {
        true => say!("{}", json!({ "ok": false, "error": why })),
        false => say!("DAMAGED: {why}"),
    }
    ExitCode::from(DAMAGED)
}
