//! Filters of lists (GQ-3): each finds what it says, and bad input finds nothing or is told.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::harness::Client;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    fields_of,
    fixture::{Installation, id_of, lists, page, text, walk},
    names,
};

async fn found(client: &Client, list: &str, filter: &str) -> Vec<String> {
    let filter = format!("filter: {{ {filter} }}");
    names(list, &walk(client, list, &filter, fields_of(list).0, 3).await)
}

/// GQ-3: each input of each filter finds what it says, and what it says only.
#[tokio::test]
async fn each_filter_finds_what_it_says() {
    let installation = Installation::start().await;
    let (admin, ada) = (&installation.app.admin, &installation.ada);
    let (of_ada, of_bob) = (
        format!("\"{}\"", ada.user_id),
        format!("\"{}\"", installation.bob.user_id),
    );
    let id = |id: &str| format!("\"{id}\"");
    let all = ["alpha", "beta", "beta", "beta", "gamma"];
    let cases: Vec<(&str, &str, String, &[&str])> = vec![
        (
            "projects",
            "nameContains",
            "\"ETA\"".into(),
            &["beta", "beta", "beta"],
        ),
        ("projects", "nameContains", "\"%\"".into(), &[]),
        (
            "projects",
            "nameContains",
            "\"\"".into(),
            &["alpha", "beta", "beta", "beta", "gamma", "zulu"],
        ),
        ("projects", "ownerId", of_bob.clone(), &["zulu"]),
        ("projects", "access", "OWNER".into(), &[]),
        ("experiments", "nameContains", "\"mm\"".into(), &["gamma"]),
        (
            "experiments",
            "projectId",
            id(&installation.projects[4]),
            &["beta", "gamma"],
        ),
        ("experiments", "createdById", of_bob.clone(), &["zulu"]),
        ("datasets", "nameContains", "\"lp\"".into(), &["alpha"]),
        ("datasets", "ownerId", of_ada.clone(), &all),
        ("datasets", "visibility", "PUBLIC".into(), &["public"]),
        ("datasets", "access", "OWNER".into(), &["public"]),
        ("models", "nameContains", "\"HAR\"".into(), &["shared"]),
        ("models", "ownerId", of_bob.clone(), &["hidden", "shared", "zulu"]),
        ("models", "visibility", "PUBLIC".into(), &["zulu"]),
        ("models", "content", "ADAPTER".into(), &["beta", "beta", "beta"]),
        ("models", "access", "PUBLIC".into(), &["zulu"]),
        ("jobs", "kinds", "[IMPORT]".into(), &[]),
        ("jobs", "nameContains", "\"alpha\"".into(), &["alpha"]),
        (
            "jobs",
            "states",
            "[COMPLETED, FAILED, FAILED]".into(),
            &["beta", "beta"],
        ),
        ("jobs", "states", "[]".into(), &[]),
        ("jobs", "ownerId", of_bob.clone(), &["zulu"]),
        ("jobs", "projectId", id(&installation.projects[4]), &["gamma"]),
        (
            "jobs",
            "experimentId",
            id(&installation.experiments[4]),
            &["gamma"],
        ),
        ("jobs", "datasetId", id(&installation.datasets[1]), &["beta"]),
        ("jobs", "baseModelId", id(&id_of("mdl", 0)), &["beta"]),
        ("jobs", "modelId", id(&id_of("mdl", 4)), &["beta"]),
        (
            "users",
            "nameContains",
            "\"THEA\"".into(),
            &["twin", "twin", "twin"],
        ),
        ("users", "nameContains", "\"ada@\"".into(), &["ada"]),
        ("users", "verified", "false".into(), &["twin"]),
        ("users", "deactivated", "true".into(), &["twin"]),
        (
            "workers",
            "nameContains",
            "\"BET\"".into(),
            &["beta", "beta", "beta"],
        ),
        ("workers", "states", "[IDLE]".into(), &["alpha"]),
        (
            "workers",
            "states",
            "[DRAINING, LOST]".into(),
            &["beta", "beta", "beta", "gamma"],
        ),
        ("workers", "states", "[]".into(), &[]),
        ("workers", "label", "\"gamma\"".into(), &["gamma"]),
    ];
    for (list, input, value, expected) in &cases {
        let filter = format!("{input}: {value}");
        assert_eq!(found(admin, list, &filter).await, *expected, "{list} {filter}");
    }
    let tested: BTreeSet<(&str, &str)> = cases.iter().map(|(list, input, ..)| (*list, *input)).collect();
    for list in lists().await {
        for input in list
            .filters
            .iter()
            .filter(|input| !input.starts_with("created") || *input == "createdById")
        {
            assert!(
                tested.contains(&(&list.field, input)),
                "{}: {input} is tested",
                list.field
            );
            let omitted = found(admin, &list.field, &format!("{input}: null")).await;
            let all = walk(
                admin,
                &list.field,
                "filter: null order: null",
                fields_of(&list.field).0,
                100,
            )
            .await;
            assert_eq!(omitted, names(&list.field, &all), "{}: {input}: null", list.field);
        }
    }
    let both = format!(
        "states: [COMPLETED, FAILED], ownerId: {of_ada}, baseModelId: \"{}\"",
        id_of("mdl", 0)
    );
    assert_eq!(found(admin, "jobs", &both).await, ["beta"]);
    assert_eq!(found(ada, "jobs", &format!("ownerId: {of_bob}")).await, [""; 0]);
    installation.app.stop().await;
}

