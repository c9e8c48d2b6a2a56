//! The cache files of voxtune: format, lock, atomic store, merge and lookup.
//!
//! ```text
//! Record ─insert─> Evidence ─decide─> Decisions ─> <arch>.msgpack ─> Table ─> Decision
//!                     └─> <arch>.evidence.msgpack
//! ```
//!
//! | idea | type |
//! |---|---|
//! | what was measured | [`EntryKey`]: a device, a key and a [`Workload`] |
//! | what came of it, for one algorithm | [`Record`] with its [`Outcome`] |
//! | all of that, a set that merges by union | [`Evidence`] |
//! | what follows from it, and from nothing else | [`decide()`], [`Decisions`] |
//! | whether the two agree | [`audit()`] |
//! | what a merge leaves out | [`conflicts`] |
//! | the folder with the files; every write | [`CacheDir`] |
//! | lookup for resolution | [`Table`] |
//!
//! The bytes are drawn in `docs/reference/cache-files.md`. They are decoded in one place and
//! written in one place, and a file that cannot be read is never overwritten. It is renamed or left
//! alone, and a [`CacheError`] says which, why and what to do.
#![forbid(unsafe_code)]

pub mod audit;
pub mod codec;
mod columns;
pub mod conflict;
pub mod decide;
pub mod decision;
mod decision_file;
pub mod entry;
mod envelope;
pub mod error;
pub mod evidence;
mod evidence_file;
pub mod file_name;
mod intern;
pub mod invalid;
mod link;
mod lock;
mod operation_file;
mod packed_key;
pub mod record;
#[cfg(feature = "write")]
mod replace;
pub mod store;
pub mod table;
pub mod timing;
mod together;

pub use audit::{Inconsistency, audit, rederive};
pub use codec::{
    decode_decisions, decode_evidence, encode_decisions, encode_evidence, file_version,
};
pub use conflict::{Conflict, Rule, conflicts};
pub use decide::{Distance, decide, decide_key, distance, significantly_beaten};
pub use decision::{Decision, DecisionRef, Decisions};
pub use entry::{EntryKey, Workload};
pub use error::CacheError;
pub use evidence::{Evidence, Records};
pub use file_name::{FileKind, FileName};
pub use invalid::InvalidRecord;
pub use record::{Environment, KernelHash, Outcome, Reason, Record, Requirement};
#[cfg(feature = "write")]
pub use replace::replace;
pub use store::{CacheDir, read_file};
#[cfg(feature = "write")]
pub use store::{SetAside, Update, create_folder};
pub use table::{DecisionId, DeviceId, Table};
pub use timing::{Charge, Interval, Timing};
