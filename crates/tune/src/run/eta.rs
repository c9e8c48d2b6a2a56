//! Remaining time of a run, from the estimate and the progress so far.
//!
//! Clouds, verification and races are extrapolated each by itself, entry by entry. The first size
//! of a plan has the time of verifying an operation's candidates. A race ends with its budget,
//! however slow the machine.

use std::time::Duration;

use crate::evidence::phase_times::PhaseTimes;
use crate::measure::estimate::{ConfigurationEstimate, EntryEstimate, Estimate, RaceEstimate};
use crate::run::pace::{Done, plainly};

/// Remaining time, summed over all devices.
#[derive(Debug, Default)]
pub(crate) struct Eta {
    configurations: Vec<ConfigurationAhead>,
    /// Verification that is done once: what it needs, zero when it is done, and how many entries
    /// that need it are left.
    verification: Vec<(Duration, usize)>,
    set_ups_done: Done<Duration>,
    verification_done: Done<Duration>,
    races_done: Done<RaceEstimate>,
    compilation: Compilation,
}

/// What is left of a configuration.
#[derive(Clone, Debug)]
struct ConfigurationAhead {
    set_up: Duration,
    /// Nothing of those that have ended.
    entries: Vec<Option<EntryEstimate>>,
}

/// Kernels that compile beside the measurements, in the order of need. They are waited for, and
/// take the host's processors from what is done beside them.
#[derive(Clone, Copy, Debug, Default)]
struct Compilation {
    /// What entries took meanwhile.
    spent: Duration,
    /// What they were expected to take.
    expected: Duration,
    /// How much longer kernels compile.
    left: Duration,
}

impl Compilation {
    /// While kernels compile, as much of the time is lost as so far.
    fn ahead(&self) -> Duration {
        if self.spent.is_zero() {
            return Duration::ZERO;
        }
        let lost = self.spent.saturating_sub(self.expected);
        self.left.mul_f64(lost.as_secs_f64() / self.spent.as_secs_f64())
    }
}

impl Eta {
    pub(crate) fn new(estimate: &Estimate) -> Self {
        let mut verification: Vec<_> =
            estimate.verification.iter().map(|&once| (once, 0)).collect();
        let mut entry = |entry: &EntryEstimate| {
            let mut entry = entry.clone();
            // A worker may be another program.
            entry.needs.retain(|&place| place < verification.len());
            entry.needs.iter().for_each(|&place| verification[place].1 += 1);
            Some(entry)
        };
        let configuration = |one: &ConfigurationEstimate| ConfigurationAhead {
            set_up: one.set_up,
            entries: one.entries.iter().map(&mut entry).collect(),
        };
        let configurations = estimate.configurations.iter().map(configuration).collect();
        Self { configurations, verification, ..Self::default() }
    }

    /// An entry was measured and took this; the first of a configuration has its clouds in it.
    /// Its worker compiles kernels for so much longer, if it does.
    pub(crate) fn measured(
        &mut self,
        index: usize,
        entry: usize,
        spent: &PhaseTimes,
        compiling: Option<Duration>,
    ) {
        let Some(EntryEstimate { race, needs }) = self.take(index, entry) else { return };
        let set_up = std::mem::take(&mut self.configurations[index].set_up);
        let due = needs.iter().map(|&place| std::mem::take(&mut self.verification[place].0));
        let due: Duration = due.sum();
        // Another worker compiles on, or did.
        let left = self.compilation.left.saturating_sub(spent.total());
        self.compilation.left = compiling.unwrap_or(left);
        if !self.compilation.left.is_zero() {
            let race = Duration::from_secs_f64(race.seconds(1.0));
            self.compilation.expected += set_up + due + race;
            self.compilation.spent += spent.total();
            return;
        }
        if !set_up.is_zero() {
            self.set_ups_done.push(set_up, spent.clouds);
        }
        if !due.is_zero() {
            self.verification_done.push(due, spent.verify);
        }
        let raced = spent.operands + spent.race + spent.throttled + spent.comparing;
        self.races_done.push(race, raced);
    }

