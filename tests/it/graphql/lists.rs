//! Orders of lists (GQ-3): each row once, in any order, whatever comes meanwhile. Filters are in [`filters`].

mod filters;
mod fixture;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use fixture::{Installation, lists, make, page, text, walk};

/// The field with the name, and that with the time of creation.
fn fields_of(list: &str) -> (&'static str, &'static str) {
    match list {
        "users" => ("username", "createdAt"),
        "jobs" => ("name", "queuedAt"),
        "workers" => ("name", "registeredAt"),
        _ => ("name", "createdAt"),
    }
}

fn names(list: &str, nodes: &[Value]) -> Vec<String> {
    let (name, _) = fields_of(list);
    let mut names: Vec<String> = nodes.iter().map(|node| text(&node[name]).to_owned()).collect();
    names.sort();
    names
}

/// GQ-3: paging through each list in each order, both ways, with equal values, gives each row once.
#[tokio::test]
async fn each_list_in_each_order_gives_each_row_once() {
    let installation = Installation::start().await;
    let admin = &installation.app.admin;
    for list in lists().await {
        let field = list.field.as_str();
        let (name, created) = fields_of(field);
        let fields = match field {
            "jobs" => format!("{name} {created} priority"),
            _ => format!("{name} {created}"),
        };
        let newest = walk(admin, field, "", &fields, 100).await;
        assert!(newest.len() >= 5, "{field}: {newest:?}");
        for by in &list.by {
            let order = |way: &str| format!("order: {{ by: {by}, direction: {way} }}");
            let up = walk(admin, field, &order("ASCENDING"), &fields, 2).await;
            let mut down = walk(admin, field, &order("DESCENDING"), &fields, 2).await;
            down.reverse();
            assert_eq!(up, down, "{field} by {by}");
            let all = |nodes: &[Value]| nodes.iter().map(Value::to_string).collect::<BTreeSet<_>>();
            assert_eq!(all(&up), all(&newest), "{field} by {by}");
            let implied = walk(admin, field, &format!("order: {{ by: {by} }}"), &fields, 3).await;
            let key = |node: &Value| match by.as_str() {
                "NAME" => (text(&node[name]).to_owned(), 0, text(&node["id"]).to_owned()),
                "PRIORITY" => (
                    String::new(),
                    node["priority"].as_i64().expect("a number"),
                    text(&node["id"]).to_owned(),
                ),
                _ => (String::new(), 0, text(&node["id"]).to_owned()),
            };
            let mut sorted = up.clone();
            sorted.sort_by_key(key);
            assert_eq!(up, sorted, "{field} by {by}");
            if by == "CREATED" {
                down.reverse();
                assert_eq!(implied, down, "{field}: the newest first");
            } else {
                assert_eq!(implied, up, "{field} by {by}: the smallest first");
                let values: BTreeSet<String> = up
                    .iter()
                    .map(|node| key(node).0 + &key(node).1.to_string())
                    .collect();
                assert!(values.len() < up.len(), "{field} by {by}: some values are equal");
            }
        }
        if field != "workers" {
            let newest_first = walk(admin, field, "order: {}", &fields, 100).await;
            assert_eq!(newest_first, newest, "{field}");
        }
    }
    installation.app.stop().await;
}

/// What is there from the first page to the last is given once, whatever comes meanwhile.
#[tokio::test]
async fn rows_that_come_while_somebody_pages_move_nothing() {
    let installation = Installation::start().await;
    let ada = &installation.ada;
    for order in [
        "",
        "order: { by: NAME }",
        "order: { by: NAME, direction: DESCENDING }",
    ] {
        let before = walk(ada, "projects", order, "name", 100).await;
        let (mut seen, mut after) = (Vec::new(), Value::Null);
        loop {
            let answer = page(ada, "projects", order, "name", 2, &after).await;
            let connection = answer.data("projects");
            seen.extend(connection["nodes"].as_array().expect("nodes").iter().cloned());
            if connection["pageInfo"]["hasNextPage"] == json!(false) {
                break;
            }
            after = connection["pageInfo"]["endCursor"].clone();
            if seen.len() <= 4 {
                for name in ["aardvark", "beta", "zebra"] {
                    let _new = make(ada, "Project", json!({}), name).await;
                }
            }
        }
        let ids: BTreeSet<&str> = seen.iter().map(|node| text(&node["id"])).collect();
        assert_eq!(ids.len(), seen.len(), "{order}: {seen:?}");
        let kept: Vec<&Value> = seen.iter().filter(|node| before.contains(node)).collect();
        assert_eq!(kept, before.iter().collect::<Vec<_>>(), "{order}");
    }
    installation.app.stop().await;
}

/// FL7: a cursor goes on in its list, by its column, in its direction; filters may change.
#[tokio::test]
async fn a_cursor_of_another_order_is_refused() {
    let installation = Installation::start().await;
    let admin = &installation.app.admin;
    let mut cursors: Vec<(String, String, Value)> = Vec::new();
    for list in lists().await {
        for by in &list.by {
            for way in ["ASCENDING", "DESCENDING"] {
                let order = format!("order: {{ by: {by}, direction: {way} }}");
                let answer = page(admin, &list.field, &order, "", 1, &Value::Null).await;
                let cursor = answer.data(&list.field)["pageInfo"]["endCursor"].clone();
                assert!(cursor.is_string(), "{}", answer.body);
                cursors.push((list.field.clone(), order, cursor));
            }
        }
    }
    for (list, order, _) in &cursors {
        for (maker, made_in, cursor) in &cursors {
            let answer = page(admin, list, order, "", 1, cursor).await;
            let expected = ((list, order) != (maker, made_in)).then_some("BAD_USER_INPUT");
            assert_eq!(answer.code(), expected, "{maker} {made_in} in {list} {order}");
        }
    }
    let (by_name, filtered) = (
        "order: { by: NAME }",
        "order: { by: NAME } filter: { nameContains: \"GAM\" }",
    );
    let first = page(admin, "projects", by_name, "", 1, &Value::Null).await;
    let cursor = &first.data("projects")["pageInfo"]["endCursor"];
    let rest = page(admin, "projects", filtered, "name", 5, cursor).await;
    assert_eq!(
        names(
            "projects",
            rest.data("projects")["nodes"].as_array().expect("nodes")
        ),
        ["gamma"]
    );
    installation.app.stop().await;
}

