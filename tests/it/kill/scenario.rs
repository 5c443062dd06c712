//! One data folder, what its clients do to it, and what they were told.
//!
//! The rule: a line goes into the journal when the answer is there, never before; names are used once, so that
//! what was done twice shows.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::harness::{app::PASSWORD, people};

use super::{
    caller::{Caller, Lost},
    server::{Server, Start, last_words, verify},
};

/// How long the jobs of a scene may take once nothing dies any more.
const SETTLED: Duration = Duration::from_secs(300);

/// How much work a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// A second or less, with checkpoints.
    Short,
    /// Several heartbeats, long enough to be interrupted at leisure.
    Long,
}

/// See the module.
pub(super) struct Scenario {
    _folder: tempfile::TempDir,
    pub(super) data: PathBuf,
    acknowledgements: PathBuf,
    pub(super) reached: PathBuf,
    rounds: u32,
    /// Jobs that were acknowledged.
    jobs: Vec<String>,
    /// Tokens of accounts whose end was acknowledged.
    ended: Vec<String>,
    /// Persons whose erasure was acknowledged.
    erased: Vec<String>,
    /// Accounts that were acknowledged and not asked to be erased: each gets one mail.
    registered: Mutex<Vec<String>>,
    /// The administrator, signed in once per server: tries are limited.
    admin: Mutex<Option<Caller>>,
}

