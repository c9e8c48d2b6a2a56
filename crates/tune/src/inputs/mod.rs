//! What a candidate runs on, and the announcement that it runs. Knows nothing of plans or caches.
//!
//! | file | holds |
//! |---|---|
//! | [`planned_cloud`] | a cloud of known size, before it is made |
//! | [`cloud_setup`] | a cloud on the device with its kernel map |
//! | [`operands`] | tensors of a call, in memory that is used again |
//! | [`candidate`] | an algorithm with the version of its code |
//! | [`monitor`] | who is told what runs, and time limits |
//! | [`bytes`] | amounts of memory as text |

pub mod bytes;
pub mod candidate;
pub mod cloud_setup;
pub mod monitor;
pub mod operands;
pub mod planned_cloud;
