-- Owned by projections::jobs.
create table jobs_job (
    id uuid primary key,
    owner_id uuid not null,
    project_id uuid not null,
    experiment_id uuid not null,
    name text not null,
    state text not null,
    spec jsonb not null,
    dataset_id uuid not null,
    dataset_version integer not null,
    base_model_id uuid,
    base_model_version integer,
    model_id uuid not null,
    attempt integer not null,
    worker_id uuid,
    worker_name text,
    step integer not null,
    total_steps integer not null,
    loss double precision,
    evaluation_loss double precision,
    tokens_per_second double precision,
    eta_seconds integer,
    checkpoint_step integer,
    metrics jsonb not null,
    failure_code text,
    failure_message text,
    queued_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    position bigint not null
);
create index jobs_job_owner on jobs_job (owner_id, id);
create index jobs_job_experiment on jobs_job (experiment_id, id);
create index jobs_job_waiting on jobs_job (queued_at) where state = 'queued';
