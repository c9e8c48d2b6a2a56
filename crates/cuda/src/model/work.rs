//! What a launch asks of a device, and how long that takes.

use super::{Constants, Rates};

/// What a launch asks of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// One kernel whose blocks repeat one step.
    Tiles(Tiles),
    /// A sequence of kernels for each offset.
    Passes(Passes),
}

/// Which unit multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Tensor cores by `mma.sync`.
    Mma,
    /// Tensor cores by warpgroup instructions.
    Wgmma,
    /// The float32 units.
    Fma,
}

impl Unit {
    /// Operations per cycle of an SM.
    pub(crate) const fn flops_clock(self, rates: &Rates) -> f64 {
        match self {
            Self::Mma => rates.mma_flops_clock,
            Self::Wgmma => rates.wgmma_flops_clock,
            Self::Fma => rates.fma_flops_clock,
        }
    }
}

/// Blocks that repeat one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    /// Blocks of the launch.
    pub blocks: f64,
    /// Blocks that an SM holds.
    pub resident: f64,
    /// Steps of a mean block.
    pub steps: f64,
    /// A step's products with an otherwise idle SM. Nanoseconds.
    pub multiply_ns: f64,
    /// A step's traffic with shared memory likewise. Nanoseconds.
    pub shared_ns: f64,
    /// What a step reads through the L2 cache. Bytes.
    pub cache_bytes: f64,
    /// Copy instructions of a step, counted by thread.
    pub copies: f64,
    /// Copies of a step that one thread makes.
    pub copies_a_thread: f64,
    /// What a block writes. Bytes.
    pub result_bytes: f64,
    /// What the launch moves between cache and memory. Bytes.
    pub memory_bytes: f64,
    /// A second kernel that adds up parts of the result; 0 where there is none. Nanoseconds.
    pub reduce_ns: f64,
}

/// A sequence of kernels for each offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passes {
    /// Offsets.
    pub passes: f64,
    /// What all kernels together read and write. Bytes.
    pub bytes: f64,
}

/// Rows of a result leave an SM at this rate. Bytes per nanosecond: the rate of all writes
/// to memory, 3.24 TB/s on an H100, over its SMs.
const WRITE_BYTES_NS: f64 = 25.0;

/// How far past the last full wave the longest blocks reach, in waves.
const TAIL_WAVES: f64 = 0.2;

/// How sharply the slowest of several things that overlap decides: ∞ would be their maximum, 1
/// their sum.
fn slowest<const N: usize>(of: [f64; N], power: i32) -> f64 {
    let largest = of.into_iter().fold(f64::MIN_POSITIVE, f64::max);
    let sum: f64 = of.into_iter().map(|one| (one / largest).powi(power)).sum();
    largest * sum.powf(1.0 / f64::from(power))
}

impl Work {
    /// How long it takes.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn time_ns(&self, rates: &Rates, constants: &Constants) -> f64 {
        match self {
            Self::Tiles(tiles) => tiles.time(rates, constants).total_ns,
            Self::Passes(passes) => {
                let moved_ns = passes.bytes / rates.memory_bytes_ns;
                passes.passes * constants.launch_ns + constants.traffic * moved_ns
            }
        }
    }
}

/// How long a launch of tiles takes, and what of it. Nanoseconds but for the waves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TileTime {
    /// The busiest unit in a step of the blocks that share an SM.
    pub(super) busy_ns: f64,
    /// A pipeline stage.
    pub(super) stage_ns: f64,
    /// A step: the slower of both.
    pub(super) step_ns: f64,
    /// Blocks one after another, all waves.
    pub(super) blocks_ns: f64,
    /// How often the device is filled; below 1 where it is not.
    pub(super) waves: f64,
    /// What memory takes.
    pub(super) memory_ns: f64,
    /// All of it.
    pub(super) total_ns: f64,
}

impl Tiles {
    /// Cuts blocks into parts, at most so many each and no more than run at once.
    pub(crate) fn cut(&mut self, at_once: f64, most: f64) {
        let parts = (at_once / self.blocks.max(1.0)).clamp(1.0, most);
        self.blocks *= parts;
        self.steps /= parts;
    }

    pub(super) fn time(&self, rates: &Rates, constants: &Constants) -> TileTime {
        let per_sm = self.blocks / rates.sms;
        let together = per_sm.clamp(1.0, self.resident);
        let warp_copies = self.copies / 32.0;
        let busy_ns = together
            * (slowest(
                [self.multiply_ns, self.shared_ns, self.cache_bytes / rates.cache_bytes_ns],
                8,
            ) + constants.copy_clocks * warp_copies / rates.clock_ghz);
        let stage_ns = constants.stage_ns + constants.thread_copy_ns * self.copies_a_thread;
        let step_ns = slowest([busy_ns, stage_ns], 8);
        let block_ns = self.steps * step_ns
            + constants.block_ns
            + self.result_bytes / WRITE_BYTES_NS * together;
        let waves = per_sm / self.resident;
        let rounds = slowest([1.0, if waves > 1.0 { waves + TAIL_WAVES } else { waves }], 8);
        let (blocks_ns, memory_ns) = (block_ns * rounds, self.memory_bytes / rates.memory_bytes_ns);
        let total_ns = constants.launch_ns
            + slowest([blocks_ns, constants.traffic * memory_ns], 3)
            + self.reduce_ns;
        TileTime { busy_ns, stage_ns, step_ns, blocks_ns, waves, memory_ns, total_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_as_far_as_all_run_at_once() {
        let cut = |blocks| {
            let none = 0.0;
            let mut tiles = Tiles {
                blocks,
                resident: 3.0,
                steps: 12.0,
                multiply_ns: none,
                shared_ns: none,
                cache_bytes: none,
                copies: none,
                copies_a_thread: none,
                result_bytes: none,
                memory_bytes: none,
                reduce_ns: none,
            };
            tiles.cut(300.0, 4.0);
            (tiles.blocks, tiles.steps)
        };
        assert_eq!([50.0, 150.0, 600.0].map(cut), [(200.0, 3.0), (300.0, 6.0), (600.0, 12.0)]);
    }

    #[test]
    fn the_slowest_of_several_lies_between_maximum_and_sum() {
        for power in [3, 8] {
            let several = slowest([3.0, 4.0, 0.0], power);
            assert!(several > 4.0 && several < 7.0, "{several}");
            assert!((slowest([5.0, 0.0], power) - 5.0).abs() < 1e-9);
        }
        assert!(slowest([0.0, 0.0], 8) < 1e-200);
    }
}
