//! A server that is not ours: s3s-fs, which checks signatures, conditions and parts.
//!
//! The rule: the contract is the very file of `tests/it/objects`, which a folder and the server of the tests keep.

#[path = "../../../it/objects/contract.rs"]
mod contract;

use std::{path::Path, sync::Arc};

use domain::id::SystemIds;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use objects::{Key, Objects, ObjectsError, S3Options, SecretText, StoreAddress};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

const BUCKET: &str = "anneal-tests";

/// Starts the server over `root`, and says where it listens.
async fn serve(root: &Path) -> String {
    std::fs::create_dir(root.join(BUCKET)).expect("a bucket");
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).expect("a folder"));
    builder.set_auth(SimpleAuth::from_single("AK", "SK"));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let service = service.clone();
            tokio::spawn(async move {
                let server = Builder::new(TokioExecutor::new());
                let connection = server.serve_connection(TokioIo::new(socket), service);
                // A client that goes away is none of the server's business.
                drop(connection.await);
            });
        }
    });
    endpoint
}

fn open(endpoint: &str, secret: &str) -> Objects {
    let address = StoreAddress::parse(&format!("s3://{BUCKET}/a/prefix")).expect("an address");
    let options = S3Options {
        endpoint: endpoint.to_owned(),
        access_key_id: SecretText::new("AK".to_owned()),
        secret_access_key: SecretText::new(secret.to_owned()),
        ..S3Options::default()
    };
    Objects::open_with(&address, &options, Arc::new(SystemIds)).expect("a store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3s_fs_keeps_the_contract() {
    let root = tempfile::tempdir().expect("a folder");
    let endpoint = serve(root.path()).await;
    contract::all(&|| open(&endpoint, "SK")).await;
}

/// A wrong secret is refused, and the refusal is told as such.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let endpoint = serve(root.path()).await;
    let objects = open(&endpoint, "canary-wrong");
    let key = Key::artifact("a").expect("a key");
    let mut staged = objects.stage().await.expect("nothing is asked yet");
    staged.write(b"bytes").await.expect("nothing is sent yet");
    let error = staged.publish(&key, objects::Existing::Keep).await.expect_err("refused");
    assert!(matches!(error, ObjectsError::Denied { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
}
