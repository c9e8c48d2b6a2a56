//! From kernel sources to cubins: finding nvcc, running it, remembering what it made.

mod compile;
mod content;
mod cubin;
mod expected;
mod find;
mod inspect;
mod ptxas;
mod turn;

pub use compile::{Code, Compiled, Progress, find_compiled, source_hash};
pub use find::Toolchain;
