//! What work runs in: a stream, where memory comes from, and who may still be using it.
//!
//! | idea | type |
//! |---|---|
//! | a stream, ours or the caller's, and its capture state | [`Queue`], [`CallersStream`] |
//! | where memory comes from and goes | [`Allocator`], [`StreamOrdered`], [`ForeignMemory`] |
//! | how much of it is taken | [`Tally`], [`MemoryUse`] |
//! | memory, and the other streams that read it | [`Allocation`] |
//! | what a graph that is being recorded uses, so that it stays | [`Held`] |
//!
//! A [`CudaDevice`](crate::CudaDevice) is a handle of a device and of one of these contexts.
//! Buffers and kernels keep the handle that they were made with, so every launch has its context,
//! and none can end up in another one.

mod allocation;
mod allocator;
mod foreign;
mod queue;
mod tally;

pub(crate) use allocation::{Allocation, OrderedStream};
pub use allocator::Allocator;
pub(crate) use allocator::StreamOrdered;
pub use foreign::ForeignMemory;
pub use queue::CallersStream;
pub(crate) use queue::{Held, Queue};
pub use tally::MemoryUse;
pub(crate) use tally::{Tallied, Tally};

#[cfg(test)]
mod tests;
