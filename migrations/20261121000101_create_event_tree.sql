-- The Merkle tree over the event log (RFC 6962), as tiles, and its signed checkpoints.
-- Adapter: domain/event-store/src/postgres/tree. Layout: domain/event-store/src/integrity/{leaf,tree}.rs.

create table event_tree_tile (
    level  smallint not null check (level >= 0),
    idx    bigint not null check (idx >= 0),
    -- The node over the tile: one hash of the level above.
    root   bytea not null check (octet_length(root) = 32),
    -- 256 hashes. Only full tiles are stored; what is not full is computed from the log and the tiles below.
    hashes bytea not null check (octet_length(hashes) = 8192),
    primary key (level, idx)
);

-- Hashes do not compress.
alter table event_tree_tile alter column hashes set storage external;

comment on table event_tree_tile is 'Full tiles of the tree over the event log, as in C2SP tlog-tiles.';

create table event_tree_head (
    size bigint not null primary key check (size > 0),
    root bytea not null check (octet_length(root) = 32),
    -- The signed checkpoint, as C2SP tlog-checkpoint.
    note text not null,
    at   timestamptz not null
);

comment on table event_tree_head is 'Every checkpoint of the event log that was signed.';

create trigger event_tree_tile_is_append_only before update or delete or truncate on event_tree_tile
    for each statement execute function refuse_event_change();
alter table event_tree_tile enable always trigger event_tree_tile_is_append_only;

create trigger event_tree_head_is_append_only before update or delete or truncate on event_tree_head
    for each statement execute function refuse_event_change();
alter table event_tree_head enable always trigger event_tree_head_is_append_only;

do $$
begin
    if exists (select from pg_roles where rolname = 'anneal_app') then
        revoke update, delete, truncate on event_tree_tile, event_tree_head from anneal_app;
        grant select, insert on event_tree_tile, event_tree_head to anneal_app;
    end if;
end
$$;
