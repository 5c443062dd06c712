-- Owned by projections::jobs: since when a job waits, by which its priority ages (JB-6).
alter table jobs_job add waiting_since timestamptz not null default now();
alter table jobs_job_history add waiting_since timestamptz not null default now();
