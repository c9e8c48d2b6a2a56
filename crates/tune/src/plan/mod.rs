//! What a run measures: which configurations, over which clouds.

pub mod expand;
pub mod job;
pub mod partition;
pub mod shape_file;
