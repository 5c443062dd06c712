//! The list of routes is whole: tests that walk over it miss none.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use api::{
    graphql::executor::SchemaExecutor,
    http::{
        endpoints,
        graphql::{EndpointOptions, GraphqlEndpoint},
        router,
        routes::{Probe, Routes},
        server::Shutdown,
    },
};
use tests::harness::TestApp;

/// The paths that the router itself names, as it shows itself to `Debug`.
fn paths(router: &dyn std::fmt::Debug) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let (_, routes) = shown.split_once("path_router: ").expect("its routes");
    let (routes, _) = routes.split_once("fallback_router: ").expect("then its fallback");
    let paths = routes.split('"').filter(|text| text.starts_with('/'));
    paths.map(str::to_owned).collect()
}

/// What is served is what is listed: read from the router, not from what it was made of.
#[tokio::test]
async fn every_route_of_the_router_is_listed() {
    let app = TestApp::start().await;
    let inner = app.system.app.clone();
    let probe = Probe {
        started_at: inner.now(),
        workers: Arc::new(Vec::new),
    };
    let graphql = GraphqlEndpoint::new(
        SchemaExecutor::new(inner.clone()),
        EndpointOptions::default(),
        Shutdown::default(),
    );
    let served = paths(&router(Routes::new(inner, probe, None), graphql));
    let listed: BTreeSet<String> = endpoints()
        .iter()
        .map(|endpoint| endpoint.path.to_owned())
        .collect();
    assert!(
        served.contains("/healthz") && served.contains("/graphql"),
        "{served:?}"
    );
    assert_eq!(served, listed);
    app.stop().await;
}

/// Routes are added in two places, which the list covers, and nowhere else.
#[test]
fn nothing_else_is_routed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let places = [
        "api/src/http/mod.rs",
        "api/src/http/routes.rs",
        "api/src/http/graphql/mod.rs",
    ];
    let adds = [
        ".route(",
        ".route_service(",
        ".nest(",
        ".nest_service(",
        ".merge(",
        ".fallback_service(",
    ];
    let (mut open, mut searched) = (vec![root.join("api/src"), root.join("ops/src")], 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .display()
                .to_string();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            searched += 1;
            for added in adds.iter().filter(|_| !places.contains(&name.as_str())) {
                assert!(
                    !text.contains(added),
                    "{name} has {added}…): the list of routes does not know it"
                );
            }
        }
    }
    assert!(searched > 100, "{searched}");
}
