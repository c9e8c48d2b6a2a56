//! `check --fixtures`: layers and networks against what other libraries computed.

use std::path::Path;

use serde::Serialize;
use voxtune::{Device, DeviceChoice, DeviceError};
use voxtune_bench::fixtures::{self, FixtureReport};

use crate::exit::{Exit, Failure};
use crate::json_file::JsonFile;
use crate::kernel_folders::KernelFolders;
use crate::output;

/// What is written as JSON.
#[derive(Serialize)]
struct Report<'a> {
    device: String,
    fixtures: &'a [FixtureReport],
}

pub(super) fn run(
    folder: &Path,
    choice: DeviceChoice,
    kernels: &KernelFolders,
    json: &JsonFile,
) -> Result<Exit, Failure> {
    let json = json.checked()?;
    let index = fixtures::index(folder).map_err(Failure::failed)?;
    let (device, note) =
        Device::open_with(choice, &kernels.source()).map_err(|error| match error {
            DeviceError::NotFound { .. } => Failure::no_device(error).at("--device"),
            other => Failure::failed(other),
        })?;
    if let Some(note) = note {
        output::status("Note", note);
    }
    output::status("Device", device.identity());
    let mut reports = Vec::with_capacity(index.len());
    for (name, entry) in &index {
        let report = fixtures::run(folder, name, entry, &device);
        print(&report);
        reports.push(report);
    }
    let wrong = reports.iter().filter(|report| !report.holds()).count();
    json.write(&Report { device: device.identity().to_string(), fixtures: &reports })?;
    output::result(format_args!("checked {} fixtures, {wrong} wrong", reports.len()));
    Ok(if wrong == 0 && !reports.is_empty() { Exit::Success } else { Exit::Failure })
}

fn print(report: &FixtureReport) {
    let state = if report.holds() { "right" } else { "WRONG" };
    output::result(format_args!("{state} {}", report.name));
    for comparison in &report.comparisons {
        let past = if comparison.holds() { "" } else { "  PAST ITS LIMIT" };
        output::result(format_args!(
            "      {:<16} {:9.2e} of the largest, may be {:.0e}{past}",
            comparison.what, comparison.worst, comparison.limit
        ));
    }
    if let Some(failure) = &report.failure {
        output::result(format_args!("      {failure}"));
    }
}
