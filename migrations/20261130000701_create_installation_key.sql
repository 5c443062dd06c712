-- Owned by ops::system::keys: which key files belong to this installation, by values that do not give the keys away.
-- A missing or foreign file is found by it before anything is renewed.
create table installation_key (
    name        text collate "C" not null primary key,
    fingerprint text not null
);

comment on table installation_key is 'Fingerprints of the key files that belong to these data: the pepper and the key that signs access tokens.';

do $$
begin
    if exists (select from pg_roles where rolname = 'anneal_app') then
        revoke delete, truncate on installation_key from anneal_app;
    end if;
end
$$;
