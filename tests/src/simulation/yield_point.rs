//! Where a process lets others run.
//!
//! One rule: a yield takes one step of the scheduler and no logical time.

use std::{future::poll_fn, task::Poll};

/// Lets others run once; a process can crash here.
pub(super) async fn step() {
    let mut stepped = false;
    poll_fn(|context| {
        if stepped {
            return Poll::Ready(());
        }
        stepped = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
