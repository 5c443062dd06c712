//! Ends a process in which a chat template takes too much memory or time for one conversation.
//!
//! Rule: fuel counts instructions, not what one of them makes: a template that doubles a string forty times needs
//! few. The template library has no limit for values, so the process is watched from outside. That ends all of
//! it; hence only a process that does one job asks for it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::at_fault;
use crate::{failure::Failure, memory};

/// Bytes that the process may grow by while one conversation is rendered.
const MEMORY: u64 = 512 << 20;
/// How long one conversation may take.
const TIME: Duration = Duration::from_secs(30);
/// Time between two looks while nothing is rendered, and while something is.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(5));

/// Goes up when a rendering begins and when it ends: odd in between.
static TURN: AtomicU64 = AtomicU64::new(0);
/// The template that was made last.
static NAME: Mutex<String> = Mutex::new(String::new());

/// Remembers the name of the template whose renderings follow.
pub(super) fn called(name: &str) {
    name.clone_into(&mut NAME.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A rendering under way; dropped, it is over.
pub(super) struct Rendering;

impl Rendering {
    pub(super) fn begin() -> Self {
        TURN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        TURN.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches this process, which renders one conversation at a time, as long as it lives. `end` is called with the
/// reason when a template goes too far; it ends the process.
///
/// # Errors
/// When the system gives no thread.
pub fn start(end: impl Fn(Failure) + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new()
        .name("templates".to_owned())
        .spawn(move || watch(&end))
        .map(drop)
}

fn watch(end: &impl Fn(Failure)) {
    let mut seen: Option<(u64, u64, Instant)> = None;
    loop {
        let turn = TURN.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            seen = None;
            thread::sleep(PAUSES.0);
            continue;
        }
        let now = memory::resident().unwrap_or(0);
        match seen {
            Some((same, before, since)) if same == turn => {
                if let Some(reason) = excess(now.saturating_sub(before), since.elapsed()) {
                    let name = NAME.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    end(at_fault(&name, &reason));
                    return;
                }
            }
            _ => seen = Some((turn, now, Instant::now())),
        }
        thread::sleep(PAUSES.1);
    }
}

/// What is too much about a rendering that takes so many bytes and so long.
fn excess(bytes: u64, time: Duration) -> Option<String> {
    if bytes > MEMORY {
        return Some(format!(
            "it takes more than {} MiB of memory for one conversation",
            MEMORY >> 20
        ));
    }
    (time > TIME).then(|| {
        format!(
            "it takes more than {} seconds for one conversation",
            TIME.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MEMORY, TIME, excess};

    #[test]
    fn too_much_is_said_by_what_it_is() {
        assert_eq!(excess(MEMORY, TIME), None);
        let memory = excess(MEMORY + 1, Duration::ZERO).expect("too much");
        assert!(memory.contains("512 MiB of memory"), "{memory}");
        let time = excess(0, TIME + Duration::from_millis(1)).expect("too long");
        assert!(time.contains("30 seconds"), "{time}");
    }
}
