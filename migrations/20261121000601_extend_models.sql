-- Owned by projections::models: the base with an adapter merged into it, where a job was asked for it (MO-3).
alter table models_version add merged jsonb;
