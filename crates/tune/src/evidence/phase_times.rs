//! Where the time of a run goes.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time by what it was spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// Waiting for kernels to be read or compiled.
    pub compile: Duration,
    /// Calibration of the device before the first configuration.
    pub calibrate: Duration,
    /// Clouds, kernel maps and the names of candidates.
    pub clouds: Duration,
    /// Operands, and the first result at full size.
    pub operands: Duration,
    /// Verdicts by float64.
    pub verify: Duration,
    /// Races, but for what follows.
    pub race: Duration,
    /// Samples discarded for a lowered clock or a late host, and the pauses after them.
    pub throttled: Duration,
    /// Comparing results at full size in races.
    pub comparing: Duration,
    /// Deciding and writing files, on a GPU while it measures on.
    pub write: Duration,
}

impl PhaseTimes {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.named().into_iter().map(|(_, time)| time).sum()
    }

    const fn named(&self) -> [(&'static str, Duration); 9] {
        let Self {
            compile,
            calibrate,
            clouds,
            operands,
            verify,
            race,
            throttled,
            comparing,
            write,
        } = *self;
        [
            ("compile", compile),
            ("calibrate", calibrate),
            ("clouds", clouds),
            ("operands", operands),
            ("verify", verify),
            ("race", race),
            ("throttled", throttled),
            ("compare", comparing),
            ("write", write),
        ]
    }
}

impl AddAssign for PhaseTimes {
    fn add_assign(&mut self, other: Self) {
        self.compile += other.compile;
        self.calibrate += other.calibrate;
        self.clouds += other.clouds;
        self.operands += other.operands;
        self.verify += other.verify;
        self.race += other.race;
        self.throttled += other.throttled;
        self.comparing += other.comparing;
        self.write += other.write;
    }
}

impl fmt::Display for PhaseTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, time)) in self.named().into_iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {:.2} s", time.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_is_shown() {
        let second = Duration::from_secs(1);
        let mut spent = PhaseTimes {
            compile: second,
            calibrate: 2 * second,
            clouds: 3 * second,
            operands: 4 * second,
            verify: 5 * second,
            race: 6 * second,
            throttled: 7 * second,
            comparing: 8 * second,
            write: 9 * second,
        };
        spent += spent;
        assert_eq!(spent.total(), 90 * second);
        assert_eq!(
            spent.to_string(),
            "compile 2.00 s, calibrate 4.00 s, clouds 6.00 s, operands 8.00 s, verify 10.00 s, \
             race 12.00 s, throttled 14.00 s, compare 16.00 s, write 18.00 s"
        );
    }
}