impl Scenario {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("journal"), "").expect("written");
        Self {
            data: at("data"),
            acknowledgements: at("journal"),
            reached: at("reached"),
            _folder: folder,
            rounds: 0,
            jobs: Vec::new(),
            ended: Vec::new(),
            erased: Vec::new(),
            registered: Mutex::default(),
            admin: Mutex::new(None),
        }
    }

    /// Starts a server on the folder with these points armed.
    pub(super) fn start(&self, armed: &str) -> Result<Server, std::process::ExitStatus> {
        let start = Start {
            armed: armed.to_owned(),
            reached: self.reached.clone(),
            settings: Vec::new(),
        };
        Server::start(&self.data, &start)
    }

    /// Starts one that has nothing to die of.
    pub(super) fn start_unarmed(&self) -> Server {
        match self.start("") {
            Ok(server) => server,
            Err(status) => panic!("it ended with {status}: {}", last_words(&self.data)),
        }
    }

    /// The points that were reached.
    pub(super) fn reached(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(&self.reached).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Writes an acknowledgement down.
    fn told(&self, position: &Value, stream: &str) {
        let position = position.as_str().expect("changes tell their position");
        let mut file = OpenOptions::new()
            .append(true)
            .open(&self.acknowledgements)
            .expect("the journal");
        // In one piece: clients write at once.
        file.write_all(format!("{position} {stream}\n").as_bytes())
            .expect("written");
    }

    /// The administrator, made if there is none yet.
    pub(super) async fn admin(&self, url: &str) -> Result<Caller, Lost> {
        let known = self.admin.lock().expect("nobody panicked").clone();
        if let Some(admin) = known.filter(|admin| admin.url == url) {
            return Ok(admin);
        }
        let admin = self.admin_signed_in(url).await?;
        *self.admin.lock().expect("nobody panicked") = Some(admin.clone());
        Ok(admin)
    }

    async fn admin_signed_in(&self, url: &str) -> Result<Caller, Lost> {
        let caller = Caller::new(url);
        if let Some(admin) = caller.login("root").await? {
            return Ok(admin);
        }
        // Read models that are behind may not show an administrator yet whose token was used already.
        let token = std::fs::read_to_string(self.data.join("setup-token"))
            .map_err(|error| Lost(format!("the set-up token: {error}")))?;
        let document = "mutation($i: CreateFirstAdministratorInput!) { createFirstAdministrator(input: $i) { \
                        user { id } position userErrors { message } } }";
        let account = json!({ "username": "root", "email": "root@example.org", "password": PASSWORD });
        let input = json!({ "setupToken": token.trim(), "account": account });
        let made = caller
            .run("createFirstAdministrator", document, json!({ "i": input }))
            .await?;
        if made["userErrors"] != json!([]) {
            return Err(Lost(made.to_string()));
        }
        self.told(
            &made["position"],
            &format!("identity.user-{}", text(&made["user"]["id"])),
        );
        let admin = caller.login("root").await?;
        admin.ok_or_else(|| Lost("the administrator is not shown yet".to_owned()))
    }

    /// One of everything: an account that comes and is switched off, a project, a dataset, a job.
    pub(super) async fn round(&mut self, url: &str, size: Option<Size>) -> Result<Option<String>, Lost> {
        self.rounds += 1;
        let number = self.rounds;
        let admin = self.admin(url).await?;
        self.guest(&admin, number).await?;
        let experiment = self.project(&admin, number).await?;
        let dataset = self.dataset(&admin, number).await?;
        let Some(size) = size else { return Ok(None) };
        let (steps, every) = match size {
            Size::Short => (200, 40),
            Size::Long => (4_000, 1_000),
        };
        let document = "mutation($i: StartJobInput!) { startJob(input: $i) { job { id } position userErrors { message } } }";
        let input = json!({
            "name": format!("Job {number}"), "experimentId": experiment, "datasetId": dataset,
            "method": { "scratch": { "layers": 1, "heads": 2, "width": 32, "context": 32, "vocabulary": 300 } },
            "parameters": { "steps": steps, "batchSize": 4, "sequenceLength": 32, "checkpointEvery": every, "sampleTokens": 4 },
        });
        let started = admin.change("startJob", document, input).await?;
        let job = text(&started["job"]["id"]);
        self.told(&started["position"], &format!("jobs.job-{job}"));
        self.jobs.push(job.clone());
        Ok(Some(job))
    }

    /// An account; answers with its id.
    async fn account(&self, admin: &Caller, name: &str) -> Result<String, Lost> {
        let document = "mutation($i: RegisterInput!) { register(input: $i) { user { id } position userErrors { message } } }";
        let input = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
        let made = admin.change("register", document, input).await?;
        let user = text(&made["user"]["id"]);
        self.told(&made["position"], &format!("identity.user-{user}"));
        self.registered
            .lock()
            .expect("nobody panicked")
            .push(name.to_owned());
        Ok(user)
    }

    /// A person who comes, is erased, and whose receipt is waited for (AU-7).
    pub(super) async fn erasure(&mut self, url: &str) -> Result<(), Lost> {
        self.rounds += 1;
        let admin = self.admin(url).await?;
        let user = self.account(&admin, &format!("person{}", self.rounds)).await?;
        // From here on it may be erased, acknowledged or not.
        self.registered.lock().expect("nobody panicked").pop();
        let document =
            "mutation($i: ErasePersonInput!) { erasePerson(input: $i) { position userErrors { message } } }";
        let input = json!({ "userId": user, "reason": "REQUESTED" });
        let erased = admin.change("erasePerson", document, input).await?;
        self.told(&erased["position"], &format!("identity.user-{user}"));
        self.erased.push(user.clone());
        self.receipt(&admin, &user).await
    }

    /// Waits for the receipt of an erasure.
    async fn receipt(&self, admin: &Caller, user: &str) -> Result<(), Lost> {
        let document = "query($id: ID!) { erasure(userId: $id) { state } }";
        let begun = Instant::now();
        loop {
            let erasure = admin.run("erasure", document, json!({ "id": user })).await?;
            if erasure["state"] == json!("COMPLETED") {
                return Ok(());
            }
            assert!(
                begun.elapsed() < SETTLED,
                "{user}: {erasure}: {}",
                last_words(&self.data)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn guest(&mut self, admin: &Caller, number: u32) -> Result<(), Lost> {
        let name = format!("guest{number}");
        let user = self.account(admin, &name).await?;
        let guest = admin.login(&name).await?;
        let document = "mutation($i: SetUserActiveInput!) { setUserActive(input: $i) { position userErrors { message } } }";
        let input = json!({ "userId": user, "active": false, "reason": "only a guest" });
        let off = admin.change("setUserActive", document, input).await?;
        self.told(&off["position"], &format!("identity.user-{user}"));
        self.ended.extend(guest.and_then(|guest| guest.token));
        Ok(())
    }

    /// A project with an experiment; answers with the experiment.
    pub(super) async fn project(&self, admin: &Caller, number: u32) -> Result<String, Lost> {
        let document = "mutation($i: CreateProjectInput!) { createProject(input: $i) { project { id } position userErrors { message } } }";
        let made = admin
            .change(
                "createProject",
                document,
                json!({ "name": format!("Project {number}") }),
            )
            .await?;
        let project = text(&made["project"]["id"]);
        self.told(&made["position"], &format!("projects.project-{project}"));
        let document = "mutation($i: CreateExperimentInput!) { createExperiment(input: $i) { experiment { id } position userErrors { message } } }";
        let made = admin
            .change(
                "createExperiment",
                document,
                json!({ "projectId": project, "name": "E" }),
            )
            .await?;
        let experiment = text(&made["experiment"]["id"]);
        self.told(&made["position"], &format!("projects.experiment-{experiment}"));
        Ok(experiment)
    }

    /// A dataset with a version.
    pub(super) async fn dataset(&self, admin: &Caller, number: u32) -> Result<String, Lost> {
        let document = "mutation($i: CreateDatasetInput!) { createDataset(input: $i) { dataset { id } position userErrors { message } } }";
        let made = admin
            .change(
                "createDataset",
                document,
                json!({ "name": format!("Dataset {number}") }),
            )
            .await?;
        let dataset = text(&made["dataset"]["id"]);
        self.told(&made["position"], &format!("datasets.dataset-{dataset}"));
        let corpus = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/demo/corpus.txt"));
        let begin = 100 * usize::try_from(number % 100).expect("small");
        let bytes = corpus.expect("it ships")[begin..begin + 12_000].to_vec();
        let position = admin.upload(&dataset, bytes).await?;
        self.told(&Value::from(position), &format!("datasets.dataset-{dataset}"));
        Ok(dataset)
    }

    /// Where a job stands.
    pub(super) async fn state(&self, admin: &Caller, job: &str) -> Result<String, Lost> {
        let document = "query($id: ID!) { job(id: $id) { state } }";
        let found = admin.run("job", document, json!({ "id": job })).await?;
        Ok(text(&found["state"]))
    }

    /// Waits until a job stands where `wanted` says.
    pub(super) async fn until(&self, url: &str, job: &str, wanted: &[&str]) -> Result<(), Lost> {
        let admin = self.admin(url).await?;
        let begun = Instant::now();
        loop {
            let state = self.state(&admin, job).await?;
            if wanted.contains(&state.as_str()) {
                return Ok(());
            }
            assert!(
                begun.elapsed() < SETTLED,
                "{job} is {state}: {}",
                last_words(&self.data)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// With nothing left to die of: every job completes, who was switched off stays out, who was to be erased
    /// is, nothing was done twice; and at rest the verifier finds everything whole.
    pub(super) async fn settle(&self) {
        let server = self.start_unarmed();
        let lost = |lost: Lost| panic!("{lost:?}: {}", last_words(&self.data));
        self.everything_ends(&server.url).await.unwrap_or_else(lost);
        let caller = Caller::new(&server.url);
        for token in &self.ended {
            let ended = caller.signed_in(token.clone());
            let refused = ended.run("me", "query { me { id } }", json!({})).await;
            assert!(
                refused
                    .as_ref()
                    .is_err_and(|lost| lost.0.contains("UNAUTHENTICATED")),
                "{refused:?}"
            );
        }
        self.nothing_twice(&server.url).await.unwrap_or_else(lost);
        self.everybody_is_mailed_once().await;
        self.assert_whole();
        assert!(server.stop().success(), "{}", last_words(&self.data));
        self.assert_whole();
    }

    /// Waits until every job is completed and every erasure has its receipt.
    async fn everything_ends(&self, url: &str) -> Result<(), Lost> {
        for job in &self.jobs {
            self.until(url, job, &["COMPLETED"]).await?;
        }
        let admin = self.admin(url).await?;
        for user in &self.erased {
            self.receipt(&admin, user).await?;
        }
        Ok(())
    }

    /// NO-3: each registration that was acknowledged has its mail, once, whatever died when.
    async fn everybody_is_mailed_once(&self) {
        let names = self.registered.lock().expect("nobody panicked").clone();
        for name in names {
            let address = format!("{name}@example.org");
            people::mailed_token(&self.data, &address).await;
            let mails = people::mails(&self.data);
            let own = mails
                .iter()
                .filter(|mail| mail.starts_with(&format!("To: {address}\n")));
            assert_eq!(own.count(), 1, "{address}");
        }
    }

    /// What was tried once is there once at most, acknowledged or not.
    async fn nothing_twice(&self, url: &str) -> Result<(), Lost> {
        let admin = self.admin(url).await?;
        let (mut names, mut after) = (Vec::new(), Value::Null);
        loop {
            let document = "query($a: String) { projects(first: 100, after: $a) { nodes { name } pageInfo { hasNextPage endCursor } } }";
            let page = admin.run("projects", document, json!({ "a": after })).await?;
            let nodes = page["nodes"].as_array().cloned().unwrap_or_default();
            names.extend(nodes.iter().map(|node| text(&node["name"])));
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] != json!(true) {
                break;
            }
        }
        let different: BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        Ok(())
    }

    /// `anneal verify` finds no fault.
    pub(super) fn assert_whole(&self) {
        let verified = verify(&self.data, &self.acknowledgements);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        let complained = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{said}\n{complained}");
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(report["ok"], json!(true));
        assert_eq!(report["checked"].as_array().map(Vec::len), Some(13), "{said}");
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}
