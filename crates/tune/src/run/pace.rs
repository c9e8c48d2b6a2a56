//! How long work takes, by what was expected of the pieces that are done and what they took.

use std::time::Duration;

/// Work that was done, in order: what was expected, and what it took.
#[derive(Clone, Debug)]
pub(super) struct Done<E>(Vec<(E, Duration)>);

impl<E> Default for Done<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<E> Done<E> {
    /// A piece of work ended.
    pub(super) fn push(&mut self, expected: E, took: Duration) {
        self.0.push((expected, took));
    }

    /// The last of it: two thirds of the time, but not less than a few pieces. A machine may have
    /// become busier, and plans go from small sizes to large ones; shorter parts of a plan are too
    /// much alike.
    fn recent(&self) -> &[(E, Duration)] {
        const LEAST: usize = 8;
        let most = self.0.iter().map(|(_, spent)| *spent).sum::<Duration>() * 2 / 3;
        let mut taken = Duration::ZERO;
        let pieces = self.0.iter().rev().take_while(|(_, spent)| {
            let goes_on = taken < most;
            taken += *spent;
            goes_on
        });
        let pieces = pieces.count().max(LEAST).min(self.0.len());
        &self.0[self.0.len() - pieces..]
    }

    /// What the recent pieces say of further ones, by the seconds that an expectation comes to at
    /// a factor. A busy machine adds to each piece, a slow one to each run: short pieces tell of
    /// the first, long ones of the second.
    fn pace_of_recent(&self, seconds: impl Fn(&E, f64) -> f64) -> Pace {
        const MOST: f64 = 256.0;
        const ROUNDS: usize = 3;
        /// A few dozen turns of a scheduler: whatever takes longer is slow.
        const MOST_EXTRA: f64 = 0.25;
        /// How much of what was expected around a piece may turn out not to be done.
        const LEAST_AROUND: f64 = 0.5;
        /// By how much times differ that are the same, as a fraction.
        const ALIKE: f64 = 0.03;
        /// How long a run is, as a fraction of a race's limit.
        const RUN: f64 = 0.2;
        let mut pieces: Vec<&(E, Duration)> = self.recent().iter().collect();
        pieces.sort_by(|a, b| seconds(&a.0, 1.0).total_cmp(&seconds(&b.0, 1.0)));
        let (short, long) = pieces.split_at(pieces.len() / 2);
        let around = |pieces: &[&(E, Duration)]| {
            pieces.iter().map(|(one, _)| seconds(one, 0.0)).sum::<f64>()
        };
        let long_spent: f64 = long.iter().map(|(_, spent)| spent.as_secs_f64()).sum();
        // Less may be done around the work than was expected, too.
        let least_extra = -LEAST_AROUND * around(short) / short.len().max(1) as f64;
        // A race at its limit ends a run before it or behind it, and says nothing of runs.
        let took = |(one, spent): &(E, Duration), extra: f64| {
            let (took, expected) = (spent.as_secs_f64() - extra, seconds(one, 1.0));
            let is_at_limit = took > 0.0
                && seconds(one, 1.0 + ALIKE) <= expected
                && (expected / took).max(took / expected) <= 1.0 + RUN;
            if is_at_limit { expected } else { took }
        };
        let mut pace = Pace { extra: 0.0, slower: 1.0 };
        for _ in 0..ROUNDS {
            let beyond =
                |(one, spent): &(E, Duration)| spent.as_secs_f64() - seconds(one, pace.slower);
            let beyond: f64 = short.iter().map(|piece| beyond(piece)).sum();
            pace.extra = (beyond / short.len().max(1) as f64).clamp(least_extra, MOST_EXTRA);
            // Pieces that are mostly what is done around the work say little of a machine's speed.
            let around = around(long) + pace.extra * long.len() as f64;
            let trust = if long_spent > around { 1.0 - around / long_spent } else { 0.0 };
            let spent: f64 = long.iter().map(|piece| took(piece, pace.extra)).sum();
            let expected = |slower| long.iter().map(|(one, _)| seconds(one, slower)).sum::<f64>();
            if expected(1.0) == 0.0 {
                return pace;
            }
            // Races at their limits fit many factors: of all, that nearest to what was expected.
            let [least, most] = [1.0 - ALIKE, 1.0 + ALIKE].map(|part| {
                let (mut low, mut high) = (1.0 / MOST, MOST);
                for _ in 0..24 {
                    let middle = f64::sqrt(low * high);
                    match expected(middle) < part * spent {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                f64::sqrt(low * high)
            });
            pace.slower = 1.0_f64.clamp(least, most).powf(trust.min(1.0));
        }
        pace
    }

    /// The pace of the work that is ahead.
    pub(super) fn pace<'e>(
        &self,
        seconds: impl Fn(&E, f64) -> f64,
        ahead: impl Iterator<Item = &'e E>,
    ) -> Pace
    where
        E: 'e,
    {
        let done: f64 = self.0.iter().map(|(one, _)| seconds(one, 1.0)).sum();
        let ahead: f64 = ahead.map(|one| seconds(one, 1.0)).sum();
        let share = if done > 0.0 { done / (done + ahead) } else { 0.0 };
        self.pace_of_recent(seconds).trusted(share)
    }
}

/// How long pieces of work take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds that each takes beyond what was expected; fewer if negative.
    pub(super) extra: f64,
    /// How many times as long as expected the rest takes.
    pub(super) slower: f64,
}

impl Pace {
    /// Of little of the work, what was expected of it says as much.
    fn trusted(self, share_done: f64) -> Self {
        const ALL: f64 = 0.04;
        let trust = (share_done / ALL).min(1.0);
        Self { extra: self.extra * trust, slower: self.slower.powf(trust) }
    }
}

/// The seconds of an expectation that is as long as what is done.
pub(super) fn plainly(expected: &Duration, slower: f64) -> f64 {
    slower * expected.as_secs_f64()
}