/// A cursor comes from a client: what it holds is checked before it gets into a statement.
#[tokio::test]
async fn a_cursor_that_was_made_up_is_refused() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let installation = Installation::start().await;
    let key = bare_text(&installation.projects[0]);
    for (list, by, place) in [
        ("projects", "NAME", "projects/name/ascending:".to_owned()),
        ("projects", "NAME", format!("projects/name/ascending:{key}")),
        ("projects", "NAME", format!("projects/name/ascending:{key}:a\0b")),
        ("projects", "NAME", "projects/name/ascending:key:alpha".to_owned()),
        (
            "projects",
            "CREATED",
            format!("projects/created/ascending:{key}:alpha"),
        ),
        ("jobs", "PRIORITY", format!("jobs/priority/ascending:{key}:high")),
        (
            "jobs",
            "PRIORITY",
            format!("jobs/priority/ascending:{key}:99999999999"),
        ),
        ("workers", "NAME", "workers/name/ascending:key:alpha".to_owned()),
    ] {
        let order = format!("order: {{ by: {by}, direction: ASCENDING }}");
        let cursor = json!(BASE64_URL_SAFE_NO_PAD.encode(&place));
        let answer = page(&installation.app.admin, list, &order, "", 1, &cursor).await;
        assert_eq!(
            answer.code(),
            Some("BAD_USER_INPUT"),
            "{place:?}: {}",
            answer.body
        );
    }
    let whole = json!(BASE64_URL_SAFE_NO_PAD.encode(format!("projects/name/ascending:{key}:alpha")));
    let order = "order: { by: NAME, direction: ASCENDING }";
    let answer = page(&installation.app.admin, "projects", order, "", 1, &whole).await;
    assert_eq!(answer.code(), None, "{}", answer.body);
    installation.app.stop().await;
}

fn bare_text(id: &str) -> String {
    fixture::bare(id).to_string()
}

/// AU-4: filters and orders mean the same in the past, below its objects too.
#[tokio::test]
async fn the_past_is_filtered_and_ordered_alike() {
    let installation = Installation::start().await;
    let ada = &installation.ada;
    let head = ada.run("{ access { asOf { position } } }", json!({})).await;
    let then = format!(
        "asOf: {{ position: \"{}\" }}",
        text(&head.data("access")["asOf"]["position"])
    );
    let cancel =
        "mutation($id: ID!) { cancelJob(input: { jobId: $id, reason: \"no\" }) { userErrors { message } } }";
    let before = walk(ada, "projects", "order: { by: NAME }", "name", 100).await;
    let cancelled = ada.run(cancel, json!({ "id": installation.job })).await;
    assert_eq!(
        cancelled.data("cancelJob")["userErrors"],
        json!([]),
        "{cancelled:?}"
    );
    for name in ["aardvark", "beta", "zebra"] {
        let _new = make(ada, "Project", json!({}), name).await;
    }
    let past = walk(
        ada,
        "projects",
        &format!("order: {{ by: NAME }} {then}"),
        "name",
        2,
    )
    .await;
    assert_eq!(past, before);
    let filter = "filter: { nameContains: \"beta\" }";
    assert_eq!(walk(ada, "projects", filter, "name", 2).await.len(), 4);
    assert_eq!(
        walk(ada, "projects", &format!("{filter} {then}"), "name", 2)
            .await
            .len(),
        3
    );
    let owned = format!("filter: {{ access: OWNER }} {then}");
    assert_eq!(walk(ada, "projects", &owned, "name", 2).await.len(), 5);
    let queued = "filter: { states: [QUEUED] }";
    assert_eq!(walk(ada, "jobs", queued, "name", 2).await.len(), 0);
    let was = walk(
        ada,
        "jobs",
        &format!("{queued} order: {{ by: PRIORITY }} {then}"),
        "name",
        2,
    )
    .await;
    assert_eq!(was.len(), 1);
    let nested = format!(
        "{{ projects({then} filter: {{ nameContains: \"alpha\" }}) {{ nodes {{ experiments(
            filter: {{ nameContains: \"beta\", projectId: \"{}\" }}, order: {{ by: NAME, direction: DESCENDING }}
        ) {{ totalCount nodes {{ name jobs(filter: {{ states: [QUEUED] }}) {{ totalCount }} }} }} }} }} }}",
        installation.projects[0]
    );
    let answer = ada.run(&nested, json!({})).await;
    let experiments = &answer.data("projects")["nodes"][0]["experiments"];
    assert_eq!(experiments["totalCount"], json!(2), "{}", answer.body);
    let elsewhere = nested.replace(&installation.projects[0], &installation.projects[4]);
    let answer = ada.run(&elsewhere, json!({})).await;
    let experiments = &answer.data("projects")["nodes"][0]["experiments"];
    assert_eq!(
        experiments["totalCount"],
        json!(0),
        "the filter cannot leave the project"
    );
    installation.app.stop().await;
}
