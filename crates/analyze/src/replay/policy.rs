//! Search policies by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use voxtune_types::Arch;

use voxtune_tune::race::Policy;

/// How a set of candidates is searched, and how the winner is picked from the samples.
///
/// Written `race`, `rounds` or `exhaustive`, with parameters behind colons:
///
/// | text | search |
/// |---|---|
/// | `race` | the race of the tuner on the device that the samples are of |
/// | `race:budget=0.5:hopeless=1.5:leader=3:samples=11:shootout=0` | the same with other figures, any of these, see [`Policy`] |
/// | `rounds:samples=3` | so many samples of everybody, as tuners without elimination do |
/// | `exhaustive` | every recorded sample |
///
/// Each takes `pick=fastest`: the least median instead of the tuner's decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchPolicy {
    /// Who is sampled how often.
    pub search: Search,
    /// Who is picked in the end.
    pub pick: Pick,
}

/// Who is sampled how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// Interleaved rounds with elimination.
    Race(Changes),
    /// This many samples of every candidate.
    Rounds(usize),
    /// Every recorded sample.
    Exhaustive,
}

/// What a race does otherwise than the tuner's own: the fields of [`Policy`] that are not as there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Changes {
    /// See [`Policy::budget`].
    pub budget: Option<Duration>,
    /// See [`Policy::dominated_ratio`].
    pub dominated_ratio: Option<f64>,
    /// See [`Policy::leader_samples`].
    pub leader_samples: Option<usize>,
    /// See [`Policy::max_samples`].
    pub max_samples: Option<usize>,
    /// See [`Policy::tie_break`].
    pub tie_break: Option<Duration>,
}

impl Changes {
    /// The policy on a device.
    #[must_use]
    pub fn on(self, arch: Arch) -> Policy {
        let own = Policy::of(arch, self.budget.unwrap_or_else(|| Policy::usual_budget(arch)));
        Policy {
            dominated_ratio: self.dominated_ratio.unwrap_or(own.dominated_ratio),
            leader_samples: self.leader_samples.unwrap_or(own.leader_samples),
            max_samples: self.max_samples.unwrap_or(own.max_samples),
            tie_break: self.tie_break.unwrap_or(own.tie_break),
            ..own
        }
    }
}

/// How the winner is picked from the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// As the tuner decides over evidence.
    Decide,
    /// By the least median.
    Fastest,
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no search policy: {reason}; expected race, rounds:samples=N or exhaustive, race \
     with :budget=SECONDS, :hopeless=RATIO, :leader=N, :samples=N or :shootout=SECONDS, each with \
     :pick=fastest if wanted"
)]
pub struct MalformedPolicy {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl SearchPolicy {
    /// The tuner's own: its race and its decision.
    #[must_use]
    pub fn tuner() -> Self {
        Self { search: Search::Race(Changes::default()), pick: Pick::Decide }
    }
}

/// More samples than anybody has recorded.
const MOST_ROUNDS: usize = 100_000;

impl FromStr for SearchPolicy {
    type Err = MalformedPolicy;

