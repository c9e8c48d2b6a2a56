//! Frames as one CUDA graph each.

use std::time::Instant;

use voxtune::{CompiledNetwork, Device, FrameOutput, SparseTensor};

use super::outcome::Anything;
use super::times::Times;

/// Runs frames of a network as graphs, and prints how long they took and how much memory they have.
/// The first one's graph is recorded before; it is timed apart from the later ones.
///
/// # Errors
/// If a frame cannot be made, recorded or run.
pub(crate) fn print_frames<O: FrameOutput>(
    device: &Device,
    mut network: CompiledNetwork<O>,
    frames: usize,
    frame: impl Fn() -> Result<SparseTensor, Anything>,
) -> Result<(), Anything> {
    network.record(frame()?.voxels().len())?;
    let mut times = Vec::new();
    for _ in 0..=frames {
        let frame = frame()?;
        device.synchronize()?;
        let start = Instant::now();
        // Waits for the frame.
        network.run_or_grow(&frame)?;
        times.push(start.elapsed());
    }
    let classes = network.classes();
    let way = if classes.is_empty() { "call by call, as a CPU has none" } else { "one a frame" };
    println!("{:<12}{}, {way}", "graphs", Times::of(&times)?);
    for class in classes {
        let mib = class.planned_bytes as f64 / f64::from(1 << 20);
        println!("{:>11} voxels at most: {mib:.1} MiB", class.capacity);
    }
    Ok(())
}
