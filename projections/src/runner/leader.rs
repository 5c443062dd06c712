//! The leader: holds the lease, reads the log, has pages folded.
//!
//! The rule: nothing is written but under the lease's epoch, and what stands in the checkpoint table wins over
//! what stands in memory.

use std::{sync::Arc, time::Duration};

use domain::event_store::{EventStore, Filter, Page, Position, Subscription};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    RETRY, RunError, Settings,
    page::{self, Folded},
    progress::Progress,
    projection_handle::{ProjectionHandle, State, recorded},
};
use crate::{
    lease::{FOLD, Held, Lease},
    position::stored,
};

/// Events per transaction.
const PAGE: usize = 2_000;
/// A page begins no sooner after the one before it. Who comes alone does not wait.
const GATHER: Duration = Duration::from_millis(2);
/// Deadline of the transaction of one page.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Leader {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) pool: PgPool,
    pub(super) handles: Vec<ProjectionHandle>,
    /// What the others of this process see.
    pub(super) progress: Progress,
    /// Told when a shadow table took its place.
    pub(super) swapped: Arc<Notify>,
    pub(super) settings: Settings,
    /// When the last page began.
    pub(super) begun: Instant,
    pub(super) lease: Option<Held>,
    /// Whether a newer build was given its chance to lead.
    pub(super) stood_back: bool,
}

impl Leader {
    /// Leads as long as all goes well.
    pub(super) async fn lead(&mut self) -> Result<(), RunError> {
        let mut connection = self.connect().await?;
        self.follow().await?;
        fail::fail_point!("projection.leading");
        // Others may have led in between.
        self.forget();
        self.restore(&mut connection).await?;
        if self.give_way().await? {
            return Ok(());
        }
        let mut looked = Instant::now();
        let mut subscription = self.store.subscribe(self.front(), Filter::all());
        let mut heard = self.front();
        loop {
            let worked = self.straggle(&mut connection).await?;
            if looked.elapsed() >= self.look_each() {
                self.look(&mut connection).await?;
                looked = Instant::now();
                if self.give_way().await? {
                    return Ok(());
                }
            }
            if heard != self.front() {
                heard = self.front();
                subscription = self.store.subscribe(heard, Filter::all());
            }
            if worked && !self.has_news() {
                continue;
            }
            if let Some(next) = self.await_news(&mut connection, subscription.as_mut()).await? {
                heard = next;
            }
        }
    }

    /// Whether the foremost projections have events to fold.
    fn has_news(&self) -> bool {
        let going = self.handles.iter().any(ProjectionHandle::going);
        going && self.front() < self.store.known_head()
    }

    /// Gives the lease back.
    pub(super) async fn resign(&mut self) {
        self.progress.lead(false);
        let Some(held) = self.lease.take() else { return };
        if let Ok(Err(error)) = timeout(self.settings.lease, held.lease().release(&self.pool)).await {
            tracing::debug!(%error, "the lease of the projections runs out by itself");
        }
    }

    async fn connect(&self) -> Result<PgConnection, RunError> {
        let mut connection = self.pool.acquire().await?.detach();
        // Read models are folded again from their checkpoint after a crash, so that no page has to wait for the
        // disk. Plans are kept, and made when tables are nearly empty: they go by the key all the same. A transaction of a frozen leader must not hold its locks for longer than its lease. Who waits for a
        // lock queues everybody else behind itself: it gives up in time and tries again.
        sqlx::query(
            "select set_config('synchronous_commit', 'off', false),
                    set_config('plan_cache_mode', 'force_generic_plan', false),
                    set_config('enable_seqscan', 'off', false),
                    set_config('idle_in_transaction_session_timeout', $1, false),
                    set_config('lock_timeout', $2, false)",
        )
        .bind(self.settings.lease.as_millis().to_string())
        .bind(self.settings.standstill.as_millis().to_string())
        .execute(&mut connection)
        .await?;
        Ok(connection)
    }

    /// Waits until nobody leads, then leads. Meanwhile the way the leader comes along is published.
    async fn follow(&mut self) -> Result<(), RunError> {
        self.resign().await;
        loop {
            self.progress.publish(self.progress.stored().await?);
            if let Some(held) = Lease::take(&self.pool, FOLD, self.settings.lease).await? {
                self.lease = Some(held);
                self.progress.lead(true);
                return Ok(());
            }
            tokio::time::sleep(RETRY.min(self.settings.lease / 2)).await;
        }
    }

    fn lease(&self) -> Result<Lease, RunError> {
        self.lease.as_ref().map(Held::lease).ok_or(RunError::Deposed)
    }

    fn look_each(&self) -> Duration {
        self.settings.lease / 4
    }

    /// The position that the foremost projections have reached.
    fn front(&self) -> Position {
        let going = self.handles.iter().filter(|handle| handle.going());
        going.map(|handle| handle.checkpoint).max().unwrap_or_default()
    }

    /// Folds one page for those that are behind the others: in turns, so that nobody waits for them.
    async fn straggle(&mut self, connection: &mut PgConnection) -> Result<bool, RunError> {
        let front = self.front();
        let behind = self
            .handles
            .iter()
            .filter(|handle| handle.due() && (handle.checkpoint < front || !handle.going()));
        let Some(last) = behind.map(|handle| handle.checkpoint).min() else {
            return Ok(false);
        };
        let page = self.store.read_all(last, &Filter::all(), PAGE).await?;
        self.fold(connection, last, &page).await?;
        Ok(page.next > last)
    }

