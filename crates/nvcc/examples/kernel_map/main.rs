//! Times kernel maps on the GPU in front of it, and checks every part of them against plain code.
//!
//! One binary, which brings the kernel sources along; it needs a driver, nvcc and a C++ compiler.
//!
//! ```text
//! kernel_map check                     tables, masks, pair lists, sort keys, duplicates
//! kernel_map check --most-rows 5000    the same under compute-sanitizer
//! kernel_map time --clouds FOLDER      <name>.i32 holds little-endian int32 (x, y, z) triples
//! ```
//! Exit status 1 if anything differs.
#![expect(clippy::print_stdout, reason = "a program that reports on its standard output")]

mod check;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use voxtune_cuda::{CudaDevice, Instance, MapBuilder};
use voxtune_nvcc::Toolchain;

#[derive(Parser)]
struct Arguments {
    /// Folder of compiled instances.
    #[arg(long, default_value = "cubins", global = true)]
    cubins: PathBuf,
    /// Folder made by `voxtune cuda-toolkit`.
    #[arg(long, global = true)]
    toolkit: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare every part of maps with plain code.
    Check(check::Options),
    /// Time maps of clouds.
    Time(time::Options),
}

type Error = Box<dyn std::error::Error>;

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

fn run() -> Result<bool, Error> {
    let arguments = Arguments::parse();
    let device = CudaDevice::open(0)?;
    let toolchain = Toolchain::find(arguments.toolkit.as_deref())?;
    println!("{}, driver {}", device.identity(), device.driver_version());
    let compiled = toolchain
        .compile(&[Instance::kernel_map()], device.capability(), &arguments.cubins, 1, &|_| ())
        .pop()
        .expect("one result for one instance")?;
    let builder = MapBuilder::new(&device, &compiled)?;
    match arguments.command {
        Command::Check(options) => check::run(&builder, &options),
        Command::Time(options) => {
            time::run(&device, &builder, &options)?;
            Ok(true)
        }
    }
}
