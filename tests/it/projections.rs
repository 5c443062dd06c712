//! The read side under hard conditions: leaders that freeze, rebuilds beside a running system, events that
//! cannot be folded (AU-5).

mod closed;
mod columns;
mod feeds;
mod fixture;
mod histories;
mod leading;
mod listing;
mod rebuilding;
mod replay;
mod scopes;
mod shadows;
mod standing_still;
mod stopping;
mod swapping;
mod watching;
