//! Measures the layers of the network and writes what won into the caches of the program.

mod layers;
mod pack;
mod populate;

use std::error::Error;
use std::path::Path;

use voxtune::DeviceChoice;
use voxtune_tune::DeviceSpec;

fn main() -> Result<(), Box<dyn Error>> {
    // First of all: this program may have been started as its own worker.
    voxtune_tune::worker::serve_if_asked();
    let device = std::env::args().nth(1).map_or(Ok(DeviceChoice::Auto), |text| text.parse())?;
    let target = Path::new("target");
    let device = DeviceSpec {
        choice: device,
        kernels: Some(target.join("kernels")),
        toolkit: Some(target.join("cuda-toolkit")),
        ..DeviceSpec::default()
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/caches");
    let summary = populate::populate(layers::grid(), &device, &folder)?;
    pack::pack(&folder)?;
    println!("measured {} of {} configurations", summary.measured, summary.requested);
    if summary.measured + summary.skipped < summary.requested {
        return Err("some configurations failed".into());
    }
    Ok(())
}
