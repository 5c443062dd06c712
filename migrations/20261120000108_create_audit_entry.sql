-- Owned by projections::audit.
create table audit_entry (
    position bigint primary key,
    event_id uuid not null,
    at timestamptz not null,
    kind text collate "C" not null,
    context text not null,
    stream text collate "C" not null,
    revision bigint not null,
    outcome text not null,
    actor text collate "C" not null,
    organization text,
    session text,
    request_id text,
    address text,
    user_agent text,
    subject text collate "C" not null,
    data jsonb not null
);
create index audit_entry_actor on audit_entry (actor, position);
create index audit_entry_kind on audit_entry (kind, position);
create index audit_entry_subject on audit_entry (subject, position);
create index audit_entry_at on audit_entry (at);
