//! The command line: verbs and flags.
//!
//! Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 the audit log, or other durable state, is damaged,
//! 4 rows of a read model differ from the log.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::collect::YOUNGEST_HOURS;

/// Anneal: govern the fine-tuning of language models, with one verifiable log.
#[derive(Debug, Parser)]
#[command(name = "anneal", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration comes from. Flags win over the environment, the environment over the file;
/// every key is described in schema/config.md.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigArgs {
    /// Configuration file (TOML); `anneal.toml` in the data folder if not given.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder; `.anneal` in the current folder if not given.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Address to listen on; 127.0.0.1:8080 if not given.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Any key of the configuration, as `worker.threads=2`. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole system on this machine, until Ctrl-C.
    Up {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Run the main job once it is up: from an account to a trained adapter.
        #[arg(long)]
        demo: bool,
        /// With --demo: end when the demo has ended, instead of staying up.
        #[arg(long, requires = "demo")]
        once: bool,
        /// With --demo: a training of a few steps.
        #[arg(long, requires = "demo")]
        quick: bool,
    },
    /// Run the main job on a system that is up.
    Demo {
        /// Where the system listens.
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        url: String,
        /// Data folder of that system: its set-up token and mails are read there.
        #[arg(long, value_name = "FOLDER", default_value = ".anneal")]
        data: PathBuf,
        /// A training of a few steps.
        #[arg(long)]
        quick: bool,
    },
    /// Check configuration, database, event store, object store and clock, and say what to do.
    Doctor {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what trainings can be computed on, or check that a device computes rightly; ends with 1 when it does
    /// not.
    Devices {
        /// Compare what this device computes with what PyTorch and PEFT computed: `cpu`, `cuda:0`.
        #[arg(long, value_name = "DEVICE")]
        check: Option<ml::device::Device>,
        /// Keep the kernels that the check compiles for a GPU in this folder.
        #[arg(long, value_name = "FOLDER", requires = "check")]
        kernels: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Work with the audit log.
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Work with the object store.
    Storage {
        /// What to do with it.
        #[command(subcommand)]
        command: StorageCommand,
    },
    /// Check everything that lies on the disk: log, read models, jobs, quotas, sessions, leases and files.
    /// Works while the system is up or down, changes nothing, and ends with 3 when something is broken.
    Verify {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// What clients were told: a file with one acknowledged position or event id a line.
        #[arg(long, value_name = "FILE")]
        acknowledged: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Rebuild read models from the log, compare them row for row with the live ones, and swap them in. Works
    /// while the system is up or down; no query is refused meanwhile. Interrupted, it goes on at the next call.
    #[command(group(clap::ArgGroup::new("which").required(true).args(["names", "all"])))]
    Replay {
        /// The read models, by name, as `projects.project`.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// All read models.
        #[arg(long)]
        all: bool,
        /// Compare only and change nothing; ends with 4 when rows differ.
        #[arg(long, conflicts_with = "no_swap")]
        check: bool,
        /// Build and compare, but leave the live read models in place; a later call goes on from there.
        #[arg(long)]
        no_swap: bool,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Look at what follows from events, as mails: what was given up, and try it again.
    Reactors {
        /// What to do.
        #[command(subcommand)]
        command: ReactorsCommand,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Train one job in this process; started by a worker.
    #[command(hide = true)]
    TrainJob {
        /// The job file.
        job: PathBuf,
    },
    /// Write or check the generated contracts in a folder.
    #[command(hide = true)]
    Contracts {
        /// Write them into this folder.
        #[arg(long, value_name = "FOLDER")]
        write: PathBuf,
    },
}

/// What can be done with reactors.
#[derive(Debug, Subcommand)]
pub enum ReactorsCommand {
    /// Show how far each reactor is, and the newest 100 of the effects that were given up.
    List {
        /// Of this reactor only.
        #[arg(long, value_name = "NAME")]
        reactor: Option<String>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Have effects tried again that were given up; recorded in the log.
    #[command(group(clap::ArgGroup::new("which").required(true).args(["id", "all"])))]
    Redrive {
        /// The effect, by its id in the list.
        #[arg(value_name = "ID")]
        id: Option<uuid::Uuid>,
        /// All that were given up.
        #[arg(long)]
        all: bool,
        /// With --all: of this reactor only.
        #[arg(long, value_name = "NAME", requires = "all")]
        reactor: Option<String>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check every event, the hash chain, the Merkle tree and all signed checkpoints; names the first position
    /// that is wrong. With --export: check exported files, without a database.
    Verify {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Check this export, with only --key.
        #[arg(long, value_name = "FOLDER", requires = "key")]
        export: Option<PathBuf>,
        /// The log's public key as `anneal audit key` prints it, or a file that holds it; that of the data
        /// folder if not given.
        #[arg(long, value_name = "KEY|FILE")]
        key: Option<String>,
        /// A folder of exported checkpoints; that of the configuration if not given.
        #[arg(long, value_name = "FOLDER", conflicts_with = "export")]
        checkpoints: Option<PathBuf>,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the log as files that prove themselves: JSON Lines with a signed manifest.
    Export {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The folder to make; it must not exist.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        /// Position of the first event; 1 if not given.
        #[arg(long, value_name = "POSITION")]
        from: Option<u64>,
        /// Position of the last event; the last one that is signed if not given.
        #[arg(long, value_name = "POSITION")]
        to: Option<u64>,
    },
    /// Print the log's public key, which checks its checkpoints and exports.
    Key {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the newest signed checkpoint.
    Checkpoint {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// What can be done with the object store.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Delete objects that no event refers to: what a crash between storing and recording left. Each deletion is
    /// recorded before it happens. Works while the system is up or down.
    Collect {
        /// List what would be deleted, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Pass over what was written within so many hours; at least 24.
        #[arg(long, value_name = "HOURS", default_value_t = YOUNGEST_HOURS,
            value_parser = clap::value_parser!(u32).range(i64::from(YOUNGEST_HOURS)..))]
        older_than: u32,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
}
