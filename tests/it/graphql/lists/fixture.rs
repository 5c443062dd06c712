//! An installation with something in every list, with equal names, and ways to read lists.
//!
//! One rule: what the interface can make is made by it; models, more jobs and workers are written into their tables,
//! because making them takes training.

use std::collections::BTreeSet;

use api::graphql::AnnealSchema;
use async_graphql::Request;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::harness::{Answer, Client, TestApp};
use uuid::Uuid;

/// Names of what is made, three of which are equal.
pub const NAMES: [&str; 5] = ["alpha", "beta", "beta", "beta", "gamma"];

/// The installation: ada has most things, bob has some, the administrator sees all.
pub struct Installation {
    pub app: TestApp,
    pub ada: Client,
    pub bob: Client,
    pub pool: PgPool,
    /// Ada's, one for each name.
    pub projects: Vec<String>,
    pub datasets: Vec<String>,
    /// In ada's first project and in her last.
    pub experiments: Vec<String>,
    /// The one that was started.
    pub job: String,
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

/// The global id of row `number`.
pub fn id_of(prefix: &str, number: u128) -> String {
    format!("{prefix}_{}", row_id(number).simple())
}

fn row_id(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
}

/// The UUID in a global id.
pub fn bare(id: &str) -> Uuid {
    Uuid::try_parse(id.split_once('_').expect("a prefix").1).expect("an id")
}

/// Makes something with a name and gives its id.
pub async fn make(client: &Client, kind: &str, mut input: Value, name: &str) -> String {
    input["name"] = json!(name);
    let field = kind.to_lowercase();
    let mutation = format!(
        "mutation($i: Create{kind}Input!) {{ create{kind}(input: $i) {{ {field} {{ id }} userErrors {{ message }} }} }}"
    );
    let made = client.run(&mutation, json!({ "i": input })).await;
    text(&made.data(&format!("create{kind}"))[&field]["id"]).to_owned()
}

async fn start_job(ada: &Client, dataset: &str, experiment: &str) -> String {
    let uploaded = ada.upload(dataset, "a.txt", b"some text\n".repeat(500)).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let input = json!({
        "name": NAMES[0], "experimentId": experiment, "datasetId": dataset,
        "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
        "parameters": { "steps": 2, "batchSize": 2, "sequenceLength": 32, "warmupSteps": 1 },
    });
    let start = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } position userErrors { message path } } }";
    let started = ada.run(start, json!({ "i": input })).await;
    assert_eq!(started.data("startJob")["userErrors"], json!([]), "{started:?}");
    let started = started.data("startJob");
    let query = "query($id: ID!, $p: Long) { job(id: $id, minPosition: $p) { id } }";
    let variables = json!({ "id": started["job"]["id"], "p": started["position"] });
    text(&ada.run(query, variables).await.data("job")["id"]).to_owned()
}

impl Installation {
    pub async fn start() -> Self {
        let app = TestApp::start().await;
        let ada = app.person("ada", "manager").await;
        let bob = app.person("bob", "engineer_i").await;
        let (mut projects, mut datasets, mut experiments) = (Vec::new(), Vec::new(), Vec::new());
        for name in NAMES {
            projects.push(make(&ada, "Project", json!({}), name).await);
            datasets.push(make(&ada, "Dataset", json!({}), name).await);
        }
        for (number, name) in NAMES.iter().enumerate() {
            let project = &projects[if number < 3 { 0 } else { 4 }];
            experiments.push(make(&ada, "Experiment", json!({ "projectId": project }), name).await);
        }
        let zulu = make(&bob, "Project", json!({}), "zulu").await;
        let _bobs = make(&bob, "Experiment", json!({ "projectId": zulu }), "zulu").await;
        let _bobs = make(&bob, "Dataset", json!({}), "zulu").await;
        let public = json!({ "visibility": "PUBLIC" });
        let _public = make(&app.admin, "Dataset", public, "public").await;
        let job = start_job(&ada, &datasets[0], &experiments[0]).await;
        let address = event_store::postgres::address(&app.database_url).expect("a URL");
        let pool = PgPool::connect_with(address).await.expect("a pool");
        let installation = Self {
            app,
            ada,
            bob,
            pool,
            projects,
            datasets,
            experiments,
            job,
        };
        installation.models().await;
        installation.jobs().await;
        installation.users().await;
        installation.workers().await;
        installation
    }

