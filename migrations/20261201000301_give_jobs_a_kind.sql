-- Owned by projections::jobs: jobs have a kind (adr 0036). What only a training has may be absent.
do $$
declare
    kept text;
begin
    foreach kept in array array['jobs_job', 'jobs_job_history'] loop
        execute format('alter table %I '
            'add kind text not null default ''training'', '
            'add import jsonb, '
            'alter column project_id drop not null, '
            'alter column experiment_id drop not null, '
            'alter column spec drop not null, '
            'alter column dataset_id drop not null, '
            'alter column dataset_version drop not null', kept);
        execute format('alter table %I alter column import set statistics 0', kept);
    end loop;
end
$$;
alter table jobs_job add imported_bytes bigint;
alter table jobs_job_history_dense add imported_bytes bigint;
create index jobs_job_kind on jobs_job (kind, id);

-- What a worker takes.
alter table jobs_worker add kinds jsonb not null default '["training"]';
alter table jobs_worker_history add kinds jsonb not null default '["training"]';
