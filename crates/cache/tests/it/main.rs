//! The cache files through the crate's public interface.

mod decide;
mod fixtures;
mod format;
mod lookup;
mod merge;
mod samples;
mod store;
mod strategies;
