-- Owned by projections::identity::erasure.
create table identity_erasure (
    id           uuid primary key,
    position     bigint not null,
    reason       text not null,
    requested_at timestamptz not null,
    requested_by text not null,
    receipt      jsonb,
    completed_at timestamptz
);
create index identity_erasure_position on identity_erasure (position);
create index identity_erasure_open on identity_erasure (position) where completed_at is null;
