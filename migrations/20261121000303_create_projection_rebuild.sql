-- Owned by projections::rebuild: how far each shadow table is folded. Written in the same transaction as the
-- shadow's rows. request: the number of the request that this rebuild answers.
create table projection_rebuild (
    name text primary key,
    version integer not null,
    position bigint not null default 0,
    complete boolean not null default false,
    request bigint not null default 0,
    started_at timestamptz not null default clock_timestamp(),
    failed_position bigint,
    failure text
) with (fillfactor = 50);

-- Rebuilds that were asked for, by number: everything up to `done` was asked for before a rebuild began that
-- has been swapped in since.
create table projection_request (
    name text primary key,
    requested bigint not null,
    done bigint not null default 0
);
