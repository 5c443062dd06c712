//! Projectors: they fold the log into the read models, and survive whatever a subscription does to them.
//!
//! The rule: as the real runner, they take a page only where it goes on from their own checkpoint and in order, and
//! write rows and checkpoint in one transaction that fails when another has moved the checkpoint.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use domain::event_store::{Filter, Page, Position, StoreError};

use super::{
    PlantedDefect,
    database::{Stored, read_models},
    environment::{Lost, SimulatedEnvironment},
    process::Process,
};

/// Events per transaction.
const PAGE: usize = 40;
const RETRY: Duration = Duration::from_millis(500);

enum Pause {
    Store,
    Disorder,
    Database,
    Overtaken,
}

impl From<StoreError> for Pause {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl From<Lost> for Pause {
    fn from(_: Lost) -> Self {
        Self::Database
    }
}

/// Follows the log until the run ends.
pub(super) async fn project(
    environment: Rc<SimulatedEnvironment>,
    name: String,
    planted: Option<PlantedDefect>,
) {
    let process = Process::start(&environment, &name);
    loop {
        let why = match lead(&process, planted).await {
            Pause::Store => "the log does not answer",
            Pause::Disorder => "a page came in disorder",
            Pause::Database => "the database does not answer",
            Pause::Overtaken => "another process moved the checkpoint",
        };
        process.say(&format!("pauses: {why}"));
        environment.sleep(RETRY).await;
    }
}

async fn lead(process: &Process, planted: Option<PlantedDefect>) -> Pause {
    match follow(process, planted).await {
        Ok(never) => match never {},
        Err(pause) => pause,
    }
}

async fn follow(
    process: &Process,
    planted: Option<PlantedDefect>,
) -> Result<std::convert::Infallible, Pause> {
    let mut reached = process
        .environment
        .statement(|database| database.checkpoint())
        .await?;
    let mut subscription = process.store().subscribe(reached, Filter::all());
    let mut heard = reached;
    loop {
        let page = if planted == Some(PlantedDefect::TrustsDeliveries) {
            subscription.next().await?
        } else if reached < process.store().known_head() {
            process.store().read_all(reached, &Filter::all(), PAGE).await?
        } else {
            if heard != reached {
                subscription = process.store().subscribe(reached, Filter::all());
            }
            let mut page = subscription.next().await?;
            heard = page.next;
            if !page.events.is_sorted_by(|one, next| one.position < next.position) {
                return Err(Pause::Disorder);
            }
            page.events.retain(|event| event.position > reached);
            page
        };
        if page.next <= reached && planted != Some(PlantedDefect::TrustsDeliveries) {
            continue;
        }
        apply(process, reached, &page, planted).await?;
        process.say(&format!("folds {} events to {}", page.events.len(), page.next));
        reached = page.next;
    }
}

async fn apply(
    process: &Process,
    from: Position,
    page: &Page,
    planted: Option<PlantedDefect>,
) -> Result<(), Pause> {
    let environment = &process.environment;
    let mut changed: BTreeMap<&'static str, Stored> = BTreeMap::new();
    for model in read_models() {
        let stored = environment.database.borrow().rows(model.name());
        match model.fold(&stored, &page.events) {
            Ok(rows) => drop(changed.insert(model.name(), rows)),
            Err(error) => environment
                .notes()
                .violations
                .push(format!("{} cannot fold: {error}", model.name())),
        }
    }
    if planted == Some(PlantedDefect::CheckpointBeforeRows) {
        environment
            .statement(|database| database.move_checkpoint(from, page.next))
            .await?;
        environment.statement(|database| database.write(changed)).await?;
        return Ok(());
    }
    let whole = |database: &mut super::database::Database| {
        let own = database.move_checkpoint(from, page.next);
        if own {
            database.write(changed);
        }
        own
    };
    match environment.statement(whole).await? {
        true => Ok(()),
        false => Err(Pause::Overtaken),
    }
}
