//! The list of routes is whole: tests that walk over it miss none.

use std::{collections::BTreeSet, future::IntoFuture as _, path::Path, sync::Arc};

use api::{
    app::App,
    graphql::executor::SchemaExecutor,
    http::{
        endpoints,
        graphql::{EndpointOptions, GraphqlEndpoint},
        router,
        routes::{Probe, Routes},
        server::Shutdown,
    },
};
use reqwest::Method;
use tests::harness::{Client, TestApp};
use tokio::net::TcpListener;

/// The paths that the router itself names, as it shows itself to `Debug`.
fn paths(router: &dyn std::fmt::Debug) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let (_, routes) = shown.split_once("path_router: ").expect("its routes");
    let (routes, _) = routes.split_once("fallback_router: ").expect("then its fallback");
    let paths = routes.split('"').filter(|text| text.starts_with('/'));
    paths.map(str::to_owned).collect()
}

fn graphql(app: &App) -> GraphqlEndpoint<SchemaExecutor> {
    GraphqlEndpoint::new(
        SchemaExecutor::new(app.clone()),
        EndpointOptions::default(),
        Shutdown::default(),
    )
}

/// What is served is what is listed: read from the router, not from what it was made of.
#[tokio::test]
async fn every_route_of_the_router_is_listed() {
    let app = TestApp::start().await;
    let inner = app.system.app.clone();
    let probe = Probe {
        started_at: inner.now(),
        workers: Arc::new(Vec::new),
        free_bytes: Arc::new(|| None),
    };
    let graphql = graphql(&inner);
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

/// FR19: whoever looks at readiness is told that files have no room left; requests are served all the same.
#[tokio::test]
async fn a_full_disk_is_told_where_readiness_is_asked_for() {
    let app = TestApp::start().await;
    let inner = app.system.app.clone();
    for (free, wanted) in [
        (Some(1 << 20), "degraded"),
        (Some(1 << 30), "ready"),
        (None, "ready"),
    ] {
        let probe = Probe {
            started_at: inner.now(),
            workers: Arc::new(Vec::new),
            free_bytes: Arc::new(move || free),
        };
        let router = router(Routes::new(inner.clone(), probe, None), graphql(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        let client = Client::new(url);
        let answer = client.send(client.request(Method::GET, "/readyz")).await;
        serving.abort();
        let report = &answer.body;
        assert_eq!(answer.status, 200, "{report}");
        assert_eq!(report["status"], wanted, "{report}");
        let room = report["dependencies"]
            .as_array()
            .and_then(|all| all.iter().find(|dependency| dependency["name"] == "room"));
        let told = room.and_then(|room| room["detail"].as_str()).unwrap_or_default();
        assert_eq!(told.contains("1 MiB are free"), wanted == "degraded", "{report}");
    }
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
