//! `anneal up`: the whole system in one process, until Ctrl-C.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use super::signals::Signals;
use crate::{
    complain,
    config::{Config, LogFilter},
    demo,
    output::Gone,
    say,
    system::{Environment, SETUP_TOKEN_FILE, System},
    telemetry,
};

/// How long a system that has lost a part may take to stop the others.
const BROKEN_STOP: Duration = Duration::from_secs(3);

/// Options of `anneal up`.
#[derive(Clone, Copy, Debug)]
pub struct UpOptions {
    /// Run the main job.
    pub demo: bool,
    /// End when it has ended.
    pub once: bool,
    /// With few steps.
    pub quick: bool,
}

/// Starts the system, says where it is, and stops it in order.
pub async fn run(mut config: Config, options: UpOptions) -> anyhow::Result<ExitCode> {
    super::second_signal::watch();
    if options.demo && config.log.level.0 == LogFilter::USUAL && std::io::stdout().is_terminal() {
        // The demo draws on the terminal; what goes well need not be written over it.
        config.log.level = LogFilter("warn".to_owned());
    }
    telemetry::init_log(&config.log)?;
    say!("Starting Anneal in {} …", config.general.data_dir.display());
    let begun = std::time::Instant::now();
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        started = System::start(&config, Environment::of_machine()?) => started?,
        () = signals.first() => return Ok(ExitCode::from(130)),
    };
    let system = started;
    greet(&system, begun.elapsed());
    let outcome = tokio::select! {
        failed = system.failed() => failed,
        () = signals.first() => {
            say!("\nStopping …");
            Ok(())
        }
        done = work(&system, options) => done,
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, "the system stops");
    }
    let stopped = tokio::select! {
        stopped = system.stop() => stopped,
        // What still waits for a part that has ended would wait in vain.
        () = tokio::time::sleep(BROKEN_STOP), if outcome.is_err() => Ok(()),
        () = signals.again() => {
            complain!("Stopped at once; nothing that was acknowledged is lost.");
            return Ok(ExitCode::from(130));
        }
    };
    outcome.and(stopped).map(|()| ExitCode::SUCCESS)
}

fn greet(system: &System, elapsed: Duration) {
    let url = system.url();
    say!(
        "Anneal {} is ready after {:.1} s.",
        crate::system::VERSION,
        elapsed.as_secs_f64()
    );
    say!("  GraphQL   {url}/graphql");
    say!("  Health    {url}/readyz");
    if !system.app.directory.is_set_up() {
        say!();
        say!("There is no administrator yet. Create one with the mutation createFirstAdministrator;");
        say!(
            "its set-up token is in {}",
            system.data_dir.join(SETUP_TOKEN_FILE).display()
        );
    }
    say!();
}

/// The demo, if wished for; then, unless wished otherwise, nothing for ever.
async fn work(system: &System, options: UpOptions) -> anyhow::Result<()> {
    if options.demo {
        let options = demo::DemoOptions {
            url: system.url(),
            data_dir: system.data_dir.clone(),
            quick: options.quick,
        };
        match demo::run(options).await {
            // It was to be watched; the system stays for others, unless it was started for the demo alone.
            Err(error) if error.is::<Gone>() => {}
            done => done?,
        }
    }
    if options.demo && options.once {
        return Ok(());
    }
    say!("Anneal stays up at {}; end it with Ctrl-C.", system.url());
    std::future::pending().await
}
