//! Clocks and counters around frames.

use std::time::{Duration, Instant};

use voxtune::{ConvError, Device};

use super::FrameError;
use super::options::FrameOptions;
use super::report::{Spread, WayReport};
use super::statistics::median;
use super::subject::Subject;
use super::way::{Inference, Kept, Runs, Way};

/// Frames between events.
const EVENT_FRAMES: usize = 11;

/// How long a blocking kernel waits for a frame to be queued: more than the host takes for any.
const QUEUE_LIMIT: Duration = Duration::from_millis(100);

/// What one frame took.
pub(super) struct Frame {
    /// From the call to the end of the device's work.
    pub(super) wall_ms: f64,
    /// From the call until it returned.
    pub(super) host_ms: f64,
    launches: u64,
    waits: u64,
    /// The most memory that was taken meanwhile, all that was there before included.
    peak_bytes: Option<u64>,
}

/// Measures frames on a device, memory beyond what was taken when it was made.
pub(super) struct Meter<'a> {
    device: &'a Device,
    base_bytes: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(device: &'a Device) -> Self {
        let base_bytes = device.memory_use().map_or(0, |memory| memory.current_bytes);
        Self { device, base_bytes }
    }

    /// Memory that is taken now; `None` on a CPU.
    pub(super) fn taken_bytes(&self) -> Option<u64> {
        Some(self.device.memory_use()?.current_bytes.saturating_sub(self.base_bytes))
    }

    /// Runs one frame over an input that is on the device.
    pub(super) fn frame(&self, runs: &mut dyn Runs) -> Result<Frame, FrameError> {
        let (frame, fate) = self.attempt(runs)?;
        fate?;
        Ok(frame)
    }

    /// The same, and what reading its result tells.
    fn attempt(&self, runs: &mut dyn Runs) -> Result<(Frame, Result<(), ConvError>), FrameError> {
        let device = self.device;
        let input = runs.input()?;
        device.synchronize()?;
        device.reset_peak_memory();
        let (launches, waits) = (device.launches(), device.waits());
        let start = Instant::now();
        let kept = runs.run(&input)?;
        let host = start.elapsed();
        let (launches, waits) = (device.launches() - launches, device.waits() - waits);
        device.synchronize()?;
        let wall = start.elapsed();
        let peak = device.memory_use();
        let fate = runs.fate(&kept);
        let [wall_ms, host_ms] = [wall, host].map(|time| time.as_secs_f64() * 1e3);
        let peak_bytes = peak.map(|memory| memory.peak_bytes.saturating_sub(self.base_bytes));
        Ok((Frame { wall_ms, host_ms, launches, waits, peak_bytes }, fate))
    }

    /// [`Self::frame`], and once more if a level had too little room: both together, and whether it
    /// was so.
    pub(super) fn frame_or_again(&self, runs: &mut dyn Runs) -> Result<(Frame, bool), FrameError> {
        let (lost, fate) = self.attempt(runs)?;
        match fate {
            Ok(()) => Ok((lost, false)),
            Err(ConvError::Overflow { .. }) => {
                let again = self.frame(runs)?;
                Ok((Frame { wall_ms: lost.wall_ms + again.wall_ms, ..again }, true))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The device's time for the bird's-eye view of an output; `None` if the network ends in none.
    pub(super) fn view(
        &self,
        inference: &Inference,
        subject: &Subject<'_>,
    ) -> Result<Option<f64>, FrameError> {
        let model = inference.model();
        let output = model.forward(&subject.over(subject.voxels()?)?)?;
        if model.bird_eye_view(&output, 1)?.is_none() {
            return Ok(None);
        }
        let mut times_ms = Vec::new();
        for _ in 0..EVENT_FRAMES {
            self.device.synchronize()?;
            let mut view = Ok(None);
            let sample = self.device.time_whole(QUEUE_LIMIT, || {
                view = model.bird_eye_view(&output, 1);
                Ok(())
            })?;
            view?;
            times_ms.push(sample.elapsed_ns as f64 / 1e6);
        }
        Ok(Some(median(&times_ms)))
    }

    /// Runs frames of a way, warm-ups first.
    pub(super) fn way(
        &self,
        way: Way,
        runs: &mut dyn Runs,
        options: &FrameOptions,
    ) -> Result<WayReport, FrameError> {
        for _ in 0..options.warm_ups {
            self.frame(runs)?;
        }
        let frames = (0..options.frames).map(|_| self.frame(runs));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let all = |of: fn(&Frame) -> f64| frames.iter().map(of).collect::<Vec<f64>>();
        let waits = median(&all(|frame| frame.waits as f64)) as u64;
        let (mut span_ms, mut device_ms) = (None, None);
        let is_gpu = self.device.memory_use().is_some();
        if is_gpu {
            span_ms = Some(span(self.device, runs)?);
            if waits == 0 {
                device_ms = device_time(self.device, runs)?;
            }
        }
        Ok(WayReport {
            way,
            frames: frames.len(),
            wall_ms: Spread::of(&all(|frame| frame.wall_ms)),
            host_ms: median(&all(|frame| frame.host_ms)),
            span_ms,
            device_ms,
            launches: is_gpu.then(|| median(&all(|frame| frame.launches as f64)) as u64),
            waits: is_gpu.then_some(waits),
            peak_bytes: frames.iter().filter_map(|frame| frame.peak_bytes).max(),
        })
    }
}

/// Median time between events around a frame, what the device waits for included.
fn span(device: &Device, runs: &mut dyn Runs) -> Result<f64, FrameError> {
    let once = |runs: &mut dyn Runs| {
        let input = runs.input()?;
        device.synchronize()?;
        let mut ran = None;
        let span = device.span(|| queue(&mut ran, runs, &input))?;
        finish(ran, runs)?;
        Ok(span.as_secs_f64() * 1e3)
    };
    let spans = (0..EVENT_FRAMES).map(|_| once(runs)).collect::<Result<Vec<f64>, FrameError>>()?;
    Ok(median(&spans))
}

/// Median time of the device with the host's hidden: all of a frame is queued behind a blocking
/// kernel. `None` if the host was late every time.
fn device_time(device: &Device, runs: &mut dyn Runs) -> Result<Option<f64>, FrameError> {
    let mut times = Vec::new();
    for _ in 0..EVENT_FRAMES {
        let input = runs.input()?;
        device.synchronize()?;
        let mut ran = None;
        let sample = device.time_whole(QUEUE_LIMIT, || queue(&mut ran, runs, &input))?;
        finish(ran, runs)?;
        if !sample.host_was_late {
            times.push(sample.elapsed_ns as f64 / 1e6);
        }
    }
    Ok((!times.is_empty()).then(|| median(&times)))
}

/// Runs a frame, and keeps what came of it.
fn queue(
    ran: &mut Option<Result<Kept, FrameError>>,
    runs: &mut dyn Runs,
    input: &voxtune::SparseTensor,
) -> Result<(), ConvError> {
    *ran = Some(runs.run(input));
    Ok(())
}

fn finish(ran: Option<Result<Kept, FrameError>>, runs: &mut dyn Runs) -> Result<(), FrameError> {
    let kept = ran.expect("the work has run")?;
    Ok(runs.fate(&kept)?)
}
