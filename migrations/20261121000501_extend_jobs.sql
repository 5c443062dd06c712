-- Owned by projections::jobs: terms, places in the queue, attempts and metered time of jobs (JB-3, JB-6).
do $$
declare
    kept text;
begin
    foreach kept in array array['jobs_job', 'jobs_job_history'] loop
        execute format('alter table %I '
            'add priority integer not null default 0, '
            'add terms jsonb not null default ''{}'', '
            'add cloned_from uuid, '
            'add losses integer not null default 0, '
            'add pausing boolean not null default false, '
            'add attempts jsonb not null default ''[]'', '
            'add worker_milliseconds bigint not null default 0, '
            'add gpu_milliseconds bigint not null default 0, '
            'add metered_at timestamptz', kept);
    end loop;
end
$$;
create index jobs_job_project on jobs_job (project_id);
create index jobs_job_worker on jobs_job (worker_id) where worker_id is not null;
create index jobs_job_under_way on jobs_job (owner_id) where state in ('starting', 'running');
create index jobs_job_metered on jobs_job (metered_at) where metered_at is not null;
create index jobs_job_ended on jobs_job (ended_at) where ended_at is not null;

-- What the fair share of a moment of the past goes by.
create index jobs_job_history_under_way on jobs_job_history
    using gist (int8range(valid_from, valid_to)) where state in ('starting', 'running');
create index jobs_job_history_metered on jobs_job_history (metered_at) where metered_at is not null;

-- Workers, as they declared themselves (WK-2).
create table jobs_worker (
    id uuid primary key,
    name text not null,
    host text not null,
    device text not null,
    memory_bytes bigint,
    code_version text not null,
    engine integer not null,
    labels jsonb not null,
    draining boolean not null,
    drain_reason text,
    registered_at timestamptz not null,
    ended_at timestamptz,
    how text,
    position bigint not null
);
create index jobs_worker_there on jobs_worker (name) where ended_at is null;

-- Owned by workers::beats: which worker is alive. Liveness only, by the database's clock; rows may be lost at
-- any time, and a worker that finds its row lost writes it again.
create table jobs_worker_beat (
    worker_id uuid primary key,
    beat_at timestamptz not null,
    expires_at timestamptz not null
) with (fillfactor = 50);