    async fn put(&self, table: &str, row: Value) {
        let statement = format!("insert into {table} select (jsonb_populate_record(null::{table}, $1)).*");
        let put = sqlx::query(AssertSqlSafe(statement)).bind(row);
        put.execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }

    /// A copy of the row under `key`, with what differs.
    async fn copy(&self, table: &str, key: Uuid, over: Value) {
        let statement = format!(
            "insert into {table} select (jsonb_populate_record(t, $1)).* from {table} t where t.id = $2"
        );
        let put = sqlx::query(AssertSqlSafe(statement)).bind(over).bind(key);
        let put = put
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{table}: {error}"));
        assert_eq!(put.rows_affected(), 1, "{table}");
    }

    async fn models(&self) {
        let (ada, bob) = (bare(&self.ada.user_id), bare(&self.bob.user_id));
        let mine = NAMES.iter().map(|name| (*name, ada, "private"));
        let bobs = [
            ("shared", bob, "private"),
            ("zulu", bob, "public"),
            ("hidden", bob, "private"),
        ];
        for (number, (name, owner, visibility)) in (0..).zip(mine.chain(bobs)) {
            let row = json!({
                "id": row_id(number), "owner_id": owner, "name": name, "description": "",
                "content": if name == "beta" { "adapter" } else { "full" }, "visibility": visibility,
                "created_at": format!("2026-01-0{}T00:00:00Z", number + 1), "latest_version": 1,
            });
            self.put("models_model", row).await;
        }
        let share = json!({
            "entry": "shared", "resource": row_id(5), "kind": "user", "id": ada, "role": "viewer",
            "until": null, "by": bob, "granted_at": "2026-01-01T00:00:00Z", "revoked": false,
        });
        self.put("sharing_party", share).await;
    }

    async fn jobs(&self) {
        let bob = bare(&self.bob.user_id);
        let other = [
            json!({ "name": "beta", "priority": 5, "state": "completed", "base_model_id": row_id(0) }),
            json!({ "name": "beta", "priority": 5, "state": "failed", "model_id": row_id(4) }),
            json!({ "name": "beta", "state": "cancelled", "dataset_id": bare(&self.datasets[1]) }),
            json!({ "name": "gamma", "state": "cancelled", "experiment_id": bare(&self.experiments[4]),
                "project_id": bare(&self.projects[4]) }),
            json!({ "name": "zulu", "state": "cancelled", "owner_id": bob, "project_id": row_id(99),
                "experiment_id": row_id(99) }),
        ];
        for (number, mut over) in (10..).zip(other) {
            over["id"] = json!(row_id(number));
            over["queued_at"] = json!(format!("2026-01-{number}T00:00:00Z"));
            self.copy("jobs_job", bare(&self.job), over).await;
        }
    }

    async fn users(&self) {
        for number in 20..23 {
            let over = json!({
                "id": row_id(number), "username": "twin", "email": format!("{number}@example.com"),
                "verified": number != 20, "deactivated": number == 22, "first_name": "Thea",
            });
            self.copy("identity_user", bare(&self.bob.user_id), over).await;
        }
    }

    async fn workers(&self) {
        for (number, name) in (30..).zip(NAMES) {
            let row = json!({
                "id": row_id(number), "name": name, "host": "h", "device": "cpu", "memory_bytes": null,
                "code_version": "1", "engine": 1, "labels": [name], "kinds": ["training"], "draining": number == 31,
                "drain_reason": null, "registered_at": format!("2026-02-0{}T00:00:00Z", number - 29), "ended_at": null,
                "how": null, "version": 1, "position": 1,
            });
            self.put("jobs_worker", row).await;
        }
        let heartbeats = "insert into jobs_worker_beat (worker_id, beat_at, expires_at) \
            select id, now(), now() + interval '1 hour' from jobs_worker where id <= $1";
        let alive = sqlx::query(heartbeats).bind(row_id(31)).execute(&self.pool).await;
        alive.expect("they are alive");
    }
}

