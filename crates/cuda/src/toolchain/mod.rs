//! From kernel sources to cubins: finding nvcc, running it, remembering what it made.

mod compile;
mod content;
mod cubin;
mod find;

pub use compile::{Compiled, Progress, find_compiled};
pub use find::Toolchain;
