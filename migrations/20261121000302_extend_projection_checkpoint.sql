-- Owned by projections::runner. State: 'live' is folded; 'building' waits for its first rebuild to be swapped
-- in; 'stopped' cannot get past the event at failed_position. The generation grows with each swap.
alter table projection_checkpoint
    add column state text not null default 'live' check (state in ('live', 'building', 'stopped')),
    add column generation bigint not null default 0,
    add column failed_position bigint,
    add column failure text,
    add column failing_since timestamptz;
