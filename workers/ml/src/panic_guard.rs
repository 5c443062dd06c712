//! Runs work in a thread whose panics become failures.
//!
//! burn reports errors of a device only by panics, partly on threads of its own; the thread that waits for such a
//! thread learns only that it is gone. Therefore the panics of all threads are recorded. A process does one piece of
//! work.

use std::{
    panic,
    sync::{Mutex, Once, PoisonError},
    thread,
};

use crate::failure::{Failure, FailureCode};

/// Panics that are recorded; the first ones show the cause.
const MAX_PANICS: usize = 16;

/// The messages of the first panics of this process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs `work` in a thread called `name`; a panic becomes a [`Failure`].
pub(crate) fn run_guarded<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    install_panic_hook();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    match thread.map(thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let own = panic_message(panic.as_ref());
            let mut all = PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !all.contains(&own) {
                all.push(own);
            }
            Err(failure(&all.join("; then: ")))
        }
        Err(error) => Err(Failure::internal("start a thread", error)),
    }
}

/// Records the panics of all threads from now on, in addition to the existing hook.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |told| {
            let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            if panics.len() < MAX_PANICS {
                panics.push(panic_message(told.payload()));
            }
            drop(panics);
            before(told);
        }));
    });
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}

/// The failure that a panic stands for. Devices that run out of memory or fail report it only by panics.
fn failure(panic: &str) -> Failure {
    let told = panic.to_lowercase().replace('_', " ");
    let tells = |signs: &[&str]| signs.iter().any(|sign| told.contains(sign));
    if tells(&["out of memory", "outofmemory", "buffertoobig"]) {
        let advice = "lower batch_size (and raise gradient_accumulation instead) or sequence_length";
        return Failure::new(
            FailureCode::OutOfMemory,
            format!("the device has no memory left; {advice} ({panic})"),
        );
    }
    // Errors of the driver, and functions that its libraries lack.
    if tells(&["cuda error", "missing symbol", "unable to dynamically load"]) {
        let advice = "run `anneal devices --check` with the device, and see the driver's log";
        return Failure::new(
            FailureCode::DeviceUnavailable,
            format!("the device or its libraries failed; {advice} ({panic})"),
        );
    }
    Failure::internal("go on", panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_memory_is_named_as_such() {
        for panic in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "Can't allocate: OutOfMemory { size: 12 }",
            "IoError::BufferTooBig",
        ] {
            let failure = failure(panic);
            assert_eq!(failure.code, FailureCode::OutOfMemory, "{panic}");
            assert!(failure.message.contains("batch_size"), "{failure}");
        }
        assert_eq!(failure("index out of bounds").code, FailureCode::Internal);
    }

    #[test]
    fn a_device_that_fails_is_told_from_a_fault_of_ours() {
        for panic in [
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "Missing symbol cuDevicePrimaryCtxRetain: dlsym failed",
        ] {
            let failure = failure(panic);
            assert_eq!(failure.code, FailureCode::DeviceUnavailable, "{panic}");
            assert!(failure.message.contains("devices --check"), "{failure}");
        }
    }

    /// The waiting thread does not know why the other one is gone.
    #[test]
    fn the_reason_of_a_thread_in_the_background_is_told() {
        let failure = run_guarded("waiting", || -> Result<(), Failure> {
            let device = thread::spawn(|| panic!("CUDA_ERROR_LAUNCH_FAILED"));
            device.join().expect("an answer");
            Ok(())
        })
        .expect_err("a panic");
        assert_eq!(failure.code, FailureCode::DeviceUnavailable, "{failure}");
        assert!(failure.message.contains("CUDA_ERROR_LAUNCH_FAILED"), "{failure}");
    }
}
