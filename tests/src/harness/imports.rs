//! Models that come in from a folder of the server, by a job.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Client, Feed};

/// The order of an import.
const IMPORT: &str = "mutation($i: ImportModelInput!) { importModel(input: $i) { position job { id kind state modelId } \
                      userErrors { code path message } } }";

/// How long an import may take.
const ENDED: Duration = Duration::from_secs(300);

/// An import that has ended.
#[derive(Debug)]
pub struct ImportedModel {
    /// The job.
    pub job: String,
    /// The model that comes of it, there or not.
    pub model: String,
    /// The last item of its feed.
    pub end: Value,
}

impl Client {
    /// Orders the import of `folder`, as a model of that name where it can be one.
    pub async fn order_import(&self, folder: &str) -> Answer {
        let name = if folder.is_empty() { "Base" } else { folder };
        self.run(IMPORT, json!({ "i": { "name": name, "folder": folder } }))
            .await
    }

    /// Imports `folder`, and waits for the end of the job.
    ///
    /// # Panics
    /// When the job is not queued, or does not end within five minutes.
    pub async fn import_to_end(&self, folder: &str) -> ImportedModel {
        let ordered = self.order_import(folder).await;
        let job = &ordered.data("importModel")["job"];
        let text = |field: &str| {
            let text = job[field].as_str();
            text.unwrap_or_else(|| panic!("{ordered:?}")).to_owned()
        };
        let (job, model) = (text("id"), text("modelId"));
        let mut feed = Feed::of_job(self, &job, None).await;
        // A job that no worker takes would be waited for for ever.
        let items = tokio::time::timeout(ENDED, feed.to_end()).await;
        let items =
            items.unwrap_or_else(|_| panic!("the import of {folder} does not end: does a worker import?"));
        let end = items.last().cloned().unwrap_or_default();
        ImportedModel { job, model, end }
    }

    /// Imports `folder`, and waits until the model can be read. Its id.
    ///
    /// # Panics
    /// When the job does not complete.
    pub async fn import(&self, folder: &str) -> String {
        let imported = self.import_to_end(folder).await;
        assert_eq!(imported.end["state"], "COMPLETED", "{imported:?}");
        let query = "query($id: ID!, $p: Long) { model(id: $id, minPosition: $p) { id } }";
        let variables = json!({ "id": imported.model, "p": imported.end["position"] });
        let seen = self.run(query, variables).await;
        assert_eq!(seen.data("model")["id"], imported.model.as_str(), "{seen:?}");
        imported.model
    }
}
