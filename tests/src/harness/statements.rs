//! Counts the statements that read the read models, and streams of the log.
//!
//! One rule: a test runs on one thread, with its application, so what that thread sends is the test's own.

use std::{cell::RefCell, sync::Once};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

thread_local! {
    /// The statements of this thread; none while nobody listens.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// How statements begin that read rows of read models, or count them, and those that load streams of the log.
const READS: [&str; 5] = [
    "select t.",
    "select thing.k",
    "select count(*)",
    "select jsonb_build_object",
    "select a.asked",
];

/// Listens to the statements of this thread until it is dropped.
pub struct Statements(());

impl Statements {
    /// Counts from now on.
    ///
    /// # Panics
    /// When the process has another subscriber of events.
    #[must_use]
    pub fn listen() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(Listener).expect("no other subscriber");
        });
        HEARD.set(Some(Vec::new()));
        Self(())
    }

    /// The statements since the last call that read rows of read models, count them, or load streams of the log.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target() {
            "sqlx::query" => Interest::sometimes(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
            && *metadata.level() <= Level::DEBUG
            && HEARD.with_borrow(Option::is_some)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = statement.0.split_whitespace().collect::<Vec<_>>().join(" ");
        if READS.iter().any(|begin| text.starts_with(begin)) {
            HEARD.with_borrow_mut(|heard| heard.as_mut().map(|all| all.push(text)));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The text of a statement: whole where it is long, else in the summary.
#[derive(Default)]
struct Statement(String);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        let given = !value.trim().is_empty();
        if given && (field.name() == "db.statement" || (field.name() == "summary" && self.0.is_empty())) {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
