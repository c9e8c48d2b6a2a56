//! Measuring the layers of the network.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use voxtune_cache::CacheDir;
use voxtune_tune::{
    DeviceSpec, Event, Executor, Grid, Observer, Plan, Populate, Request, Summary, Worker,
};

/// Measures a grid on a device and writes evidence and decisions into a folder.
pub(crate) fn populate(
    grid: Grid,
    device: &DeviceSpec,
    folder: &Path,
) -> Result<Summary, Box<dyn Error>> {
    let request = Request::new(grid);
    let plan = Plan::new(&request)?;
    // Candidates run in a worker, which is this program started again: one that crashes or hangs
    // costs itself.
    let mut executor = Executor::from(Worker::start(device)?);
    let populate = Populate {
        plan: &plan,
        request: &request,
        cache: &CacheDir::new(folder),
        lock_wait: Duration::from_secs(30),
        interrupt: &AtomicBool::new(false),
    };
    Ok(populate.run(&mut executor, &mut Progress)?)
}

/// Prints the winner of each layer in each direction.
struct Progress;

impl Observer for Progress {
    fn event(&mut self, event: &Event) {
        let Event::ConfigurationEnded { reports, .. } = event else { return };
        for report in reports {
            if let Some(winner) = &report.winner {
                eprintln!("{}: {winner}", report.measured.entry.key);
            }
        }
    }
}
