-- Owned by projections::sharing: who has which part in which thing, until when, and by whom.
create table sharing_party (
    entry text primary key,
    resource uuid not null,
    kind text not null,
    id uuid not null,
    role text not null,
    until timestamptz,
    by uuid not null,
    granted_at timestamptz not null,
    revoked boolean not null
);
create index sharing_party_party on sharing_party (id) where not revoked;
create index sharing_party_resource on sharing_party (resource) where not revoked;
select create_history('sharing_party', 'entry', '{}', array['resource']);

-- What clients read has a past.
select create_history('models_model', 'id', '{}', array['owner_id, id']);
select create_history('datasets_dataset', 'id', '{}', array['owner_id, id']);
select create_history('identity_user', 'id', '{}', '{}');
select create_history('identity_session', 'id', '{}', array['user_id']);
select create_history('identity_erasure', 'id', '{}', '{}');
select create_history('jobs_worker', 'id', '{}', '{}');

-- Rows that never change: their past is what was added by then.
alter table models_version add position bigint not null default 0;
alter table datasets_version add position bigint not null default 0;

-- Public things, newest first.
create index models_model_public on models_model (id) where visibility = 'public';
create index datasets_dataset_public on datasets_dataset (id) where visibility = 'public';
