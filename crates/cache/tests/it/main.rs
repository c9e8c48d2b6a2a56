//! The cache files through the crate's public interface.

mod audit;
mod conflicts;
mod damage;
mod decide;
mod fixtures;
mod format;
mod lookup;
mod merge;
mod partial;
mod places;
mod samples;
mod shipped;
mod store;
mod strategies;
