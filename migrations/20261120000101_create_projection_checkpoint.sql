-- Owned by projections::runner: how far each projection has folded the log.
create table projection_checkpoint (
    name text primary key,
    version integer not null,
    position bigint not null
) with (fillfactor = 50);
