//! Samples of access and audit.

use time::macros::datetime;

use super::{id, samples_of};
use crate::{
    access::{
        administrators::AdministratorsEvent,
        assignment::AssignmentEvent,
        ledger::LedgerEvent,
        quota::{Quota, Quotas},
        role::{RoleDefinition, RoleEvent},
    },
    audit::{
        collection::{CollectedObject, CollectionEvent},
        sensitive_read::ReadEvent,
    },
    authz::denial::DenialEvent,
    bounded::Count,
    id::{DatasetId, ModelId, UserId},
};

const USER: UserId = UserId(id(1));
const LEFT_OUT: Count = Count {
    count: 12,
    since: datetime!(2026-11-21 12:00:00.25 UTC),
    until: datetime!(2026-11-21 12:59:59 UTC),
};

samples_of! {
    RoleEvent { Defined => RoleEvent::Defined(role()) }
}

samples_of! {
    AssignmentEvent {
        Granted => AssignmentEvent::Granted { user: USER, role: "guest".into(), reason: "joins".into() },
        Removed => AssignmentEvent::Removed { user: USER, role: "guest".into(), reason: "leaves".into() },
    }
}

samples_of! {
    AdministratorsEvent {
        Joined => AdministratorsEvent::Joined { user: USER },
        Left => AdministratorsEvent::Left { user: USER },
    }
}

samples_of! {
    LedgerEvent {
        Taken => LedgerEvent::Taken { quota: Quota::ConcurrentJobs, item: "job_1".into() },
        Released => LedgerEvent::Released { quota: Quota::ConcurrentJobs, item: "job_1".into() },
        StorageTaken => LedgerEvent::StorageTaken { bytes: 1_234, item: "dst_1/1".into(), object: None },
        StorageReserved => LedgerEvent::StorageReserved {
            bytes: 1_234,
            until: datetime!(2026-11-30 12:00:00 UTC),
            item: "upl_1".into(),
        },
        StorageReleased => LedgerEvent::StorageReleased { item: "upl_1".into() },
        GpuTimeBegan => LedgerEvent::GpuTimeBegan { began_at: datetime!(2026-11-21 12:00:00.25 UTC), item: "job_1/1".into() },
        GpuTimeTaken => LedgerEvent::GpuTimeTaken {
            month: "2026-11".into(),
            milliseconds: 12_345,
            item: "job_1/1".into(),
        },
    } also {
        "projects" => LedgerEvent::Taken { quota: Quota::Projects, item: "prj_1".into() },
        "datasets" => LedgerEvent::Taken { quota: Quota::Datasets, item: "dst_1".into() },
        "object" => LedgerEvent::StorageTaken { bytes: 0, item: "dst_2/1".into(), object: Some("9f86d081".into()) },
    }
}

samples_of! {
    DenialEvent {
        PermissionDenied => DenialEvent::PermissionDenied {
            action: "models.export".into(),
            resource: "models".into(),
            rule: "role".into(),
        },
        LeftOut => DenialEvent::LeftOut(LEFT_OUT),
    }
}

samples_of! {
    ReadEvent {
        DatasetDownloaded => ReadEvent::DatasetDownloaded { dataset: DatasetId(id(2)), version: 1 },
        ModelDownloaded => ReadEvent::ModelDownloaded {
            model: ModelId(id(3)),
            version: 1,
            file: "model.safetensors".into(),
            merged: false,
        },
        OthersThingRead => ReadEvent::OthersThingRead { thing: "job_1".into() },
        OthersThingsListed => ReadEvent::OthersThingsListed { things: "jobs".into() },
        LeftOut => ReadEvent::LeftOut(LEFT_OUT),
    } also {
        "merged" => ReadEvent::ModelDownloaded {
            model: ModelId(id(3)),
            version: 1,
            file: "model.safetensors".into(),
            merged: true,
        },
    }
}

samples_of! {
    CollectionEvent {
        Collected => CollectionEvent::Collected {
            objects: vec![CollectedObject {
                key: "artifacts/job_1/adapter/adapter_model.safetensors".into(),
                bytes: 1_234,
                written: datetime!(2026-11-21 12:00:00 UTC),
            }],
        },
    }
}

fn role() -> RoleDefinition {
    RoleDefinition {
        name: "guest".into(),
        description: "Tries things out.".into(),
        permissions: ["models.read".to_owned(), "training.create".to_owned()].into(),
        quotas: Quotas {
            projects: Some(1),
            gpu_hours: Some(10),
            ..Quotas::UNLIMITED
        },
        may_grant: ["guest".to_owned()].into(),
    }
}
