//! The HTTP interface as a whole: which routes there are, and what clients get of each in which coding.

mod codings;
mod routes;
mod samples;
