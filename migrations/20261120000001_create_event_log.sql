-- The event log: the one source of truth. Append-only for everybody, hash-chained, in one strict order.
-- Adapter: domain/event-store/src/postgres. Layout of the chain: domain/event-store/src/integrity.rs.

create table event (
    pos            bigint not null primary key check (pos > 0),
    id             uuid not null unique,
    stream         text collate "C" not null,
    revision       bigint not null check (revision >= 0),
    kind           text collate "C" not null,
    schema_version smallint not null check (schema_version > 0),
    at             timestamptz not null,
    -- json, not jsonb: the recorded bytes are hashed and must come back as they went in.
    data           json not null,
    meta           json not null,
    data_hash      bytea not null check (octet_length(data_hash) = 32),
    hash           bytea not null check (octet_length(hash) = 32),
    unique (stream, revision)
);

comment on table event is 'The append-only log. Positions are gapless and ascend in commit order.';

-- One row, locked by whoever appends. It is updated once per batch: room in its page keeps those updates
-- HOT, and early vacuuming keeps the page short.
create table event_head (
    one         boolean not null primary key default true check (one),
    pos         bigint not null,
    hash        bytea not null check (octet_length(hash) = 32),
    at          timestamptz not null,
    store_id    uuid not null,
    log_version smallint not null
) with (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

comment on table event_head is 'Position, hash and time of the last event, and which log this is.';

insert into event_head (pos, hash, at, store_id, log_version)
select 0, sha256(convert_to('anneal event log 1', 'UTF8') || uuid_send(store_id)), 'epoch', store_id, 1
from (select gen_random_uuid() as store_id) as fresh;

-- Nobody changes or removes what was recorded: not the owner, not a superuser, not a replica's replay role.
create function refuse_event_change() returns trigger language plpgsql as $$
begin
    raise exception 'the event log is append-only: % refused', tg_op
        using errcode = 'restrict_violation',
              hint = 'Record a further event that corrects the earlier one.';
end
$$;

create trigger event_is_append_only before update or delete or truncate on event
    for each statement execute function refuse_event_change();
alter table event enable always trigger event_is_append_only;

create trigger event_head_stays before delete or truncate on event_head
    for each statement execute function refuse_event_change();
alter table event_head enable always trigger event_head_stays;

-- The role that the running system acts as. Roles belong to the cluster, and other databases of it may be
-- migrating at this moment: what a neighbour did first is as good as done by us.
do $$
declare
    attempt integer := 0;
begin
    begin
        if not exists (select from pg_roles where rolname = 'anneal_app') then
            create role anneal_app nologin;
        end if;
    exception
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
            raise notice 'no right to create the role anneal_app; the system will run as %. '
                'To separate them, let an administrator run: create role anneal_app nologin; '
                'grant anneal_app to %', current_user, current_user;
    end;

    while exists (select from pg_roles where rolname = 'anneal_app')
        and not pg_has_role(current_user, 'anneal_app', 'member')
    loop
        begin
            grant anneal_app to current_user;
        exception
            when insufficient_privilege then
                raise notice 'no right to become anneal_app; let an administrator run: grant anneal_app to %',
                    current_user;
                exit;
            -- internal_error: "tuple concurrently updated"
            when unique_violation or duplicate_object or internal_error then
                attempt := attempt + 1;
                if attempt >= 50 then raise; end if;
                perform pg_sleep(0.02);
        end;
    end loop;

    if exists (select from pg_roles where rolname = 'anneal_app') then
        execute format('grant usage on schema %I to anneal_app', current_schema());
        grant select, insert on event to anneal_app;
        grant select, update on event_head to anneal_app;
        -- Tables of later migrations are read models: derived, and so open to change.
        execute format('alter default privileges in schema %I grant select, insert, update, delete, truncate '
            'on tables to anneal_app', current_schema());
        execute format('alter default privileges in schema %I grant usage, select, update '
            'on sequences to anneal_app', current_schema());
    end if;
end
$$;

-- Without figures the first plans are guesses about an empty table.
analyze event;
analyze event_head;
