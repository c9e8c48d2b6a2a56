//! Integration tests of voxtune: the command line, the files it leaves behind, and what the runtime
//! makes of them. Only public APIs, never the workspace's own `caches/`.
//!
//! Tests that need a GPU or a scan are left out where there is none, and counted. With
//! `VOXTUNE_REQUIRE_GPU=1` a missing GPU is a failure. `VOXTUNE_SCAN` names the scan file.
//!
//! Tests of chance try a few times. `VOXTUNE_KILLS` and `VOXTUNE_MERGES` say how often instead, and
//! `VOXTUNE_PROGRAM` names another build of the command line for it: `VOXTUNE_KILLS=200
//! VOXTUNE_MERGES=1000 VOXTUNE_PROGRAM=target/release/xtask cargo test -p voxtune-tests --test
//! integration lose`.
//!
//! The program of these tests is also the worker that some of them start.
#![deny(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the test runner reports what it left out")]

mod bad_input;
mod benching;
mod command;
mod compiled;
mod concurrency;
mod contexts;
mod crate_table;
mod damaged_files;
mod device_pool;
mod dispatch;
mod distributing;
mod downstream;
mod explaining;
mod faulty;
mod features;
#[cfg(unix)]
mod files;
mod fixtures;
mod frames;
mod gpu;
mod gpu_faults;
mod injected;
mod interruption;
mod lent;
mod listing;
mod missing;
mod module_table;
mod outputs;
mod outside;
mod partial_runs;
mod pitch;
mod points;
mod populating;
mod scan;
mod stopped;
mod strided;
mod suite;
mod training;
mod verifying;
mod worker;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    voxtune_tune::worker::serve_if_asked_with(faulty::open);
    let mut suite = suite::Suite::default();
    bad_input::add(&mut suite);
    benching::add(&mut suite);
    concurrency::add(&mut suite);
    contexts::add(&mut suite);
    crate_table::add(&mut suite);
    device_pool::add(&mut suite);
    damaged_files::add(&mut suite);
    dispatch::add(&mut suite);
    distributing::add(&mut suite);
    downstream::add(&mut suite);
    explaining::add(&mut suite);
    features::add(&mut suite);
    #[cfg(unix)]
    files::add(&mut suite);
    frames::add(&mut suite);
    compiled::add(&mut suite);
    gpu::add(&mut suite);
    gpu_faults::add(&mut suite);
    injected::add(&mut suite);
    interruption::add(&mut suite);
    lent::add(&mut suite);
    listing::add(&mut suite);
    missing::add(&mut suite);
    module_table::add(&mut suite);
    outside::add(&mut suite);
    outputs::add(&mut suite);
    partial_runs::add(&mut suite);
    pitch::add(&mut suite);
    points::add(&mut suite);
    populating::add(&mut suite);
    scan::add(&mut suite);
    stopped::add(&mut suite);
    fixtures::add(&mut suite);
    strided::add(&mut suite);
    training::add(&mut suite);
    worker::add(&mut suite);
    verifying::add(&mut suite);
    let left_out = suite.left_out();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), suite.into_trials());
    println!("{left_out}");
    conclusion.exit_code()
}
