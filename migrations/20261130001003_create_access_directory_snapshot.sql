-- Owned by projections::access::directory: what the directory had folded at a position of the log, so that a start folds
-- only what came after. Derived: every row may be thrown away. The newest two of a version are kept.
create table access_directory_snapshot (
    number     bigint generated always as identity primary key,
    -- Of the fold and of the form of the content.
    version    integer not null,
    position   bigint not null check (position > 0),
    -- The hash of the log's chain at this position.
    chain      bytea not null check (octet_length(chain) = 32),
    -- HMAC-SHA256 over all of it, by a key that the database does not have.
    code       bytea not null check (octet_length(code) = 32),
    content    bytea not null,
    written_at timestamptz not null default clock_timestamp()
);

-- It is read whole and seldom: compressing it costs more than the room.
alter table access_directory_snapshot alter column content set storage external;

comment on table access_directory_snapshot is 'What access decisions are made from, as of a position of the log. Ids only; used when code and chain fit.';
