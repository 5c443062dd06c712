//! How addresses are shown, and which calls are counted. What of a call is logged has a process of its own (`tests/log`).
//!
//! One rule: no address is shown with more than its origin.

use outbound::{Body, Policy, SecretUrl, Target};

use crate::support::{Server, client, get, options};

const CANARY: &str = "canary-5ab0";

/// A call that is given up is counted as that, and so is one that is refused.
#[test]
fn refused_and_cancelled_calls_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let outbound = client(options(Policy::development()));
            outbound
                .send(get("https://10.0.0.1/"))
                .await
                .expect_err("refused");
            let server = Server::silent().await;
            let call = outbound.send(get(&server.url()));
            let short = std::time::Duration::from_millis(200);
            tokio::time::timeout(short, call)
                .await
                .expect_err("no answer comes");
        });
    });
    let numbers = recorder.handle().render();
    for outcome in ["refused", "cancelled"] {
        let expected = format!("outbound_calls_total{{purpose=\"test\",outcome=\"{outcome}\"}} 1");
        assert!(numbers.contains(&expected), "{expected} is missing:\n{numbers}");
    }
}

#[test]
fn addresses_are_shown_as_their_origin() {
    let text = format!("https://hooks.example:8443/{CANARY}?sig={CANARY}");
    let (target, secret): (Target, SecretUrl) =
        (text.parse().expect("a target"), text.parse().expect("a secret"));
    for shown in [
        format!("{target}"),
        format!("{target:?}"),
        format!("{secret}"),
        format!("{secret:?}"),
        format!("{:?}", secret.destination()),
    ] {
        assert!(
            !shown.contains(CANARY) && shown.contains("hooks.example"),
            "{shown}"
        );
    }
    assert_eq!(secret.expose(), text);
    assert_eq!(
        format!("{:?}", Body::from(CANARY.as_bytes().to_vec())),
        "Body(11 bytes)"
    );
    for wrong in [
        format!("https://{CANARY}:x@host/"),
        format!("https://host/#{CANARY}"),
        format!("ftp://host/{CANARY}"),
    ] {
        let error = wrong.parse::<SecretUrl>().expect_err("wrong");
        assert!(!format!("{error} {error:?}").contains(CANARY));
    }
}

#[test]
fn a_path_below_a_target_stays_on_its_host() {
    let base: Target = "https://api.example/v1/?key=1".parse().expect("a target");
    let below = base.below("/models").expect("a path");
    assert_eq!(below.destination(), base.destination());
    for path in [
        "//evil.example",
        "..",
        "a/../../b",
        "a?b",
        "a#b",
        "a\\b",
        "a b",
        "%2e%2e",
        "@evil",
    ] {
        match base.below(path) {
            Ok(below) => assert_eq!(below.destination(), base.destination(), "{path}"),
            Err(refusal) => assert_eq!(refusal, outbound::Refusal::Characters, "{path}"),
        }
    }
}