/// All of a list, page by page of `first`, with each row there once and counted.
pub async fn walk(client: &Client, list: &str, arguments: &str, fields: &str, first: u32) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = page(client, list, arguments, fields, first, &after).await;
        let connection = answer.data(list);
        let nodes = connection["nodes"]
            .as_array()
            .unwrap_or_else(|| panic!("{}", answer.body));
        all.extend(nodes.iter().cloned());
        if connection["pageInfo"]["hasNextPage"] == json!(false) {
            assert_eq!(connection["totalCount"], json!(all.len()), "{list}({arguments})");
            let ids: BTreeSet<&str> = all.iter().map(|node| text(&node["id"])).collect();
            assert_eq!(ids.len(), all.len(), "{list}({arguments}): {all:?}");
            return all;
        }
        assert_eq!(
            nodes.len(),
            usize::try_from(first).expect("small"),
            "{list}({arguments})"
        );
        after = connection["pageInfo"]["endCursor"].clone();
    }
}

/// One page.
pub async fn page(
    client: &Client,
    list: &str,
    arguments: &str,
    fields: &str,
    first: u32,
    after: &Value,
) -> Answer {
    let query = format!(
        "query($after: String, $first: Int) {{ {list}(first: $first, after: $after {arguments}) {{
            nodes {{ id {fields} }} totalCount pageInfo {{ hasNextPage endCursor }} }} }}"
    );
    client
        .run(&query, json!({ "after": after, "first": first }))
        .await
}

/// What each list of the root takes.
pub struct Listed {
    pub field: String,
    /// What it can be ordered by.
    pub by: Vec<String>,
    /// The inputs of its filter.
    pub filters: Vec<String>,
}

/// Every list of the root with an order by columns, from the schema: a new one is tested without anybody thinking of it.
pub async fn lists() -> Vec<Listed> {
    let schema = AnnealSchema::with(api::graphql::builder, api::graphql::options());
    let query =
        "{ __schema { types { name inputFields { name type { name ofType { name } } } enumValues { name }
        fields { name args { name type { name } } } } } }";
    let answer = schema.execute(Request::new(query)).await;
    assert!(answer.errors.is_empty(), "{:?}", answer.errors);
    let read = answer.data.into_json().expect("JSON");
    let all = read["__schema"]["types"].as_array().expect("types").clone();
    let find = |name: &Value| {
        all.iter()
            .find(|ty| ty["name"] == *name)
            .cloned()
            .unwrap_or_default()
    };
    let names = |values: &Value| {
        let values = values.as_array().into_iter().flatten();
        values
            .map(|one| text(&one["name"]).to_owned())
            .collect::<Vec<_>>()
    };
    let mut lists = Vec::new();
    for field in find(&json!("Query"))["fields"].as_array().expect("fields") {
        let argument = |name: &str| {
            let arguments = field["args"].as_array().into_iter().flatten();
            let found = arguments
                .filter(|one| one["name"] == name)
                .map(|one| &one["type"]["name"]);
            found.map(&find).next().unwrap_or_default()
        };
        let inputs = argument("order")["inputFields"].clone();
        let by = inputs
            .as_array()
            .into_iter()
            .flatten()
            .find(|input| input["name"] == "by");
        let Some(by) = by else { continue };
        lists.push(Listed {
            field: text(&field["name"]).to_owned(),
            by: names(&find(&by["type"]["ofType"]["name"])["enumValues"]),
            filters: names(&argument("filter")["inputFields"]),
        });
    }
    assert!(
        lists.len() >= 7,
        "projects, experiments, datasets, models, jobs, users, workers"
    );
    lists
}
