//! How voxtune opens, locks and syncs files that other programs can reach.
//!
//! | question | module |
//! |---|---|
//! | does anything else lie in its place, such as a pipe that never ends? | [`regular`] |
//! | who writes now? | [`lock`] |
//! | does a rename outlive a loss of power? | [`sync`] |
#![forbid(unsafe_code)]

pub mod lock;
pub mod regular;
pub mod sync;

pub use lock::{FileLock, HeldLock, LockError, lock_open_file};
pub use regular::{
    NotRegular, append, open, read, read_argument, read_argument_to_string, read_to_string,
};
pub use sync::sync_folder;
