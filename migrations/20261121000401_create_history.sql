-- Owned by projections::history: the past of read models that declare it (AU-4).

-- Makes the tables that hold the past of `read_model`:
--
-- * `<read_model>_history`: its columns, one row per version. A version holds from the event at `valid_from`
--   to before the event at `valid_to`; without `valid_to` it is the present one.
-- * `<read_model>_history_dense`, when `dense` names columns that change far more often than the others:
--   those columns, one row per change of any of them, valid until the next row of the same key.
--
-- `lookups` are the lists of columns that questions about the past go by, each as text: 'owner_id, id'.
create function create_history(read_model text, key text, dense text[], lookups text[]) returns void
language plpgsql as $$
declare
    kept text := read_model || '_history';
    often text := read_model || '_history_dense';
    col name;
    lookup text;
    number integer := 0;
begin
    execute format('create table %I (like %I)', kept, read_model);
    foreach col in array dense loop
        execute format('alter table %I drop column %I', kept, col);
    end loop;
    execute format('alter table %I add valid_from bigint not null, add valid_to bigint, '
        'add valid_from_at timestamptz not null, add primary key (%I, valid_from), '
        'add check (valid_to > valid_from)', kept, key);
    -- The end of a version is written later: room for that beside it, and no index of that column.
    execute format('alter table %I set (fillfactor = 85)', kept);
    -- Named so short that a rebuild can put its own ending behind.
    foreach lookup in array lookups loop
        number := number + 1;
        execute format('create index %I on %I (%s, valid_from)', kept || '_by_' || number, kept, lookup);
    end loop;

    if cardinality(dense) > 0 then
        execute format('create table %I (like %I)', often, read_model);
        for col in
            select attname from pg_attribute
            where attrelid = often::regclass and attnum > 0 and not attisdropped
              and attname <> key and attname <> all(dense)
        loop
            execute format('alter table %I drop column %I', often, col);
        end loop;
        execute format('alter table %I add valid_from bigint not null, '
            'add valid_from_at timestamptz not null, add primary key (%I, valid_from)', often, key);
    end if;
end
$$;

-- The last event recorded at or before a time, among many of the same microsecond.
create index audit_entry_at_position on audit_entry (at, position);
