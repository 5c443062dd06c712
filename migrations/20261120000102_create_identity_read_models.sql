-- Owned by projections::identity.
create table identity_user (
    id uuid primary key,
    username text not null,
    email text not null,
    first_name text,
    last_name text,
    organization_id uuid,
    department text,
    account text not null,
    verified boolean not null,
    deactivated boolean not null,
    created_at timestamptz not null
);
create index identity_user_organization on identity_user (organization_id);

create table identity_session (
    id uuid primary key,
    user_id uuid not null,
    device text,
    address text,
    created_at timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz not null,
    revoked boolean not null
);
create index identity_session_user on identity_session (user_id);
