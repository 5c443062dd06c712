//! The demonstration (OP-2): the main job, as a client would do it, from an account to a trained adapter.
//!
//! One rule: it is a client like any other. It knows the system's address, its HTTP and GraphQL interface,
//! and two things that only the operator of the machine can read: the set-up token and the outbox of the
//! development mailer. What is already there is found and not done again, so it can be stopped and started
//! at any point: a job that is under way is followed, a finished one is shown.

mod accounts;
mod artifacts;
mod client;
mod credentials;
mod feed;
mod history;
mod jobs;
mod recipe;
mod session;
mod show;
mod sse;
mod workspace;

use std::path::{Path, PathBuf};

use anyhow::Context;

use client::Client;
use jobs::{Order, Trained};
use session::Session;
use show::Show;

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where the system listens, for example `http://127.0.0.1:8080`.
    pub url: String,
    /// Its data folder: the set-up token and mails are read there, credentials and results are put there.
    pub data_dir: PathBuf,
    /// Trains a few steps only, for tests.
    pub quick: bool,
}

/// Runs the whole story and prints it to standard output. Safe to run again, and to be dropped at any point:
/// jobs go on in the server.
///
/// # Errors
/// The first thing that does not work, with what to do about it.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let show = Show::new();
    let client = Client::new(&options.url)?;
    // Before anything is said: whoever does not read it learns by the exit code that there is no server.
    client.reach().await?;
    show.heading("Accounts")?;
    let people = accounts::ready(&client, &options.data_dir, &show).await?;
    let engineer = &people.engineer;

    show.heading("Project and data")?;
    let place = workspace::experiment(engineer, &show).await?;
    let corpus = workspace::dataset(engineer, &recipe::CORPUS, &show).await?;
    let conversations = workspace::dataset(engineer, &recipe::CONVERSATIONS, &show).await?;

    show.heading("A small GPT-2, trained from scratch")?;
    let order = Order {
        name: recipe::scratch_name(options.quick),
        experiment: &place,
        dataset: &corpus,
        base: None,
        method: recipe::scratch_method(),
        parameters: recipe::scratch_parameters(options.quick),
    };
    let base = train(engineer, &order, &show).await?;

    show.heading("A LoRA adapter on top, trained on conversations")?;
    let order = Order {
        name: recipe::lora_name(options.quick),
        experiment: &place,
        dataset: &conversations,
        base: Some(&base.model),
        method: recipe::lora_method(&base.model),
        parameters: recipe::lora_parameters(options.quick),
    };
    let adapter = train(engineer, &order, &show).await?;

    show.heading("The result")?;
    take_home(engineer, &base, &adapter, &options.data_dir, &show).await?;

    show.heading("The adapter's history, from the audit log")?;
    history::print(&people, &[&adapter.job, &adapter.model], &show).await?;
    show.line("")?;
    show.line(&format!(
        "  Log in as {} with the password in {}.",
        engineer.username(),
        people.file.display()
    ))
}

/// Trains, or finds what was trained, and shows it either way.
async fn train(engineer: &Session, order: &Order<'_>, show: &Show) -> anyhow::Result<Trained> {
    let job = match jobs::find(engineer, order).await? {
        Some(job) => {
            show.line(&format!("  Job {job} is there already; this is its course."))?;
            job
        }
        None => {
            let job = jobs::start(engineer, order).await?;
            show.line(&format!(
                "  Job {job} is queued; it goes on even if this program ends."
            ))?;
            job
        }
    };
    jobs::follow(engineer, &job, show)
        .await
        .with_context(|| format!("following the job {job}"))
}

/// Fetches both models into the data folder.
async fn take_home(
    engineer: &Session,
    base: &Trained,
    adapter: &Trained,
    data_dir: &Path,
    show: &Show,
) -> anyhow::Result<()> {
    let base_folder = data_dir.join("demo-model");
    let folder = data_dir.join("demo-adapter");
    artifacts::fetch(engineer, base, &base_folder).await?;
    for file in artifacts::fetch(engineer, adapter, &folder).await? {
        let size = show::bytes(file.bytes);
        show.line(&format!(
            "  {:<28} {size:>11}  SHA-256 {}…",
            file.name,
            file.short_hash()
        ))?;
    }
    show.line("  Every file was downloaded over HTTP and has the SHA-256 that the log recorded.")?;
    show.line(&format!("  Adapter (Hugging Face PEFT): {}", folder.display()))?;
    show.line(&format!(
        "  Its base model (transformers): {}",
        base_folder.display()
    ))
}
