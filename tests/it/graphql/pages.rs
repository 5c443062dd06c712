//! Pages of lists (GQ-3): sizes, cursors and counts.

use serde_json::{Value, json};
use tests::harness::{Client, TestApp, statements::Statements};

/// Every list that this build has without arguments, with what it holds here.
const LISTS: [(&str, usize); 6] = [
    ("projects", 3),
    ("experiments", 3),
    ("datasets", 2),
    ("models", 0),
    ("jobs", 0),
    ("users", 3),
];

async fn filled() -> (TestApp, Client) {
    let app = TestApp::start().await;
    for name in ["ada", "bob"] {
        let person = app.person(name, "engineer_i").await;
        let _dataset = person.dataset("D").await;
        let _experiment = person.experiment().await;
    }
    let _third = app.admin.experiment().await;
    let admin = app.admin.clone();
    (app, admin)
}

/// `first: 0` is an empty page that tells whether there is more.
#[tokio::test]
async fn an_empty_page_tells_whether_there_are_rows() {
    let (app, admin) = filled().await;
    for (list, count) in LISTS {
        let query = format!(
            "{{ {list}(first: 0) {{ nodes {{ id }} edges {{ cursor }} totalCount
                pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
        );
        let answer = admin.run(&query, json!({})).await;
        let expected = json!({
            "nodes": [], "edges": [], "totalCount": count,
            "pageInfo": { "hasNextPage": count > 0, "hasPreviousPage": false, "startCursor": null, "endCursor": null },
        });
        assert_eq!(answer.data(list), &expected, "{list}");
    }
    for wrong in [-1, 101] {
        let refused = admin
            .run(
                "query($n: Int) { projects(first: $n) { nodes { id } } }",
                json!({ "n": wrong }),
            )
            .await;
        assert_eq!(
            refused.code(),
            Some("BAD_USER_INPUT"),
            "{wrong}: {}",
            refused.body
        );
    }
    app.stop().await;
}

/// FL7: a cursor goes on in the list and the order that made it, and is refused by every other.
#[tokio::test]
async fn a_cursor_belongs_to_its_list_and_order() {
    let (app, admin) = filled().await;
    let mut cursors: Vec<(String, String)> = Vec::new();
    let mut lists: Vec<String> = LISTS.iter().map(|(list, _)| format!("{list}(")).collect();
    lists.extend(["auditLog(order: NEWEST_FIRST, ", "auditLog(order: OLDEST_FIRST, "].map(str::to_owned));
    for list in &lists {
        let query = format!("{{ {list}first: 1) {{ pageInfo {{ endCursor }} }} }}");
        let answer = admin.run(&query, json!({})).await;
        let field = list.split('(').next().unwrap_or_default();
        if let Some(cursor) = answer.data(field)["pageInfo"]["endCursor"].as_str() {
            cursors.push((list.clone(), cursor.to_owned()));
        }
    }
    assert_eq!(cursors.len(), 6, "{cursors:?}");
    for list in &lists {
        for (maker, cursor) in &cursors {
            let query =
                format!("{{ {list}first: 1, after: \"{cursor}\") {{ pageInfo {{ hasPreviousPage }} }} }}");
            let answer = admin.run(&query, json!({})).await;
            if maker == list {
                assert!(answer.body.get("errors").is_none(), "{list}: {}", answer.body);
            } else {
                assert_eq!(
                    answer.code(),
                    Some("BAD_USER_INPUT"),
                    "{maker} in {list}: {}",
                    answer.body
                );
            }
        }
    }
    app.stop().await;
}

/// `totalCount` is counted when it is asked for, and costs no statement otherwise; it counts what the caller may see.
#[tokio::test]
async fn rows_are_counted_when_somebody_asks() {
    let (app, admin) = filled().await;
    let ada = app.person("cyd", "engineer_i").await;
    let _experiment = ada.experiment().await;
    let statements = Statements::listen();
    for (list, asked) in [("nodes { id }", false), ("totalCount nodes { id }", true)] {
        let _before = statements.take();
        let query = format!("{{ projects(first: 1) {{ {list} }} }}");
        let answer = admin.run(&query, json!({})).await;
        assert!(answer.body.get("errors").is_none(), "{}", answer.body);
        let counts = statements.take();
        let counts = counts.iter().filter(|text| text.starts_with("select count"));
        assert_eq!(counts.count(), usize::from(asked), "{list}");
    }
    drop(statements);
    let seen = async |client: &Client| {
        let query =
            "{ projects { totalCount nodes { experiments { totalCount } } } datasets { totalCount } }";
        let answer = client.run(query, json!({})).await;
        (
            answer.data("projects")["totalCount"].clone(),
            answer.data("projects")["nodes"][0]["experiments"]["totalCount"].clone(),
            answer.data("datasets")["totalCount"].clone(),
        )
    };
    assert_eq!(seen(&admin).await, (json!(4), json!(1), json!(2)));
    assert_eq!(seen(&ada).await, (json!(1), json!(1), json!(0)));
    let filtered = admin
        .run(
            "{ jobs(state: RUNNING) { totalCount } auditLog { totalCount } }",
            json!({}),
        )
        .await;
    assert_eq!(
        filtered.data("jobs")["totalCount"],
        0,
        "counted under the same filter"
    );
    assert_eq!(filtered.data("auditLog")["totalCount"], Value::Null);
    app.stop().await;
}
