//! Samples of the events of datasets.

use super::{id, samples_of};
use crate::{
    authz::Visibility,
    datasets::{
        dataset::{DatasetEvent, Version},
        format::{Format, Summary},
    },
    id::{DatasetId, UserId},
};

const USER: UserId = UserId(id(1));
const DATASET: DatasetId = DatasetId(id(2));

samples_of! {
    DatasetEvent {
        Created => dataset(Visibility::Private),
        VersionAdded => DatasetEvent::VersionAdded(version(Format::PlainText)),
    } also {
        "public" => dataset(Visibility::Public),
        "chat" => DatasetEvent::VersionAdded(version(Format::Chat)),
    }
}

fn dataset(visibility: Visibility) -> DatasetEvent {
    let (name, description) = ("Poems".into(), "Old ones.".into());
    DatasetEvent::Created {
        dataset: DATASET,
        owner: USER,
        name,
        description,
        visibility,
    }
}

fn version(format: Format) -> Version {
    Version {
        version: 1,
        sha256: "9f86d081".into(),
        bytes: 1_234,
        format,
        summary: Summary {
            samples: 3,
            lines: 7,
            bytes: 1_234,
            characters: 1_200,
            token_estimate: 308,
            samples_with_other_keys: 0,
            preview: vec!["Tyger Tyger, burning bright".into()],
        },
        file_name: "poems.txt".into(),
    }
}
