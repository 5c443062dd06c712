//! Ends the process when a chat template takes too much memory or time for one conversation.
//!
//! Rule: the template engine's fuel counts instructions but not the size of values, and a template that doubles a
//! string forty times needs few instructions. Since the engine has no limit for that, a thread watches the memory of
//! the whole process and ends it. Therefore only processes that run a single job start the watchdog.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::error::template_error;
use crate::{failure::Failure, process_memory};

/// Bytes by which the process may grow while one conversation is rendered.
const MAX_MEMORY: u64 = 512 << 20;
/// Time that rendering one conversation may take.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Polling intervals while nothing is rendered, and while something is.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(5));

/// Incremented when a rendering begins and when it ends, so odd in between.
static RENDER_COUNTER: AtomicU64 = AtomicU64::new(0);
/// Name of the template that was compiled last.
static TEMPLATE_NAME: Mutex<String> = Mutex::new(String::new());

/// Sets the name that errors use for the following renderings.
pub(super) fn set_template_name(name: &str) {
    name.clone_into(&mut TEMPLATE_NAME.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A rendering in progress; it ends when this is dropped.
pub(super) struct RenderGuard;

impl RenderGuard {
    pub(super) fn begin() -> Self {
        RENDER_COUNTER.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for RenderGuard {
    fn drop(&mut self) {
        RENDER_COUNTER.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches this process, which renders one conversation at a time, until it exits. `end` is called with the reason
/// when a template exceeds a limit; it must end the process.
///
/// # Errors
/// When no thread can be started.
pub fn start(end: impl Fn(Failure) + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new()
        .name("templates".to_owned())
        .spawn(move || watch(&end))
        .map(drop)
}

fn watch(end: &impl Fn(Failure)) {
    let mut seen: Option<(u64, u64, Instant)> = None;
    loop {
        let counter = RENDER_COUNTER.load(Ordering::Relaxed);
        if counter.is_multiple_of(2) {
            seen = None;
            thread::sleep(POLL_INTERVALS.0);
            continue;
        }
        let now = process_memory::resident_bytes().unwrap_or(0);
        match seen {
            Some((same, before, since)) if same == counter => {
                if let Some(reason) = exceeded_limit(now.saturating_sub(before), since.elapsed()) {
                    let name = TEMPLATE_NAME
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone();
                    end(template_error(&name, &reason));
                    return;
                }
            }
            _ => seen = Some((counter, now, Instant::now())),
        }
        thread::sleep(POLL_INTERVALS.1);
    }
}

/// The limit that a rendering exceeds, as the end of a sentence.
fn exceeded_limit(bytes: u64, time: Duration) -> Option<String> {
    if bytes > MAX_MEMORY {
        return Some(format!(
            "it takes more than {} MiB of memory for one conversation",
            MAX_MEMORY >> 20
        ));
    }
    (time > MAX_TIME).then(|| {
        format!(
            "it takes more than {} seconds for one conversation",
            MAX_TIME.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX_MEMORY, MAX_TIME, exceeded_limit};

    #[test]
    fn too_much_is_said_by_what_it_is() {
        assert_eq!(exceeded_limit(MAX_MEMORY, MAX_TIME), None);
        let memory = exceeded_limit(MAX_MEMORY + 1, Duration::ZERO).expect("too much");
        assert!(memory.contains("512 MiB of memory"), "{memory}");
        let time = exceeded_limit(0, MAX_TIME + Duration::from_millis(1)).expect("too long");
        assert!(time.contains("30 seconds"), "{time}");
    }
}
