//! Repeats samples disturbed by throttling or a late host.
//!
//! A GPU under long load lowers its clock, and a late host leaves it waiting. Such a sample is
//! taken again a few times. A device that stays slow is measured as it is.

use std::time::{Duration, Instant};

use voxtune::Sample;

/// A sample below this share of the fastest clock seen is throttled.
const THROTTLED_BELOW: f64 = 0.9;

/// Attempts per sample, by its time; the last one counts even if disturbed. Long runs lower the
/// clock by themselves, so that another attempt is no faster.
///
/// # Units
/// Nanoseconds.
const fn attempts(elapsed_ns: u64) -> usize {
    match elapsed_ns {
        0..=1_000_000 => 4,
        1_000_001..=3_000_000 => 2,
        _ => 1,
    }
}

/// Pause after a throttled sample, even one that counts: the next starts cool.
const COOL_DOWN: Duration = Duration::from_millis(5);

/// Takes samples, discards disturbed ones, and keeps the fastest clock seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThrottleFilter {
    /// The fastest clock of a sample.
    pub fastest_mhz: Option<u32>,
    /// The slowest and the fastest clock of the samples that were taken.
    pub taken_mhz: Option<[u32; 2]>,
    /// Time that discarded samples and pauses took.
    pub discarded: Duration,
}

impl ThrottleFilter {
    /// A filter for what runs next, which knows the fastest clock already.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { fastest_mhz: self.fastest_mhz, ..Self::default() }
    }

    /// Returns the first undisturbed sample, or the last attempt.
    ///
    /// # Errors
    /// Whatever sampling fails with.
    pub fn take<E>(&mut self, mut sample: impl FnMut() -> Result<Sample, E>) -> Result<Sample, E> {
        let mut attempt = 0;
        loop {
            let start = Instant::now();
            let taken = sample()?;
            self.fastest_mhz = self.fastest_mhz.max(taken.clock_mhz);
            let throttled = self.is_throttled(taken);
            attempt += 1;
            let is_last = attempt >= attempts(taken.elapsed_ns);
            let discarded = start.elapsed();
            if throttled {
                std::thread::sleep(COOL_DOWN);
                self.discarded += COOL_DOWN;
            }
            if !taken.host_was_late && !throttled || is_last {
                if let Some(mhz) = taken.clock_mhz {
                    let [slowest, fastest] = self.taken_mhz.unwrap_or([mhz; 2]);
                    self.taken_mhz = Some([slowest.min(mhz), fastest.max(mhz)]);
                }
                return Ok(taken);
            }
            self.discarded += discarded;
        }
    }

    fn is_throttled(&self, sample: Sample) -> bool {
        sample
            .clock_mhz
            .zip(self.fastest_mhz)
            .is_some_and(|(now, fastest)| f64::from(now) < f64::from(fastest) * THROTTLED_BELOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Sample = Sample { elapsed_ns: 1_000, clock_mhz: Some(1_980), host_was_late: false };

    /// The sample that is taken of these, and the number of attempts.
    fn taken(throttle_filter: &mut ThrottleFilter, samples: &[Sample]) -> (Sample, usize) {
        let mut tried = 0;
        let taken = throttle_filter.take(|| {
            tried += 1;
            Ok::<_, ()>(samples[tried - 1])
        });
        (taken.unwrap(), tried)
    }

    #[test]
    fn throttled_and_late_samples_are_taken_again() {
        let mut throttle_filter = ThrottleFilter::default();
        assert_eq!(taken(&mut throttle_filter, &[FAST]), (FAST, 1));
        let slow = Sample { elapsed_ns: 1_400, clock_mhz: Some(1_455), ..FAST };
        let late = Sample { elapsed_ns: 1_700, host_was_late: true, ..FAST };
        let near = Sample { clock_mhz: Some(1_790), ..FAST };
        assert_eq!(taken(&mut throttle_filter, &[slow, late, near]), (near, 3));
        assert_eq!(throttle_filter.fastest_mhz, Some(1_980));
        assert_eq!(throttle_filter.taken_mhz, Some([1_790, 1_980]), "nothing that was discarded");
        assert!(throttle_filter.discarded >= COOL_DOWN);
        let next = throttle_filter.next();
        assert_eq!((next.fastest_mhz, next.taken_mhz), (Some(1_980), None));
    }

    #[test]
    fn a_device_that_stays_slow_is_measured_as_it_is() {
        let mut throttle_filter =
            ThrottleFilter { fastest_mhz: Some(1_980), ..ThrottleFilter::default() };
        let slow = Sample { clock_mhz: Some(1_455), ..FAST };
        for (elapsed_ns, tried) in [(500_000, 4), (2_000_000, 2), (4_000_000, 1)] {
            let slow = Sample { elapsed_ns, ..slow };
            assert_eq!(taken(&mut throttle_filter, &[slow; 9]), (slow, tried));
        }
    }

    /// A run that lowers the clock by itself is taken as it is, and the next one still starts cool.
    #[test]
    fn a_pause_follows_a_throttled_sample_that_is_taken() {
        let mut throttle_filter =
            ThrottleFilter { fastest_mhz: Some(1_980), ..ThrottleFilter::default() };
        let slow = Sample { elapsed_ns: 9_000_000, clock_mhz: Some(1_455), ..FAST };
        let start = Instant::now();
        assert_eq!(taken(&mut throttle_filter, &[slow]), (slow, 1));
        assert!(start.elapsed() >= COOL_DOWN);
        assert_eq!(throttle_filter.discarded, COOL_DOWN);
    }

    #[test]
    fn without_a_clock_to_read_nothing_is_throttled() {
        let mut throttle_filter =
            ThrottleFilter { fastest_mhz: Some(1_980), ..ThrottleFilter::default() };
        let plain = Sample { clock_mhz: None, ..FAST };
        assert_eq!(taken(&mut throttle_filter, &[plain]), (plain, 1));
    }

    #[test]
    fn a_failure_ends_it() {
        let mut tried = 0;
        let failed = ThrottleFilter::default().take(|| {
            tried += 1;
            Err::<Sample, _>(7)
        });
        assert_eq!((failed, tried), (Err(7), 1));
    }
}
