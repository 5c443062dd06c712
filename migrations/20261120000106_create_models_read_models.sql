-- Owned by projections::models.
create table models_model (
    id uuid primary key,
    owner_id uuid not null,
    name text not null,
    description text not null,
    content text not null,
    visibility text not null,
    created_at timestamptz not null,
    latest_version integer not null
);
create index models_model_owner on models_model (owner_id, id);

create table models_version (
    id text primary key,
    model_id uuid not null,
    version integer not null,
    sha256 text not null,
    artifact text not null,
    files jsonb not null,
    lineage jsonb not null,
    job_id uuid,
    created_at timestamptz not null
);
create index models_version_model on models_version (model_id, version);
create index models_version_job on models_version (job_id);
