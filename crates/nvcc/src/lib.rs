//! Compiling the CUDA kernels of voxtune: for programs that tune.
//!
//! | idea | item |
//! |---|---|
//! | nvcc, found and probed; instances become cubins | [`Toolchain`], [`Progress`] |
//! | nvcc as what the runtime asks for kernels that a folder lacks | [`Nvcc`] |
//! | nvcc where there is none, from NVIDIA's wheels | [`cuda_toolkit`] |
//!
//! Programs that only run networks do not need this crate: they run what packs and folders hold.
#![forbid(unsafe_code)]

mod compile;
mod compile_lock;
mod compiler;
pub mod cuda_toolkit;
mod expected;
mod find;
mod inspect;
mod io;
mod ptxas;
mod sass;
mod sources;

pub use compile::Progress;
pub use compiler::Nvcc;
pub use find::Toolchain;
