-- Owned by projections::identity and projections::jobs: how many events have been recorded about each account, job and
-- worker, so that an update can say which version it expects (GQ-2).
alter table identity_user add version integer not null default 0;
alter table jobs_job add version integer not null default 0;
alter table jobs_job_history_dense add version integer not null default 0;
alter table jobs_worker add version integer not null default 0;
