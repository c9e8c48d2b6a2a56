//! Checks and benches every kernel on the GPU in front of it, for machines without Rust.
//!
//! One binary, which brings the kernel sources along; it needs a driver, nvcc and a C++ compiler.
//!
//! ```text
//! gpu_check check [--quick]            every algorithm against float64, adversarial shapes, the
//! kernel map against the host's gpu_check bench --clouds FOLDER      times on clouds:
//! FOLDER/<name>.i32 holds little-endian int32 (x, y, z) triples
//! ```
//! Under `compute-sanitizer` use `check --quick`. Exit status 1 if anything failed.
#![expect(clippy::print_stdout, reason = "a program that reports on its standard output")]

mod bench;
mod check;
mod data;
mod kernels;
mod map_check;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use voxtune_cuda::{CudaDevice, Toolchain};

#[derive(Parser)]
struct Arguments {
    /// Device to use.
    #[arg(long, default_value_t = 0, global = true)]
    ordinal: usize,
    /// Folder of compiled instances.
    #[arg(long, default_value = "cubins", global = true)]
    cubins: PathBuf,
    /// Folder made by `cargo xtask cuda-toolkit`.
    #[arg(long, global = true)]
    toolkit: Option<PathBuf>,
    /// Calls of nvcc at a time.
    #[arg(long, default_value_t = 16, global = true)]
    jobs: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check every algorithm.
    Check(check::Options),
    /// Time the algorithms on clouds.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn run() -> Result<bool, Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let device = CudaDevice::open(arguments.ordinal)?;
    let toolchain = Toolchain::find(arguments.toolkit.as_deref())?;
    println!(
        "{}, driver {}, nvcc {:?}",
        device.identity(),
        device.driver_version(),
        toolchain.release()
    );
    let kernels = kernels::Kernels::new(device, toolchain, arguments.cubins, arguments.jobs);
    match arguments.command {
        Command::Check(options) => check::run(kernels, &options),
        Command::Bench(options) => bench::run(kernels, &options),
    }
}
