//! The object store in an S3 bucket: the contract that a folder keeps, and what goes wrong on a network (DS-3).
//!
//! The rule: `contract` is the very file that a real peer is held to (`cargo xtask peers s3s-fs`).

mod contract;
mod faults;
mod way_out;

use std::sync::Arc;

use domain::id::SystemIds;
use objects::{Objects, S3Options, SecretText, StoreAddress};
use tests::harness::object_server::{BUCKET, ObjectServer};

/// The store in the bucket of `server`, below a prefix.
pub(crate) fn open(server: &ObjectServer) -> Objects {
    let address = StoreAddress::parse(&format!("s3://{BUCKET}/a/prefix")).expect("an address");
    let options = S3Options {
        endpoint: server.endpoint(),
        access_key_id: SecretText::new("canary-access-key".to_owned()),
        secret_access_key: SecretText::new("canary-secret".to_owned()),
        ..S3Options::default()
    };
    Objects::open_with(&address, &options, Arc::new(SystemIds)).expect("a store")
}

#[tokio::test]
async fn the_server_of_the_tests_keeps_the_contract() {
    let server = ObjectServer::start().await;
    contract::all(&|| open(&server)).await;
    // That of the process which was killed: a rule of the bucket aborts it (adr 0033).
    assert_eq!(server.open_uploads(), 1, "uploads in parts that nobody ends");
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    contract::all(&|| objects::testing::open(folder.path())).await;
}
