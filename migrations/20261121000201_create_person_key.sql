-- Owned by event_store::sealing: the key of each person's data, wrapped by the key file of this installation.
-- A destroyed key leaves its row as a tombstone, so that a lost row is never mistaken for an erasure.
create table person_key (
    person       text collate "C" not null primary key,
    wrapped      bytea,
    key_id       text,
    created_at   timestamptz,
    destroyed_at timestamptz,
    check ((wrapped is null) = (destroyed_at is not null)),
    check (wrapped is null or (key_id is not null and created_at is not null))
) with (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);

comment on table person_key is 'Keys of personal data, wrapped. Back up with a short retention, see ops/guides/erasing-a-person.md.';

-- Which key file wraps them: one for all processes on this database.
create table person_key_wrapping (
    one    boolean not null primary key default true check (one),
    key_id text not null
);

do $$
begin
    if exists (select from pg_roles where rolname = 'anneal_app') then
        revoke delete, truncate on person_key, person_key_wrapping from anneal_app;
    end if;
end
$$;
