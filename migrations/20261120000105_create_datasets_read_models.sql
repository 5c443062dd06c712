-- Owned by projections::datasets.
create table datasets_dataset (
    id uuid primary key,
    owner_id uuid not null,
    name text not null,
    description text not null,
    visibility text not null,
    created_at timestamptz not null,
    latest_version integer not null
);
create index datasets_dataset_owner on datasets_dataset (owner_id, id);

create table datasets_version (
    id text primary key,
    dataset_id uuid not null,
    version integer not null,
    sha256 text not null,
    bytes bigint not null,
    format text not null,
    summary jsonb not null,
    file_name text not null,
    created_at timestamptz not null
);
create index datasets_version_dataset on datasets_version (dataset_id, version);
