//! Commands that look at kernels and layers without tuning.
//!
//! [`check`] compares every kernel of a GPU with what is known to be right, [`fixtures`] layers and
//! networks with what other libraries computed. [`mod@bench`] times layers beside what the device
//! could do, and [`frames`] whole networks. They share [`named_cloud`], [`cuda_kernels`] and the
//! tables of reports, [`mod@table`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod check;
pub mod cuda_kernels;
pub mod fixtures;
pub mod frames;
pub mod named_cloud;
pub mod table;
