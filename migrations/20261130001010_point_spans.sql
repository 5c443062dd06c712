-- Owned by projections::jobs: which jobs waited, or were under way, at a moment. A span is the point of its ends, and those
-- that hold a moment lie in a quarter of the plane; so asked, the index is sorted when it is made, which takes a sixth of the
-- time of one of ranges.
drop index jobs_job_history_waiting;
drop index jobs_job_history_under_way;
create index jobs_job_history_waiting on jobs_job_history
    using gist (point(valid_from::float8, coalesce(valid_to::float8, 'Infinity'::float8))) where state = 'queued';
create index jobs_job_history_under_way on jobs_job_history
    using gist (point(valid_from::float8, coalesce(valid_to::float8, 'Infinity'::float8)))
    where state in ('starting', 'running');

-- Nothing is chosen by what these hold, so the planner needs to know nothing of it.
alter table jobs_job
    alter column spec set statistics 0, alter column terms set statistics 0,
    alter column attempts set statistics 0, alter column metrics set statistics 0;
alter table jobs_job_history
    alter column spec set statistics 0, alter column terms set statistics 0,
    alter column attempts set statistics 0, alter column metrics set statistics 0;
