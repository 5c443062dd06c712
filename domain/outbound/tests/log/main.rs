//! What is told of a call: errors, debug output, log and metrics.
//!
//! One rule: the canary stands in everything that is sent and received, and in nothing that is told. A process of its own, so
//! that every line of every library is in the log: what is logged is remembered for a whole process.

#[path = "../it/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod support;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use outbound::{Call, CallError, HeaderName, HeaderValue, Method, Outbound, Policy, SecretUrl, header};

use crate::support::{Server, answer, client, limits, options, quickly};

const CANARY: &str = "canary-5ab0";

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked")).into_owned()
    }
}

fn secret_call(server: &Server) -> Call {
    let url = format!("http://127.0.0.1:{}/{CANARY}/hook?sig={CANARY}", server.port);
    let secret: SecretUrl = url.parse().expect("an address");
    Call::new("test", Method::POST, secret.target().expect("as before"))
        .secret_header(
            header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {CANARY}")).expect("a value"),
        )
        .header(
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static(CANARY),
        )
        .body(CANARY.as_bytes().to_vec())
        .limits(limits())
        .retry(quickly(2))
        .repeatable()
}

async fn servers() -> Vec<Server> {
    let canary_header = format!("x-secret: {CANARY}\r\nlocation: http://{CANARY}.example/\r\n");
    vec![
        Server::answering(vec![answer("200 OK", &canary_header, CANARY)]).await,
        Server::answering(vec![answer("503 Service Unavailable", &canary_header, CANARY)]).await,
        Server::answering(vec![format!("HTTP/1.1 {CANARY}\r\n\r\n")]).await,
        Server::answering(vec![format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n{canary_header}\r\n{CANARY}"
        )])
        .await,
        Server::answering(vec![format!("HTTP/1.1 200 OK\r\n{CANARY} x\r\n\r\n")]).await,
        Server::answering(vec![String::new()]).await,
    ]
}

/// Sends to all, reads what comes, and tells all that can be told of it.
async fn told(outbound: &Outbound, servers: &[Server]) -> String {
    let mut told = String::new();
    for server in servers {
        let call = secret_call(server);
        told += &format!("{call:?} {call:#?}");
        match outbound.send(call).await {
            Ok(answer) => {
                told += &format!("{answer:?}");
                let json: Result<u32, CallError> = answer.json().await;
                told += &format!("{json:?} {}", json.expect_err("no number"));
            }
            Err(error) => told += &format!("{error:?} {error} {:?}", std::error::Error::source(&error)),
        }
        assert!(server.requests()[0].contains(CANARY), "the control: it was sent");
    }
    told
}

#[test]
fn neither_errors_nor_log_nor_metrics_have_what_was_sent_or_received() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let told = metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async { told(&client(options(Policy::development())), &servers().await).await })
    });
    let numbers = recorder.handle().render();
    let log = log.text();
    assert!(
        log.contains("outbound call") && log.contains("hyper_util::") && log.contains("127.0.0.1:"),
        "the control: {log}"
    );
    for (which, text) in [("errors", &told), ("log", &log), ("metrics", &numbers)] {
        let line = text.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None, "{which}");
    }
    for expected in [
        "outbound_calls_total{purpose=\"test\",outcome=\"ok\"} 1",
        "outbound_calls_total{purpose=\"test\",outcome=\"server_error\"} 1",
        "outbound_calls_total{purpose=\"test\",outcome=\"protocol\"} 2",
        "outbound_calls_total{purpose=\"test\",outcome=\"interrupted\"} 2",
        "outbound_retries_total{purpose=\"test\"}",
        "outbound_call_seconds_count{purpose=\"test\",outcome=\"ok\"} 1",
        "outbound_calls_under_way 0",
    ] {
        assert!(numbers.contains(expected), "{expected} is missing:\n{numbers}");
    }
    assert!(!numbers.contains("127.0.0.1"), "a host is a label:\n{numbers}");
}
