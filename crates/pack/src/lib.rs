//! Kernel packs: the compiled kernels of one architecture in one small file.
//!
//! ```text
//! encode(Header, [(Kernel, code)]) ─> <arch>.kernels ─> Pack::decode ─> find ─> read ─> code
//! ```
//!
//! A pack knows kernels as sources with defines and their code as bytes; `voxtune-cuda` knows what
//! they compute. The bytes are drawn in `docs/reference/kernel-packs.md`. Reading takes no C and no
//! CUDA; writing is behind the feature `encode`.
#![forbid(unsafe_code)]

mod block;
#[cfg(any(feature = "encode", test))]
mod encode;
mod error;
mod index;
mod pack;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "encode", test))]
pub use encode::encode;
pub use error::PackError;
pub use index::{Header, Kernel};
pub use pack::Pack;

/// The target of a pack whose code is PTX.
pub const PTX: &str = "ptx";

/// The ending of a pack's file name.
pub const EXTENSION: &str = "kernels";
