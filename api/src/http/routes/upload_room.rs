//! Room for an upload in the quota of the dataset's owner (DS-3, QU-1).
//!
//! One rule: what an upload has reserved ends with it: used by the version, or given back, also when the sender is gone.

use async_trait::async_trait;
use axum::http::StatusCode;
use domain::{
    authz::Principal,
    datasets::{
        dataset::DatasetRefusal,
        upload::{ReleaseUpload, ReserveUpload},
    },
    execute::{DEADLINE, execute},
    id::{DatasetId, UploadId, UserId},
};

use super::{Failed, run};
use crate::{
    app::{App, Caller},
    http::problem::Problem,
    ingest::{LASTS, NoRoom, Room},
};

/// The room of one upload.
pub(super) struct UploadRoom {
    app: App,
    caller: Caller,
    dataset: DatasetId,
    owner: Option<UserId>,
    upload: UploadId,
    /// Whether anything may be reserved.
    reserved: bool,
    /// Why the last reservation was not made.
    problem: Option<Problem>,
}

impl UploadRoom {
    /// None yet, for an upload of `caller` to `dataset` of `owner`.
    pub(super) fn new(app: &App, caller: &Caller, dataset: DatasetId, owner: Option<UserId>) -> Self {
        Self {
            app: app.clone(),
            caller: caller.clone(),
            dataset,
            owner,
            upload: UploadId(app.ports.ids.next()),
            reserved: false,
            problem: None,
        }
    }

    /// The upload that has reserved it.
    pub(super) fn upload(&self) -> UploadId {
        self.upload
    }

    /// Why there is no room.
    pub(super) fn problem(&mut self) -> Option<Problem> {
        self.problem.take()
    }
}

#[async_trait]
impl Room for UploadRoom {
    async fn reserve(&mut self, bytes: u64, sha256: Option<&str>) -> Result<(), NoRoom> {
        let command = ReserveUpload {
            dataset: self.dataset,
            upload: self.upload,
            bytes,
            sha256: sha256.map(str::to_owned),
            until: self.app.now() + LASTS,
        };
        // Also when it fails: its outcome may be unknown.
        self.reserved = true;
        match run(&self.app, &self.caller, &command).await {
            Ok(_) => Ok(()),
            Err(Failed::Refused(reason)) => {
                self.problem = Some(over_quota(&reason));
                match reason {
                    DatasetRefusal::Storage(exceeded) => Err(NoRoom::Exceeded(exceeded)),
                    _ => Err(NoRoom::Undecided),
                }
            }
            Err(Failed::Other(problem)) => {
                self.problem = Some(problem);
                Err(NoRoom::Undecided)
            }
        }
    }
}

impl Drop for UploadRoom {
    fn drop(&mut self) {
        let (Some(owner), true) = (self.owner, self.reserved) else {
            return;
        };
        // Without a runtime the process is ending: the reservation ends by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (app, upload, meta) = (self.app.clone(), self.upload, self.caller.meta.clone());
        runtime.spawn(async move {
            let command = ReleaseUpload {
                owner,
                upload,
                lapsed: None,
            };
            let principal = Principal::System("uploads");
            let released = execute(&app.ports, &principal, &meta, &command);
            match tokio::time::timeout(DEADLINE, released).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the room of an upload is given back by time only"),
                Err(_) => tracing::warn!("the room of an upload is given back by time only"),
            }
        });
    }
}

/// The answer where the bytes do not fit.
pub(super) fn over_quota(reason: &DatasetRefusal) -> Problem {
    Problem::new(StatusCode::FORBIDDEN)
        .kind("quota-exceeded", "Quota exceeded")
        .detail(reason.to_string())
}
