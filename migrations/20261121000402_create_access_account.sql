-- Owned by projections::access: what decides what an account may do, without who it is.
create table access_account (
    id uuid primary key,
    state text not null,
    verified boolean not null,
    organization_id uuid
);

-- What each user has taken of their quotas.
create table access_usage (
    id uuid primary key,
    projects integer not null,
    datasets integer not null,
    concurrent_jobs integer not null,
    storage_bytes bigint not null
);