    /// Waits for events, a swap, or the next moment to look. Returns the place of the subscription.
    async fn await_news(
        &mut self,
        connection: &mut PgConnection,
        subscription: &mut dyn Subscription,
    ) -> Result<Option<Position>, RunError> {
        let from = self.front();
        let swapped = self.swapped.clone();
        // A page of many events costs little more than one of a single event: those that come close behind go together.
        tokio::time::sleep_until(self.begun + GATHER).await;
        tokio::select! {
            page = subscription.next(), if self.handles.iter().any(ProjectionHandle::going) => {
                let page = page?;
                self.begun = Instant::now();
                self.fold(connection, from, &page).await?;
                Ok(Some(page.next))
            }
            () = swapped.notified() => self.look(connection).await.map(|()| None),
            () = tokio::time::sleep(self.look_each()) => self.look(connection).await.map(|()| None),
        }
    }

    /// Renews the lease, and takes over what others changed in the checkpoint table.
    async fn look(&mut self, connection: &mut PgConnection) -> Result<(), RunError> {
        let lease = self.lease()?;
        let work = async {
            if !lease.renew(&mut *connection).await? {
                return Err(RunError::Deposed);
            }
            self.refresh(connection).await
        };
        timeout(DEADLINE, work).await.map_err(|_| RunError::TimedOut)?
    }

    /// Reads the checkpoints again; tries stopped projections whose time has come.
    async fn refresh(&mut self, connection: &mut PgConnection) -> Result<(), RunError> {
        let recorded = recorded(connection).await?;
        for handle in &mut self.handles {
            if let Some(found) = recorded.get(handle.projector.name()) {
                found.apply_to(handle);
            }
        }
        self.progress.stored().await?;
        self.publish();
        Ok(())
    }

    /// Reads the checkpoints at the start; a projection that has none gets one.
    async fn restore(&mut self, connection: &mut PgConnection) -> Result<(), RunError> {
        let recorded = recorded(&mut *connection).await?;
        let mut short = None;
        for handle in &mut self.handles {
            let (name, version) = (handle.projector.name(), handle.projector.version());
            if recorded.contains_key(name) {
                continue;
            }
            let short = match short {
                Some(short) => short,
                None => *short.insert(is_short(self.store.as_ref()).await?),
            };
            let mut transaction = connection.begin().await?;
            handle.projector.clear(&mut transaction).await?;
            // A long log is folded faster into a shadow.
            sqlx::query(
                "insert into projection_checkpoint (name, version, position, state) values ($1, $2, 0, $3)
                 on conflict (name) do nothing",
            )
            .bind(name)
            .bind(version)
            .bind(if short { "live" } else { "building" })
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        self.refresh(connection).await
    }

    /// Lets a newer build lead, if there is one: once, for as long as it needs to notice.
    async fn give_way(&mut self) -> Result<bool, RunError> {
        let newer: Vec<&str> = self
            .handles
            .iter()
            .filter(|handle| handle.state == State::Newer)
            .map(|handle| handle.projector.name())
            .collect();
        if newer.is_empty() || self.stood_back {
            return Ok(false);
        }
        tracing::warn!(
            projections = newer.join(", "),
            "a newer version of Anneal has folded these; it is left to lead. To take them back, run: anneal replay"
        );
        self.stood_back = true;
        self.resign().await;
        tokio::time::sleep(2 * RETRY).await;
        Ok(true)
    }

    /// Folds one page, in one transaction, into those that stand in it.
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        from: Position,
        page: &Page,
    ) -> Result<(), RunError> {
        let lease = self.lease()?;
        let work = page::fold(&mut *connection, lease, &mut self.handles, from, page);
        let outcome = timeout(DEADLINE, work)
            .await
            .map_err(|_| RunError::TimedOut)
            .flatten();
        match outcome {
            Ok(Folded::Done(places)) => {
                for place in places {
                    place.take(&mut self.handles);
                }
            }
            Ok(Folded::Overtaken) => {
                self.forget();
                self.refresh(connection).await?;
            }
            Err(error) => {
                self.forget();
                return Err(error);
            }
        }
        if self.some_stopped_or_went_on() {
            self.progress.stored().await?;
        }
        self.publish();
        Ok(())
    }

    /// Forgets all rows in memory; see [`ProjectionHandle::forget`].
    fn forget(&mut self) {
        self.handles.iter_mut().for_each(ProjectionHandle::forget);
    }

    /// Whether others than those that are known to be are stopped, or fewer.
    fn some_stopped_or_went_on(&self) -> bool {
        let is_off =
            |handle: &ProjectionHandle| matches!(handle.state, State::Stopped { .. } | State::Building);
        let named = |name: &str| self.handles.iter().find(|handle| handle.projector.name() == name);
        !self.progress.are_off(|name| named(name).is_some_and(is_off))
    }

    /// Says how far those are that go on. Which do not was said before.
    fn publish(&self) {
        let going = || self.handles.iter().filter(|handle| handle.going());
        let head = self.store.known_head();
        let all = going().map(|handle| handle.checkpoint).min();
        self.progress.publish(all.unwrap_or_default());
        let lag = head.0.saturating_sub(all.unwrap_or_default().0);
        metrics::gauge!("projection_lag_events").set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
        for handle in &self.handles {
            let name = handle.projector.name();
            metrics::gauge!("projection_position", "projection" => name).set(f64::from(
                u32::try_from(stored(handle.checkpoint)).unwrap_or(u32::MAX),
            ));
        }
    }
}

/// Whether the log is no longer than one page.
async fn is_short(store: &dyn EventStore) -> Result<bool, RunError> {
    let head = store.head().await?;
    let page = store.read_all(Position::START, &Filter::all(), PAGE).await?;
    Ok(page.next >= head)
}
