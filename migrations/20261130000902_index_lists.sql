-- Owned by projections::read_model: what lists go by when they are ordered by name, or filtered by what things are in
-- or made of. Each part of a scope finds the first rows of a page by one of these, however many things others have.
drop index sharing_party_party;
create index sharing_party_of on sharing_party (kind, id, resource) where not revoked;
create index projects_project_owner_name on projects_project (owner_id, name, id);
create index projects_project_name on projects_project (name, id);
create index projects_experiment_project_name on projects_experiment (project_id, name, id);
create index projects_experiment_name on projects_experiment (name, id);
create index datasets_dataset_owner_name on datasets_dataset (owner_id, name, id);
create index datasets_dataset_name on datasets_dataset (name, id);
create index datasets_dataset_public_name on datasets_dataset (name, id) where visibility = 'public';
create index models_model_owner_name on models_model (owner_id, name, id);
create index models_model_name on models_model (name, id);
create index models_model_public_name on models_model (name, id) where visibility = 'public';
create index identity_user_username on identity_user (username, id);
-- None of these holds a column that changes while a job runs, so reports of its progress still touch no index.
create index jobs_job_owner_name on jobs_job (owner_id, name, id);
create index jobs_job_name on jobs_job (name, id);
create index jobs_job_owner_priority on jobs_job (owner_id, priority, id);
create index jobs_job_dataset on jobs_job (dataset_id, id);
create index jobs_job_base_model on jobs_job (base_model_id, id) where base_model_id is not null;
create index jobs_job_model on jobs_job (model_id);
