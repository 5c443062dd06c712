-- Owned by projections::projects.
create table projects_project (
    id uuid primary key,
    owner_id uuid not null,
    name text not null,
    description text not null,
    created_at timestamptz not null,
    experiments integer not null
);
create index projects_project_owner on projects_project (owner_id, id);

create table projects_experiment (
    id uuid primary key,
    project_id uuid not null,
    created_by uuid not null,
    name text not null,
    description text not null,
    created_at timestamptz not null
);
create index projects_experiment_project on projects_experiment (project_id, id);
