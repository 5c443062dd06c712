//! The HTTP interface as a whole: which routes there are, what clients get of each in which coding and when they ask
//! wrongly, and what it measures.

mod codings;
mod problems;
mod routes;
mod samples;
mod upkeep;
