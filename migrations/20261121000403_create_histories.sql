-- Owned by projections::history: the read models whose past can be asked for.
select create_history('access_role', 'name', '{}', '{}');
select create_history('access_assignment', 'id', '{}', array['user_id', 'role']);
select create_history('access_account', 'id', '{}', '{}');
select create_history('access_usage', 'id',
    array['projects', 'datasets', 'concurrent_jobs', 'storage_bytes'], '{}');
select create_history('projects_project', 'id', array['experiments'], array['owner_id, id']);
select create_history('projects_experiment', 'id', '{}', array['project_id, id']);
select create_history('jobs_job', 'id',
    array['step', 'loss', 'evaluation_loss', 'tokens_per_second', 'eta_seconds', 'checkpoint_step', 'position'],
    array['owner_id, id', 'experiment_id, id']);

-- Which jobs waited at a moment: few at any time, among all that ever did.
create index jobs_job_history_waiting on jobs_job_history
    using gist (int8range(valid_from, valid_to)) where state = 'queued';
