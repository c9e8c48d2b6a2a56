//! What a candidate runs on, and the announcement that it runs. Knows nothing of plans or caches.
//!
//! | file | holds |
//! |---|---|
//! | [`planned_cloud`] | a cloud of known size, before it is made |
//! | [`cloud_reference`] | the same as another process is told of it |
//! | [`generated_cells`] | cells of generated clouds, kept for the configurations that share one |
//! | [`cloud_setup`] | a cloud on the device with its kernel map |
//! | [`operands`] | tensors of a call, in memory that is used again |
//! | [`candidate`] | an algorithm with the version of its code |
//! | [`readers`] | how many layers share what is made of a kernel map |
//! | [`entry`] | what candidates compute, on which device and over which cloud |
//! | [`monitor`] | announcements of what runs, and time limits |
//! | [`error`] | why a measurement has no result |
//! | [`memory`] | what is said where there is too little memory |

pub mod candidate;
pub mod cloud_reference;
pub mod cloud_setup;
pub mod entry;
pub mod error;
pub mod generated_cells;
pub mod memory;
pub mod monitor;
pub mod operands;
pub mod planned_cloud;
pub mod readers;
