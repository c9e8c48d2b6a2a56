//! What programs hand over that have CUDA resources of their own: streams, allocators, memory.
//!
//! | to share with another library | by |
//! |---|---|
//! | its stream | [`CallersStream`], [`Device::with_stream`](crate::Device::with_stream) |
//! | its memory | [`Allocator`], [`Device::with_allocator`](crate::Device::with_allocator) |
//! | its tensors | [`ForeignMemory`], [`Tensor::from_foreign`](crate::Tensor::from_foreign) |
//! | its coordinates | [`ForeignMemory`], [`Voxels::from_foreign`](crate::Voxels::from_foreign) |
//!
//! What cannot be checked is promised where each of these is made, in `unsafe` code of the
//! program's.

pub use voxtune_cuda::{Allocator, CUstream, CallersStream, CudaError, ForeignMemory};
