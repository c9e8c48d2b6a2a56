//! Kernel map and sparse convolution on the host: the float64 reference and the fast backend.
//!
//! A [`KernelMap`] lists, for each offset of a kernel, which input rows meet which output rows. An
//! [`Algorithm`] computes one direction of a convolution over it, from [`Operands`] in host memory:
//!
//! ```text
//! voxels ─> KernelMap ─┐
//!                      ├─> Algorithm::run ─> output
//! features, weights ───┘        │
//!                               └── explicit_gemm | implicit_gemm | grouped ─> simd
//! ```
//!
//! | idea | where |
//! |---|---|
//! | which rows meet | [`kernel_map`] |
//! | buffers of a storage type | [`elements`] |
//! | the list of kernels, their names and the checks before a run | [`algorithm`] |
//! | what layers do beside convolutions | [`ops`] |
//! | voxels of points | [`points`] |
//! | float64 results to compare against | [`reference`](mod@reference) |
//! | what processor this is | [`isa`](mod@isa) |
//!
//! Everything runs on rayon's current pool. Work is split by sizes alone, never by the number of
//! threads, so results are the same bits on any number of them.
#![deny(unsafe_code)]

pub mod algorithm;
mod chunks;
pub mod elements;
mod epilogue;
mod error;
mod explicit_gemm;
mod family;
mod grouped;
mod implicit_gemm;
pub mod isa;
pub mod kernel_map;
pub mod ops;
pub mod points;
pub mod reference;
#[cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "vector instructions work on raw pointers and need detected features"
    )
)]
mod simd;
mod wgrad_split;
#[expect(unsafe_code, reason = "no safe allocation is zeroed by the system and can fail")]
mod zeroed;

pub use algorithm::{Algorithm, Operands, algorithms, default_algorithm};
pub use elements::{Elements, ElementsMut, HostBuffer, NoMemory};
pub use epilogue::Epilogue;
pub use error::RunError;
pub use isa::{identity, isa};
pub use kernel_map::{
    KernelMap, KernelMapError, MapView, Pair, check_distinct, downsampled, layer_outputs,
};

#[cfg(test)]
mod tests;
