//! Queries and mutations under way: so many of one account, on all its connections; further ones wait for their turn.
//!
//! One rule: an account that asks for much waits for itself. Its operations begin in the order in which they came; one
//! that finds too many before it, or waits for too long, is told to come again. An account that has none takes no memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::EndpointOptions;
use crate::http::shares::Holder;

/// Under way for each processor core at most, where the configuration does not say: they wait for the database most of
/// the time.
const PER_CORE: usize = 8;

/// What runs and waits of each account. Clones share it.
#[derive(Clone)]
pub(super) struct Running {
    most: usize,
    waiting: usize,
    patience: Duration,
    accounts: Arc<Mutex<HashMap<Holder, Account>>>,
}

struct Account {
    turns: Arc<Semaphore>,
    /// How many run and wait.
    inside: usize,
}

/// Too many operations of an account run and wait: come again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotNow;

impl Running {
    pub(super) fn new(options: &EndpointOptions) -> Self {
        let most = match options.running_per_account {
            0 => PER_CORE * std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            most => most,
        };
        Self {
            most: most.min(Semaphore::MAX_PERMITS),
            waiting: options.waiting_per_account,
            patience: options.patience,
            accounts: Arc::default(),
        }
    }

    /// Waits for the turn of an operation of `holder`.
    ///
    /// # Errors
    /// [`NotNow`], at once or after the time for waiting.
    pub(super) async fn turn(&self, holder: &Holder) -> Result<Turn, NotNow> {
        let (place, turns) = self.enter(holder)?;
        let turn = tokio::time::timeout(self.patience, turns.acquire_owned()).await;
        let permit = turn.map_err(|_| NotNow)?.map_err(|_| NotNow)?;
        Ok(Turn {
            _permit: permit,
            _place: place,
        })
    }

    fn enter(&self, holder: &Holder) -> Result<(Place, Arc<Semaphore>), NotNow> {
        let mut accounts = self.lock();
        let account = accounts.entry(holder.clone()).or_insert_with(|| Account {
            turns: Arc::new(Semaphore::new(self.most)),
            inside: 0,
        });
        if account.inside >= self.most.saturating_add(self.waiting) {
            return Err(NotNow);
        }
        account.inside += 1;
        let place = Place {
            running: self.clone(),
            holder: holder.clone(),
        };
        Ok((place, Arc::clone(&account.turns)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, Account>> {
        // No step under the lock can panic half way.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of an operation, until it is dropped.
#[must_use = "a turn is given on when it is dropped"]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// A place among those that run or wait.
struct Place {
    running: Running,
    holder: Holder,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accounts = self.running.lock();
        match accounts.get_mut(&self.holder) {
            Some(account) if account.inside > 1 => account.inside -= 1,
            _ => drop(accounts.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::{EndpointOptions, Holder, NotNow, Running};

    fn running(patience: Duration) -> (Running, Holder, Holder) {
        let options = EndpointOptions {
            running_per_account: 2,
            waiting_per_account: 2,
            patience,
            ..EndpointOptions::default()
        };
        let [ada, bob] = ["ada", "bob"].map(|name| Holder::Account(name.to_owned()));
        (Running::new(&options), ada, bob)
    }

    /// GQ-10
    #[tokio::test]
    async fn who_has_its_share_waits_for_itself_in_order_and_others_do_not() {
        let (running, ada, bob) = running(Duration::from_secs(3_600));
        let first = running.turn(&ada).await.expect("a turn");
        let second = running.turn(&ada).await.expect("a second");
        let (mut third, mut fourth) = (Box::pin(running.turn(&ada)), Box::pin(running.turn(&ada)));
        assert!((&mut third).now_or_never().is_none() && (&mut fourth).now_or_never().is_none());
        assert_eq!(
            running.turn(&ada).await.err(),
            Some(NotNow),
            "no place is left to wait"
        );
        assert!(running.turn(&bob).await.is_ok(), "another account does not wait");
        drop(first);
        assert!(
            (&mut fourth).now_or_never().is_none(),
            "the one before it is first"
        );
        let third = third.await.expect("its turn");
        drop(fourth);
        let mut fifth = Box::pin(running.turn(&ada));
        assert!(
            (&mut fifth).now_or_never().is_none(),
            "who has gone left a place to wait"
        );
        drop((second, third, fifth));
        assert!(
            running.lock().is_empty(),
            "who has nothing under way takes no memory"
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (running, ada, _) = running(Duration::from_millis(1));
        let held = [running.turn(&ada).await, running.turn(&ada).await];
        assert_eq!(running.turn(&ada).await.err(), Some(NotNow));
        drop(held);
        assert!(running.lock().is_empty());
    }
}
