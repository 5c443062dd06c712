//! GQ-7: how many statements an operation takes does not depend on how many rows it answers with.

use serde_json::json;
use tests::harness::{TestApp, TestOptions, rows_read::fill, statements::Statements};

use super::{bench, scratch};

#[tokio::test]
async fn what_is_worked_out_for_each_row_is_read_for_all_at_once() {
    let app = TestApp::start_with(TestOptions {
        workers: 0,
        settings: Vec::new(),
    })
    .await;
    let bench = bench(&app).await;
    let (_job, _) = bench.start(&bench.text, scratch(10)).await;
    let statements = Statements::listen();
    let queries = [
        ("jobs", "queuePosition expectedStartSeconds waitingReason"),
        ("projects", "workerSeconds gpuSeconds"),
    ];
    let ask = async || {
        let mut counted = Vec::new();
        for (list, fields) in queries {
            let query = format!("{{ {list}(first: 100) {{ nodes {{ id {fields} }} }} }}");
            let _before = statements.take();
            let answer = bench.engineer.run(&query, json!({})).await;
            let rows = answer.data(list)["nodes"].as_array().map_or(0, Vec::len);
            counted.push((rows, statements.take()));
        }
        counted
    };
    let address = event_store::postgres::address(&app.database_url).expect("a URL");
    let pool = sqlx::PgPool::connect_with(address).await.expect("a pool");
    let grow = async |count| {
        for table in ["jobs_job", "projects_project"] {
            fill(&pool, table, count, "'id', gen_random_uuid()").await;
        }
    };
    // Of one waiting job alone, nothing is put in order.
    grow(1).await;
    let few = ask().await;
    grow(40).await;
    let many = ask().await;
    for ((one, few), (others, many)) in few.iter().zip(&many) {
        assert_eq!((*one, *others), (2, 42));
        assert!(!few.is_empty(), "they are counted");
        assert_eq!(few.len(), many.len(), "{many:#?}");
    }
    app.stop().await;
}
