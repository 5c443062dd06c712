//! A subscription whose pages are opened on the way.
//!
//! The rule: a page stays here until it is handed out, so a dropped future or a key that cannot be fetched
//! loses nothing.

use std::sync::Arc;

use domain::event_store::{BoxFuture, Page, StoreError, Subscription};

use super::{
    keys::{Freshness, PersonKeys},
    open,
};

/// See the module.
pub(super) struct Opening {
    inner: Box<dyn Subscription>,
    keys: Arc<PersonKeys>,
    sealed: Option<Page>,
}

impl Opening {
    pub(super) fn new(inner: Box<dyn Subscription>, keys: Arc<PersonKeys>) -> Self {
        Self {
            inner,
            keys,
            sealed: None,
        }
    }
}

impl Subscription for Opening {
    fn next(&mut self) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move {
            if self.sealed.is_none() {
                self.sealed = Some(self.inner.next().await?);
            }
            // Keys come before anything is opened: a page whose keys cannot be had is still sealed.
            if let Some(page) = &mut self.sealed {
                open(&self.keys, &mut page.events, Freshness::Now).await?;
            }
            let opened = self.sealed.take();
            opened.ok_or_else(|| {
                StoreError::Unavailable("the subscription lost its page; try again".to_owned())
            })
        })
    }
}
