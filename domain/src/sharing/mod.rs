//! Who has access to what: the access lists of models, projects and datasets.

pub mod access_list;
pub mod grant;
