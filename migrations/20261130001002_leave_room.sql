-- Owned by projections::read_model: rows that change stay on their pages, so that their indexes are left alone. A job is
-- told of every few seconds, and five of them fill a page.
alter table jobs_job set (fillfactor = 50);
alter table access_usage set (fillfactor = 50);
alter table projects_project set (fillfactor = 85);
