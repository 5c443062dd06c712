-- Owned by workers::queue: which worker is alive with which attempt. Liveness only: what an attempt may
-- write is decided by its number in the log. Rows may be lost at any time; a lost row is a lost worker.
create table jobs_lease (
    job_id uuid primary key,
    attempt integer not null,
    worker_id uuid not null,
    worker_name text not null,
    expires_at timestamptz not null,
    beat_at timestamptz not null
) with (fillfactor = 50);
