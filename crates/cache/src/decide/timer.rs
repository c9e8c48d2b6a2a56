//! By whose clock algorithms are compared, and what of a difference is noise.

use voxtune_types::Arch;

use crate::timing::Timing;

/// Differences below this fraction are noise, however small the spread of the samples.
pub const NOISE_FLOOR: f64 = 0.01;

/// Differences above this fraction are real, however large the spread of the samples.
pub const NOISE_CEILING: f64 = 0.10;

/// How far a time may be off by the step of the timer alone: half a microsecond for the events of a
/// GPU.
pub const TIMER_STEP_NS: f64 = 500.0;

/// By whose clock a run is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The host's, on a machine that does other things meanwhile.
    Host,
    /// That of a GPU, which does not.
    Gpu,
}

impl Timer {
    /// That of a device of this architecture.
    #[must_use]
    pub const fn of(arch: &Arch) -> Self {
        if arch.is_cuda() { Self::Gpu } else { Self::Host }
    }

    /// By what algorithms are compared: the median on a host; on a GPU, whose least sample is no
    /// luck, [`Timing::centre_ns`]. Either with what the layer is charged beside its samples.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn time_ns(self, timing: &Timing) -> f64 {
        self.own_ns(timing) + timing.share_ns() as f64
    }

    /// [`Self::time_ns`] without what the layer is charged.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn own_ns(self, timing: &Timing) -> f64 {
        match self {
            Self::Host => timing.median_ns as f64,
            Self::Gpu => timing.centre_ns(),
        }
    }

    /// How much slower than the leader a stored winner may be found, however small the spread of
    /// the samples, and still stay, as a fraction. On a GPU the same kernels differ by a few
    /// percent from one process to the next, by where their buffers lie. On a host they differ by
    /// what others do there.
    #[must_use]
    pub const fn incumbent_margin(self) -> f64 {
        match self {
            Self::Host => NOISE_CEILING,
            Self::Gpu => 0.03,
        }
    }

    /// How far a time may be off as a fraction of it: by a [`TIMER_STEP_NS`], and on a host by the
    /// spread of its samples. On a GPU the spread of a few samples says less of the noise than of
    /// which samples they happened to be. Two runs would draw the band of noise at two places.
    ///
    /// # Units
    /// Both times in one.
    #[must_use]
    pub fn relative_noise(self, centre_ns: f64, spread_ns: f64) -> f64 {
        let noise_ns = match self {
            Self::Host => spread_ns.max(TIMER_STEP_NS),
            Self::Gpu => TIMER_STEP_NS,
        };
        noise_ns / centre_ns.max(1.0)
    }
}

/// The fraction up to which the longer of two times ties with the shorter one, from the
/// [relative noise](Timer::relative_noise) of both.
#[must_use]
pub fn tie_band(relative_noise: [f64; 2]) -> f64 {
    relative_noise.iter().sum::<f64>().clamp(NOISE_FLOOR, NOISE_CEILING)
}
