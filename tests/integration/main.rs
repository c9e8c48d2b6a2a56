//! Integration tests of voxtune: the command line, the files it leaves behind, and what the runtime
//! makes of them. Only public APIs, never the workspace's own `caches/`.
//!
//! Tests that need a GPU or a scan are ignored, see [`needs`]. Tests of chance try a few times, as
//! often as `VOXTUNE_KILLS` and `VOXTUNE_MERGES` say; `.ci/kills` runs them for long.
#![deny(unsafe_code)]
#![expect(clippy::print_stdout, reason = "some tests say what they found, or how often they tried")]

mod bad_input;
mod benching;
mod charges;
mod command;
mod compiled;
mod concurrency;
mod contexts;
mod crate_table;
mod damaged_files;
mod device_pool;
mod distributing;
mod documents;
mod downstream;
mod explaining;
mod faulty;
mod features;
#[cfg(unix)]
mod files;
mod fixtures;
mod frames;
mod from_warpconvnet;
mod gpu;
mod gpu_faults;
mod injected;
mod interruption;
mod lent;
mod listing;
mod missing;
mod module_table;
mod needs;
mod outputs;
mod outside;
mod pages;
mod partial_runs;
mod pitch;
mod points;
mod populating;
mod reporting;
mod resolving;
mod scan;
mod stopped;
mod strided;
mod training;
mod verifying;
mod worker;
