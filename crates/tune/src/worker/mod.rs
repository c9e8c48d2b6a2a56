//! Candidates in a process of their own.
//!
//! ```text
//! supervisor (decides, writes files)          worker (opens the device, runs candidates)
//!     │  open, begin, prepare, measure ──────────▶ │
//!     │ ◀── "candidate 3 runs, for 10 s at most" ──│
//!     │ ◀────────────────── entries, measurements ─│
//! ```
//!
//! A candidate that reads where it must not, that never returns, or that ends its process takes the
//! worker down and nothing else. The supervisor knows its name, because it was announced, and
//! quarantines it. Then it starts the worker anew and measures the rest of the entry without the
//! candidate. One worker serves a whole run: starting it is paid once, and again after each
//! failure.
//!
//! The worker is the very program that runs the tuner, unless [`DeviceSpec::worker`] names another
//! one. So that it knows what to be, the first line of `main` asks it:
//!
//! ```
//! voxtune_tune::worker::serve_if_asked();
//! // From here on, this is the program that its user started.
//! ```
//!
//! A program with algorithms of its own opens its device in [`serve_if_asked_with`], so that the
//! worker has them too.

mod calls;
pub mod executor;
mod exit_status;
pub mod failure;
mod process;
mod protocol;
mod server;
mod spec;
mod vitals;
mod watchdog;

use voxtune::{Device, DeviceError};

pub use failure::WorkerError;
pub use process::{Opened, Worker};
pub use spec::DeviceSpec;

/// The variable that asks a program to be a worker.
const ASKED: &str = "VOXTUNE_TUNE_WORKER";

/// Serves as a worker, if this process was started as one, and then ends it. Otherwise nothing
/// happens. To be called before anything else.
pub fn serve_if_asked() {
    serve_if_asked_with(DeviceSpec::open);
}

/// [`serve_if_asked`] with a device of the program's own making, such as one with more algorithms.
/// The second value says why the device is not what was asked for, where it is not.
pub fn serve_if_asked_with(
    open: impl FnOnce(&DeviceSpec) -> Result<(Device, Option<String>), DeviceError>,
) {
    if std::env::var_os(ASKED).is_some() {
        server::serve(open);
    }
}
