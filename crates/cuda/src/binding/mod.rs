//! The driver's interface: cudarc's, or that of a program that is built without CUDA.

#[cfg(not(feature = "driver"))]
mod absent;

#[cfg(not(feature = "driver"))]
pub use absent::driver::sys::CUstream;
#[cfg(not(feature = "driver"))]
pub(crate) use absent::{cublas, driver};

#[cfg(feature = "driver")]
pub use cudarc::driver::sys::CUstream;
#[cfg(feature = "driver")]
pub(crate) use cudarc::{cublas, driver};

/// Whether this program can call a driver at all.
pub(crate) const IS_BUILT: bool = cfg!(feature = "driver");