/// PR-5: why somebody reads a thing; an administrator's right to read all is no such reason.
#[tokio::test]
async fn what_is_owned_shared_and_public_is_told_apart() {
    let installation = Installation::start().await;
    let all = ["alpha", "beta", "beta", "beta", "gamma"];
    for (client, list, access, expected) in [
        (&installation.ada, "models", "OWNER", &all[..]),
        (&installation.ada, "models", "SHARED", &["shared"]),
        (&installation.ada, "models", "PUBLIC", &["zulu"]),
        (&installation.ada, "projects", "OWNER", &all),
        (&installation.ada, "projects", "SHARED", &[]),
        (&installation.ada, "projects", "PUBLIC", &[]),
        (&installation.ada, "datasets", "PUBLIC", &["public"]),
        (
            &installation.bob,
            "models",
            "OWNER",
            &["hidden", "shared", "zulu"],
        ),
        (&installation.bob, "models", "SHARED", &[]),
        (&installation.bob, "models", "PUBLIC", &[]),
        (&installation.app.admin, "models", "SHARED", &[]),
        (&installation.app.admin, "models", "PUBLIC", &["zulu"]),
        (&installation.app.admin, "datasets", "OWNER", &["public"]),
    ] {
        let seen = found(client, list, &format!("access: {access}")).await;
        assert_eq!(seen, expected, "{list} {access} of {}", client.user_id);
    }
    let both = found(
        &installation.ada,
        "models",
        "access: SHARED, nameContains: \"beta\"",
    )
    .await;
    assert_eq!(both, [""; 0]);
    installation.app.stop().await;
}

/// Times of creation are bounds that are not included, on every list of things.
#[tokio::test]
async fn things_are_found_by_when_they_were_created() {
    let installation = Installation::start().await;
    let admin = &installation.app.admin;
    for list in lists()
        .await
        .iter()
        .filter(|list| list.filters.iter().any(|input| input == "createdAfter"))
    {
        let (field, (_, created)) = (list.field.as_str(), fields_of(&list.field));
        let all = walk(admin, field, "", created, 100).await;
        let at = |node: &Value| OffsetDateTime::parse(text(&node[created]), &Rfc3339).expect("a time");
        let middle = text(&all[all.len() / 2][created]);
        let place = at(&all[all.len() / 2]);
        for (filter, fits) in [
            (
                format!("createdAfter: \"{middle}\""),
                (|at, place| at > place) as fn(_, _) -> bool,
            ),
            (format!("createdBefore: \"{middle}\""), |at, place| at < place),
            (
                format!("createdAfter: \"{middle}\", createdBefore: \"{middle}\""),
                |_, _| false,
            ),
            ("createdAfter: \"9999-12-31T23:59:59Z\"".to_owned(), |_, _| false),
            ("createdBefore: \"0000-01-01T00:00:00Z\"".to_owned(), |_, _| false),
            ("createdAfter: \"0000-01-01T00:00:00Z\"".to_owned(), |_, _| true),
            ("createdBefore: \"9999-12-31T23:59:59Z\"".to_owned(), |_, _| true),
        ] {
            let expected: Vec<&Value> = all.iter().filter(|node| fits(at(node), place)).collect();
            let seen = walk(admin, field, &format!("filter: {{ {filter} }}"), created, 2).await;
            assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "{field} {filter}");
        }
        let outside = "filter: { createdAfter: \"9999-12-31T23:59:59-01:00\" }";
        let refused = page(admin, field, outside, "", 1, &Value::Null).await;
        assert_eq!(refused.code(), Some("BAD_USER_INPUT"), "{}", refused.body);
    }
    installation.app.stop().await;
}

/// An id that names nothing matches nothing; a text longer than any name is refused with the limit.
#[tokio::test]
async fn bad_input_matches_nothing_or_is_told() {
    let installation = Installation::start().await;
    let admin = &installation.app.admin;
    for list in lists().await {
        let field = list.field.as_str();
        for input in &list.filters {
            if input.ends_with("Id") {
                let unknown = format!("usr_{}", "0".repeat(32));
                for none in ["", "x", "usr_0", &unknown, &"x".repeat(5_000)] {
                    let filter = format!("{input}: \"{none}\"");
                    assert_eq!(found(admin, field, &filter).await, [""; 0], "{field} {filter}");
                }
            }
            if input.ends_with("Id") || input == "nameContains" || input == "label" {
                let nul = format!("filter: {{ {input}: \"a\\u0000\" }}");
                let answer = page(admin, field, &nul, "", 1, &Value::Null).await;
                assert_eq!(answer.code(), Some("BAD_USER_INPUT"), "{field}: {}", answer.body);
            }
            if input == "nameContains" {
                for (length, code) in [(100, None), (101, Some("BAD_USER_INPUT"))] {
                    let filter = format!("filter: {{ nameContains: \"{}\" }}", "ä".repeat(length));
                    let answer = page(admin, field, &filter, "", 1, &Value::Null).await;
                    assert_eq!(answer.code(), code, "{field}: {}", answer.body);
                    let told = answer
                        .body
                        .to_string()
                        .contains("filter.nameContains has 101 characters; at most 100");
                    assert_eq!(told, code.is_some(), "{field}: {}", answer.body);
                }
            }
        }
        for broken in [
            "filter: { no: 1 }",
            "order: { by: NO }",
            "order: { direction: UP }",
            "filter: 1",
        ] {
            let answer = page(admin, field, broken, "", 1, &Value::Null).await;
            assert!(
                answer.body["data"].is_null() && answer.body["errors"].is_array(),
                "{field} {broken}"
            );
        }
    }
    installation.app.stop().await;
}
