-- Owned by projections::access.
create table access_role (
    name text primary key,
    description text not null,
    permissions jsonb not null,
    quotas jsonb not null,
    may_grant jsonb not null
);

create table access_assignment (
    id text primary key,
    user_id uuid not null,
    role text not null,
    granted_at timestamptz not null,
    granted_by text not null,
    reason text not null,
    active boolean not null
);
create index access_assignment_user on access_assignment (user_id);
