//! Compiled kernels: what they are, how their files are named, and where a folder has them.
//!
//! Nothing here compiles. A compiler implements [`KernelCompiler`]; without one a program runs
//! what packs and folders hold.

mod compiled;
mod compiler;
mod content;
mod cubin;
mod folder;
mod source_hashes;

pub use compiled::{Code, Compiled};
pub use compiler::KernelCompiler;
pub use content::{
    DECLARATION, hash_fields, hash_of_files, is_declaration, source_hash, source_hash_of,
};
pub use folder::{CompilerId, file_name, find_compiled, instance_args};
