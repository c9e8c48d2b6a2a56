//! The tuner: from a grid of shapes to evidence and decisions.
//!
//! ```text
//! Request ─> Plan ─> per configuration: prepare ─> select ─> verify ─> race ─> records ─> commit
//!                                            └───────── in a worker ──────────────┘
//! ```
//!
//! | level | holds | folder |
//! |---|---|---|
//! | 1 | clouds, operands, candidates; the announcement of what runs | [`inputs`] |
//! | 2 | which configurations over which clouds, and this machine's part of them | [`plan`] |
//! | 3 | right or wrong, by the worst element | [`verify`] |
//! | 4 | who is fastest, in interleaved rounds | [`race`] |
//! | 5 | which candidates are measured; what new results do to stored ones | [`evidence`] |
//! | 6 | one entry, verified and raced on a device | [`measure`] |
//! | 7 | that in a process of its own, or in this one | [`worker`] |
//! | 8 | the whole run on one device or several; a key measured while a program runs | [`run`] |
//!
//! A folder imports only from folders above it in this table; a test holds that.
//!
//! The tuner calls the runtime's registry and nothing else, on a device that it is given. It reads
//! no cache to decide what to run, so a bad cache cannot stop it.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use std::time::Duration;
//!
//! use voxtune_cache::CacheDir;
//! use voxtune_tune::{
//!     DeviceSpec, Event, Executor, Observer, Plan, Populate, Preset, Request, Worker,
//! };
//!
//! struct Silent;
//!
//! impl Observer for Silent {
//!     fn event(&mut self, _: &Event) {}
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // This program may have been started as its own worker.
//!     voxtune_tune::worker::serve_if_asked();
//!     let request = Request::new(Preset::Quick.grid());
//!     let plan = Plan::new(&request)?;
//!     let mut executor = Executor::from(Worker::start(&DeviceSpec::default())?);
//!     let populate = Populate {
//!         plan: &plan,
//!         request: &request,
//!         cache: &CacheDir::new("caches"),
//!         lock_wait: Duration::from_secs(30),
//!         interrupt: &AtomicBool::new(false),
//!     };
//!     let summary = populate.run(&mut executor, &mut Silent)?;
//!     println!("measured {} of {}", summary.measured, summary.requested);
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

pub mod evidence;
pub mod inputs;
pub mod measure;
pub mod plan;
pub mod race;
pub mod run;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;
pub mod worker;

pub use plan::expand::{Plan, PlanError, Remeasure, Request};
pub use plan::grid::{Configuration, Grid, GridOverrides};
pub use plan::presets::Preset;
pub use plan::protocol::Protocol;
pub use run::device_pool::{DevicePool, Gpus};
pub use run::event::{Event, Observer, Outcome, Summary};
pub use run::on_miss::TuneNow;
pub use run::populate::Populate;
pub use worker::executor::Executor;
pub use worker::{DeviceSpec, Worker};