    fn from_str(text: &str) -> Result<Self, MalformedPolicy> {
        let malformed = |reason: String| MalformedPolicy { text: text.to_owned(), reason };
        let mut parts = text.split(':');
        let mut policy = match parts.next().unwrap_or_default() {
            "race" => Self::tuner(),
            "rounds" => Self { search: Search::Rounds(0), ..Self::tuner() },
            "exhaustive" => Self { search: Search::Exhaustive, ..Self::tuner() },
            other => return Err(malformed(format!("there is no `{other}`"))),
        };
        for part in parts {
            let set = part.split_once('=').is_some_and(|(name, value)| policy.set(name, value));
            if !set {
                return Err(malformed(format!("`{part}` does not fit")));
            }
        }
        if let Search::Rounds(samples) = policy.search
            && !(1..=MOST_ROUNDS).contains(&samples)
        {
            return Err(malformed(format!("it needs :samples=N of 1 to {MOST_ROUNDS}")));
        }
        Ok(policy)
    }
}

impl SearchPolicy {
    /// Sets a parameter; whether there is such a one and it takes this value.
    fn set(&mut self, name: &str, value: &str) -> bool {
        fn put<T>(place: &mut T, value: Option<T>) -> bool {
            value.is_some_and(|value| {
                *place = value;
                true
            })
        }
        fn change<T>(place: &mut Option<T>, value: Option<T>) -> bool {
            value.is_some_and(|value| put(place, Some(Some(value))))
        }
        let count = || value.parse::<usize>().ok().filter(|&count| count > 0);
        let number = || value.parse::<f64>().ok().filter(|number| number.is_finite());
        let seconds = || number().and_then(|s| Duration::try_from_secs_f64(s).ok());
        match (&mut self.search, name) {
            (_, "pick") => match value {
                "fastest" => put(&mut self.pick, Some(Pick::Fastest)),
                "decide" => put(&mut self.pick, Some(Pick::Decide)),
                _ => false,
            },
            (Search::Rounds(samples), "samples") => put(samples, count()),
            (Search::Race(race), "samples") => change(&mut race.max_samples, count()),
            (Search::Race(race), "leader") => change(&mut race.leader_samples, count()),
            (Search::Race(race), "hopeless") => {
                change(&mut race.dominated_ratio, number().filter(|&ratio| ratio >= 1.0))
            }
            (Search::Race(race), "budget") => change(&mut race.budget, seconds()),
            (Search::Race(race), "shootout") => change(&mut race.tie_break, seconds()),
            _ => false,
        }
    }
}

impl fmt::Display for SearchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.search {
            Search::Race(race) => write!(f, "race{race}")?,
            Search::Rounds(samples) => write!(f, "rounds:samples={samples}")?,
            Search::Exhaustive => f.write_str("exhaustive")?,
        }
        match self.pick {
            Pick::Decide => Ok(()),
            Pick::Fastest => f.write_str(":pick=fastest"),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |of: Option<Duration>| of.map(|time| time.as_secs_f64());
        let count = |of: Option<usize>| of.map(|count| count as f64);
        let named = [
            ("budget", seconds(self.budget)),
            ("hopeless", self.dominated_ratio),
            ("leader", count(self.leader_samples)),
            ("samples", count(self.max_samples)),
            ("shootout", seconds(self.tie_break)),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, ":{name}={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in [
            "race:budget=0.5:hopeless=1.5:leader=2:samples=7:shootout=0.06",
            "race:samples=11:shootout=0:pick=fastest",
            "race",
            "rounds:samples=3",
            "exhaustive:pick=fastest",
        ] {
            assert_eq!(text.parse::<SearchPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("race".parse(), Ok(SearchPolicy::tuner()));
    }

    /// What is not changed is as the tuner has it on the device at hand.
    #[test]
    fn a_race_is_that_of_its_device() {
        let search = "race:samples=5".parse::<SearchPolicy>().unwrap().search;
        let Search::Race(changes) = search else { panic!("{search:?}") };
        for arch in ["sm_90", "cpu-x86_64-avx512"] {
            let arch = arch.parse::<Arch>().unwrap();
            let own = Policy::of(arch, Policy::usual_budget(arch));
            assert_eq!(changes.on(arch), Policy { max_samples: 5, ..own }, "{arch}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "anneal",
            "rounds",
            "rounds:samples=0",
            "rounds:samples=1000000000000000000",
            "race:samples=x",
            "race:hopeless=0.5",
            "race:hopeless=NaN",
            "race:budget=-1",
            "exhaustive:samples=3",
            "race:pick=slowest",
            "race:",
        ] {
            assert!(text.parse::<SearchPolicy>().is_err(), "{text:?}");
        }
    }
}