    /// An entry ended without a measurement.
    pub(crate) fn skipped(&mut self, index: usize, entry: usize) {
        let Some(EntryEstimate { needs, .. }) = self.take(index, entry) else { return };
        for place in needs {
            let (once, left) = &mut self.verification[place];
            if *left == 0 {
                *once = Duration::ZERO;
            }
        }
    }

    /// A configuration ended, whatever of it was measured.
    pub(crate) fn ended(&mut self, index: usize) {
        let entries = self.configurations.get(index).map_or(0, |one| one.entries.len());
        for entry in 0..entries {
            self.skipped(index, entry);
        }
        if let Some(ahead) = self.configurations.get_mut(index) {
            ahead.set_up = Duration::ZERO;
        }
    }

    fn take(&mut self, index: usize, entry: usize) -> Option<EntryEstimate> {
        let taken = self.configurations.get_mut(index)?.entries.get_mut(entry)?.take()?;
        for &place in &taken.needs {
            self.verification[place].1 -= 1;
        }
        Some(taken)
    }

    /// The time to come on so many devices. Each configuration is measured by one of them.
    pub(crate) fn remaining(&self, devices: usize) -> Duration {
        let ahead = || self.configurations.iter();
        let races = ahead().flat_map(|one| one.entries.iter().flatten().map(|entry| &entry.race));
        let set_up = self.set_ups_done.pace(plainly, ahead().map(|one| &one.set_up));
        let race = self.races_done.pace(RaceEstimate::seconds, races);
        let (mut all, mut longest) = (0.0, 0.0_f64);
        for ahead in &self.configurations {
            let entries = ahead.entries.iter().flatten();
            let races = entries.map(|entry| race.extra + entry.race.seconds(race.slower));
            let races = races.map(|seconds| seconds.max(0.0)).sum::<f64>();
            let each = plainly(&ahead.set_up, set_up.slower) + races;
            all += each;
            longest = longest.max(each);
        }
        let ahead = || self.verification.iter().map(|(once, _)| once).filter(|one| !one.is_zero());
        let verification = self.verification_done.pace(plainly, ahead());
        let each = |one| (verification.extra + plainly(one, verification.slower)).max(0.0);
        all += ahead().map(each).sum::<f64>();
        let seconds = longest.max(all / devices.max(1) as f64);
        Duration::from_secs_f64(seconds) + self.compilation.ahead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Configurations of one entry each: seconds of its race, and what it needs.
    fn estimate(races: &[(u32, usize)], once: &[u32]) -> Estimate {
        let configuration = |&(seconds, need): &(u32, usize)| {
            let wanted = seconds * SECOND;
            let (around, least) = (Duration::ZERO, Duration::ZERO);
            let race = RaceEstimate { around, wanted, least, budget: 12 * SECOND };
            let entries = vec![EntryEstimate { race, needs: vec![need] }];
            ConfigurationEstimate { set_up: Duration::ZERO, entries }
        };
        Estimate {
            configurations: races.iter().map(configuration).collect(),
            verification: once.iter().map(|&once| once * SECOND).collect(),
            peak_bytes: 0,
            flops_per_second: 1.0,
        }
    }

    fn spent(race: u32, verify: u32) -> PhaseTimes {
        PhaseTimes { race: race * SECOND, verify: verify * SECOND, ..PhaseTimes::default() }
    }

    /// What is left, but for times that are alike.
    fn assert_left(eta: &Eta, seconds: f64) {
        let found = eta.remaining(1).as_secs_f64();
        assert!((found - seconds).abs() <= 0.03 * seconds, "{found}, expected {seconds}");
    }

    /// On two busy cores, and on two that others had most of.
    const RECORDED: [&str; 2] =
        [include_str!("recorded/quick-cpu.json"), include_str!("recorded/quick-cpu-starved.json")];

    /// A run as `populate --json` notes it:
    ///
    /// ```text
    /// cargo xtask populate --preset quick --device cpu --out Q --json Q.json
    /// jq -c '{estimate, progress: [.progress[] | {configuration, entry, at, spent}]}' Q.json
    /// ```
    #[derive(serde::Deserialize)]
    struct Recorded {
        estimate: Estimate,
        progress: Vec<RecordedEntry>,
    }

    #[derive(serde::Deserialize)]
    struct RecordedEntry {
        configuration: usize,
        entry: usize,
        /// Seconds since the estimate.
        at: f64,
        spent: PhaseTimes,
        /// Seconds that kernels were to compile on.
        compiling: Option<f64>,
    }

    impl RecordedEntry {
        fn compiling(&self) -> Option<Duration> {
            self.compiling.map(Duration::from_secs_f64)
        }
    }

    /// The clock is that of the recorded run, and between two entries what is left runs down.
    #[test]
    #[expect(clippy::print_stdout, reason = "the journal has these figures")]
    fn time_left_is_within_a_factor_of_one_and_a_half_after_the_first_tenth() {
        const FACTOR: f64 = 1.5;
        for recorded in RECORDED {
            let run: Recorded = serde_json::from_str(recorded).unwrap();
            let end = run.progress.last().unwrap().at;
            let mut eta = Eta::new(&run.estimate);
            let mut ended = run.progress.iter().peekable();
            let (mut left, mut since) = (eta.remaining(1).as_secs_f64(), 0.0);
            for tenth in 1..10 {
                let now = end * f64::from(tenth) / 10.0;
                while let Some(one) = ended.next_if(|one| one.at <= now) {
                    eta.measured(one.configuration, one.entry, &one.spent, one.compiling());
                    (left, since) = (eta.remaining(1).as_secs_f64(), one.at);
                }
                let (shown, right) = (left - (now - since), end - now);
                println!("{tenth} tenths of {end:.1} s: {:.2}", shown / right);
                let is_right = (right / FACTOR..right * FACTOR).contains(&shown);
                assert!(is_right, "at {tenth} tenths: {shown:.1} s, and it was {right:.1} s");
            }
        }
    }

    /// Short races of a GPU: half of what was expected around them, and samples as expected.
    #[test]
    fn less_done_around_short_races_makes_long_ones_no_shorter() {
        let wanted: Vec<u32> = (0..20).map(|number| 1 + number % 4).chain([200]).collect();
        let races: Vec<(u32, usize)> = wanted.iter().map(|&wanted| (wanted, 0)).collect();
        let mut estimate = estimate(&races, &[0]);
        let entries = estimate.configurations.iter_mut().flat_map(|one| &mut one.entries);
        for entry in entries {
            entry.race = RaceEstimate { around: 10 * SECOND, budget: Duration::MAX, ..entry.race };
        }
        let mut eta = Eta::new(&estimate);
        for (index, wanted) in wanted[..20].iter().enumerate() {
            eta.measured(index, 0, &spent(5 + wanted, 0), None);
        }
        assert_left(&eta, 205.0);
    }

    #[test]
    fn what_took_longer_makes_the_rest_longer() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (2, 1), (3, 2)], &[0, 0, 0]));
        assert_left(&eta, 6.0);
        eta.skipped(1, 0);
        assert_left(&eta, 4.0);
        eta.measured(0, 0, &spent(2, 0), None);
        assert_left(&eta, 6.0);
        eta.measured(2, 0, &spent(6, 0), None);
        assert_left(&eta, 0.0);
    }

    /// Two operations at three sizes, the small ones first: verification takes four times as long
    /// as expected, and races as long.
    #[test]
    fn verification_is_counted_once_for_an_operation() {
        let races = [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1)];
        let mut eta = Eta::new(&estimate(&races, &[2, 2]));
        eta.measured(0, 0, &spent(1, 8), None);
        assert_left(&eta, 13.0 + 8.0);
        eta.measured(1, 0, &spent(1, 8), None);
        assert_left(&eta, 12.0);
        eta.measured(2, 0, &spent(2, 0), None);
        assert_left(&eta, 10.0);
    }

    #[test]
    fn a_race_that_asks_for_more_ends_with_its_budget() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (2, 0), (9, 0), (20, 0)], &[0]));
        assert_left(&eta, 24.0);
        eta.measured(0, 0, &spent(3, 0), None);
        assert_left(&eta, 6.0 + 12.0 + 12.0);
        // One at its limit says little: another such race is left, and a short one.
        eta.measured(2, 0, &spent(12, 0), None);
        let left = eta.remaining(1).as_secs_f64();
        assert!((2.0 + 12.0..6.0 + 12.5).contains(&left), "{left}");
    }

    /// What a resumed run skips verifies nothing: the first size that is measured does.
    #[test]
    fn an_operation_whose_first_sizes_are_skipped_is_verified_later() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (1, 1), (1, 0)], &[5, 5]));
        eta.skipped(0, 0);
        assert_left(&eta, 12.0);
        eta.ended(1);
        assert_left(&eta, 6.0);
        eta.measured(2, 0, &spent(1, 5), None);
        assert_eq!(eta.remaining(1), Duration::ZERO);
    }

    #[test]
    fn several_devices_share_all_but_the_last_configuration() {
        let eta = Eta::new(&estimate(&[(1, 0), (1, 0), (10, 0)], &[0]));
        assert_eq!([1, 2, 3].map(|devices| eta.remaining(devices).as_secs()), [12, 10, 10]);
    }

    /// Of six seconds four go into waiting for the compiler.
    #[test]
    fn time_is_lost_while_kernels_compile() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (1, 1), (1, 2), (1, 3)], &[1, 1, 1, 1]));
        let waiting = |seconds| PhaseTimes { compile: seconds * SECOND, ..spent(1, 1) };
        eta.measured(0, 0, &waiting(4), Some(9 * SECOND));
        assert_left(&eta, 6.0 + 6.0);
        eta.measured(1, 0, &waiting(4), Some(3 * SECOND));
        assert_left(&eta, 4.0 + 2.0);
        eta.measured(2, 0, &waiting(0), Some(Duration::ZERO));
        assert_left(&eta, 2.0);
    }

    /// A compiler on all processors makes verification slow, and only as long as it runs.
    #[test]
    fn what_is_slow_beside_the_compiler_is_not_slow_behind_it() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (1, 1), (1, 2)], &[1, 1, 1]));
        eta.measured(0, 0, &spent(1, 7), Some(4 * SECOND));
        assert_left(&eta, 4.0 + 3.0);
        eta.measured(1, 0, &spent(1, 7), Some(Duration::ZERO));
        assert_left(&eta, 8.0);
    }

    /// The worker that compiled was lost, or another one measured.
    #[test]
    fn a_compiler_that_nobody_tells_of_ends() {
        let mut eta = Eta::new(&estimate(&[(1, 0), (1, 0), (1, 0)], &[0]));
        eta.measured(0, 0, &spent(4, 0), Some(7 * SECOND));
        eta.measured(1, 0, &spent(4, 0), None);
        assert_left(&eta, 1.0 + 0.75 * 3.0);
        eta.measured(2, 0, &spent(4, 0), None);
        assert_left(&eta, 0.0);
    }

    /// Of one race in a hundred that took four times as long, the others take little longer.
    #[test]
    fn little_work_says_little() {
        let races: Vec<(u32, usize)> = (0..100).map(|_| (1, 0)).collect();
        let mut eta = Eta::new(&estimate(&races, &[0]));
        for (index, left) in [(0, 99.0 * 1.41), (1, 98.0 * 2.0)] {
            eta.measured(index, 0, &spent(4, 0), None);
            let found = eta.remaining(1).as_secs_f64();
            assert!((found / left - 1.0).abs() < 0.05, "{found}, expected {left}");
        }
    }
}
