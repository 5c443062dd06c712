-- Owned by projections::lease: which process folds the log into the read models ('fold'), and which one
-- rebuilds them ('rebuild'). The epoch grows with each new holder; whoever writes as a holder checks it.
create table projection_lease (
    name text primary key,
    holder text not null,
    -- The database session that the holder keeps open as long as it lives.
    session_pid integer,
    session_start timestamptz,
    epoch bigint not null,
    expires_at timestamptz not null
) with (fillfactor = 10);

insert into projection_lease (name, holder, epoch, expires_at)
values ('fold', 'nobody', 0, '-infinity'), ('rebuild', 'nobody', 0, '-infinity');
