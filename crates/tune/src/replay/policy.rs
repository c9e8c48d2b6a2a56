//! Search policies by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::race::{GPU_BUDGET, Policy};

/// How a set of candidates is searched, and how the winner is picked from the samples.
///
/// Written `race`, `rounds` or `exhaustive`, with parameters behind colons:
///
/// | text | search |
/// |---|---|
/// | `race` | the tuner's race |
/// | `race:budget=0.5:hopeless=1.5:leader=3:samples=11:shootout=0` | the same with other figures, see [`Policy`] |
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
    Race(Policy),
    /// This many samples of every candidate.
    Rounds(usize),
    /// Every recorded sample.
    Exhaustive,
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
    /// The tuner's own: its race, for a GPU's budget, and its decision.
    #[must_use]
    pub const fn tuner() -> Self {
        let race = Policy::on_gpu(GPU_BUDGET);
        Self { search: Search::Race(race), pick: Pick::Decide }
    }
}

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
        if policy.search == Search::Rounds(0) {
            return Err(malformed("it needs :samples=N of at least 1".to_owned()));
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
            (Search::Race(race), "samples") => put(&mut race.max_samples, count()),
            (Search::Race(race), "leader") => put(&mut race.leader_samples, count()),
            (Search::Race(race), "hopeless") => {
                put(&mut race.hopeless_ratio, number().filter(|&ratio| ratio >= 1.0))
            }
            (Search::Race(race), "budget") => put(&mut race.budget, seconds()),
            (Search::Race(race), "shootout") => put(&mut race.shoot_out, seconds()),
            _ => false,
        }
    }
}

impl fmt::Display for SearchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.search {
            Search::Race(race) => write!(
                f,
                "race:budget={}:hopeless={}:leader={}:samples={}:shootout={}",
                race.budget.as_secs_f64(),
                race.hopeless_ratio,
                race.leader_samples,
                race.max_samples,
                race.shoot_out.as_secs_f64()
            )?,
            Search::Rounds(samples) => write!(f, "rounds:samples={samples}")?,
            Search::Exhaustive => f.write_str("exhaustive")?,
        }
        match self.pick {
            Pick::Decide => Ok(()),
            Pick::Fastest => f.write_str(":pick=fastest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in [
            "race:budget=0.5:hopeless=1.5:leader=2:samples=7:shootout=0.06",
            "race:budget=1:hopeless=2:leader=3:samples=11:shootout=0:pick=fastest",
            "rounds:samples=3",
            "exhaustive:pick=fastest",
        ] {
            assert_eq!(text.parse::<SearchPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("race".parse(), Ok(SearchPolicy::tuner()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "anneal",
            "rounds",
            "rounds:samples=0",
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
