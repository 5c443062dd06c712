-- Owned by projections::audit: nothing asks for what is inside a payload, so it is kept as it was recorded, unparsed.
alter table audit_entry alter column data type json using data::text::json;
-- The beginning of audit_entry_at_position.
drop index audit_entry_at;
