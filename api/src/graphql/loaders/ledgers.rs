//! What people have taken of their quotas, as of now.

use std::{collections::HashMap, sync::Arc};

use async_graphql::dataloader::Loader;
use domain::{access::ledger::QuotaLedger, aggregate::LoadError, id::UserId, rights};

use super::Fresh;
use crate::app::App;

/// Ledgers, from what is remembered and the log after it.
pub struct LedgerLoader(App);

impl Fresh for LedgerLoader {
    fn fresh(app: &App) -> Self {
        Self(app.clone())
    }
}

impl Loader<UserId> for LedgerLoader {
    type Value = QuotaLedger;
    type Error = Arc<LoadError>;
    async fn load(&self, users: &[UserId]) -> Result<HashMap<UserId, QuotaLedger>, Self::Error> {
        let ports = &self.0.ports;
        let found = rights::load_ledgers(ports.store.as_ref(), &ports.aggregates, users).await?;
        Ok(found.into_iter().collect())
    }
}
