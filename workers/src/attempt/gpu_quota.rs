//! The GPU hours of a job's owner while an attempt has a GPU (QU-1).
//!
//! One rule: what cannot be read ends nothing; it is looked at again.

use std::time::Duration;

use domain::{access::quota::GpuHoursExceeded, aggregate::LoadError, id::UserId, rights};

use crate::settings::WorkerParts;

/// How long is waited at most until the hours are looked at again: other attempts of the owner begin and end
/// meanwhile, and an administrator changes the quota.
const LOOK: Duration = Duration::from_secs(30);

/// Waits until the hours of `owner` are used up, by all that the owner has on GPUs.
pub(super) async fn used_up(parts: &WorkerParts, owner: UserId) -> GpuHoursExceeded {
    loop {
        let pause = match left(parts, owner).await {
            Ok(Ok(left)) => left.map_or(LOOK, |left| left.min(LOOK)),
            Ok(Err(exceeded)) => return exceeded,
            Err(error) => {
                tracing::warn!(%owner, %error, "the GPU hours of a job's owner cannot be read, trying again");
                LOOK
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn left(
    parts: &WorkerParts,
    owner: UserId,
) -> Result<Result<Option<Duration>, GpuHoursExceeded>, LoadError> {
    // Whether an account that is gone may still train is decided elsewhere (AC-6).
    Ok(
        match rights::load_quotas(parts.ports.store.as_ref(), &parts.ports.aggregates, owner).await? {
            Some((ledger, quotas)) => ledger.gpu_hours_left(&quotas, parts.ports.clock.now()),
            None => Ok(None),
        },
    )
}
