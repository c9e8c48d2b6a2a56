//! Fits what the model of cost learns of an architecture: for each family, by what factor launches
//! took longer than modelled.
//!
//! ```text
//! evidence ─> Timings (features, measured over modelled) ─boost─> LearnedModel ─> <arch>.model
//! ```
//!
//! Nothing here knows a family: a new one takes part as soon as its launches are described
//! ([`voxtune_cuda::Algorithm::described`]) and its times are in the evidence.

mod boost;
mod file;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use voxtune::{AlgoId, Arch, Direction, MapCounts};
use voxtune_cache::{EntryKey, Evidence};
use voxtune_cuda::model::{Described, FEATURES, Group, LearnedModel, MapSize, Rates};
use voxtune_types::ComputeCapability;

use boost::{Settings, boost};
pub use file::{ModelFileError, is_stale, model_path, read_model};

/// How a family is fitted. Of the settings tried by leaving channel pairs out, none was better by
/// more than a tenth of a percent point of mean regret (`docs/journal/tuner.md`).
const SETTINGS: Settings = Settings { trees: 150, depth: 5, rate: 0.2, smoothing: 10.0, bins: 32 };

/// Timings from which on something is learned of a family. Of fewer the model's constants say as
/// much.
const LEAST_TIMINGS: usize = 100;

/// The timings of an architecture's evidence, as fits see them.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    groups: Vec<GroupTimings>,
}

/// The timings of a family, in wgrad or out of it.
#[derive(Clone, Debug)]
struct GroupTimings {
    family: String,
    wgrad: bool,
    parameters: Vec<String>,
    timings: Vec<Timing>,
}

/// An algorithm on an entry.
#[derive(Clone, Debug)]
struct Timing {
    /// The entry's place in the evidence.
    entry: usize,
    /// Features of the launch, then the algorithm's parameters.
    features: Vec<f32>,
    /// Natural logarithm of the measured over the modelled time.
    log: f64,
    /// The fastest time of the entry over this one: who is far behind need not be predicted well.
    weight: f64,
}

impl Timings {
    /// The timings of the devices of a compute capability.
    ///
    /// A call knows its key, and a key the classes of rows and density; a race knows its counts.
    /// So that both find themselves, every other entry is described by the counts that its key
    /// stands for.
    #[must_use]
    pub fn of(evidence: &Evidence, capability: ComputeCapability) -> Self {
        let mut ids: BTreeMap<(&str, bool), BTreeSet<&AlgoId>> = BTreeMap::new();
        let mut described: BTreeMap<(&str, bool), Vec<(&AlgoId, Timing)>> = BTreeMap::new();
        for (entry, (key, records)) in evidence.entries().enumerate() {
            if key.device.arch != Arch::Cuda(capability) {
                continue;
            }
            let rates = Rates::of(capability, key.device.units);
            let size = size(key, entry % 2 == 1);
            let timed = records
                .preferred()
                .into_iter()
                .filter_map(|record| Some((&record.algo, record.timing()?.centre_ns())));
            let timed: Vec<(&AlgoId, f64)> = timed.collect();
            let fastest = timed.iter().map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
            for (id, time_ns) in timed {
                let Some(algorithm) = voxtune_cuda::algorithm(id) else { continue };
                let Some(Described { time_ns: modelled_ns, features }) =
                    algorithm.described(&key.key.operation, size, &rates)
                else {
                    continue;
                };
                let group = (id.family(), key.key.operation.direction == Direction::Wgrad);
                ids.entry(group).or_default().insert(id);
                let timing = Timing {
                    entry,
                    features: features.to_vec(),
                    log: (time_ns / modelled_ns).ln(),
                    weight: fastest / time_ns,
                };
                described.entry(group).or_default().push((id, timing));
            }
        }
        let group = |((family, wgrad), timings): ((&str, bool), Vec<(&AlgoId, Timing)>)| {
            let parameters = parameters(&ids[&(family, wgrad)]);
            let of = Group { family: family.to_owned(), wgrad, parameters, trees: Vec::new() };
            let timings = timings.into_iter().map(|(id, mut timing)| {
                timing.features.extend(of.parameters_of(id));
                timing
            });
            let timings = timings.collect();
            GroupTimings { timings, family: of.family, wgrad, parameters: of.parameters }
        };
        Self { groups: described.into_iter().map(group).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.timings.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is learned of the entries, by their places in the evidence, for which `sees` answers
    /// yes. `evidence` is the hash of the evidence's file.
    #[must_use]
    pub fn fit(&self, evidence: u64, sees: impl Fn(usize) -> bool + Sync) -> LearnedModel {
        let groups = self.groups.par_iter().filter_map(|group| group.fit(&sees)).collect();
        LearnedModel::new(evidence, groups)
    }

    /// Root mean squares of the logarithms of measured over expected times, without a model's
    /// corrections and with them, by family.
    #[must_use]
    pub fn errors(&self, model: &LearnedModel) -> Vec<FamilyError> {
        let of = |group: &GroupTimings| {
            let learned =
                model.groups().find(|one| one.family == group.family && one.wgrad == group.wgrad);
            let root = |log: &dyn Fn(&Timing) -> f64| {
                let squares: f64 = group.timings.iter().map(|one| log(one).powi(2)).sum();
                (squares / group.timings.len() as f64).sqrt()
            };
            let left = |timing: &Timing| {
                timing.log - learned.map_or(0.0, |group| group.log(&timing.features))
            };
            FamilyError {
                family: group.family.clone(),
                wgrad: group.wgrad,
                timings: group.timings.len(),
                modelled: root(&|timing| timing.log),
                learned: root(&left),
            }
        };
        self.groups.iter().map(of).collect()
    }
}

/// How far expected times of a family are from measured ones.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyError {
    /// The family's name.
    pub family: String,
    /// Whether this is of wgrad.
    pub wgrad: bool,
    /// How many timings were compared.
    pub timings: usize,
    /// Root mean square of the natural logarithm of measured over modelled times.
    pub modelled: f64,
    /// The same with what was learned.
    pub learned: f64,
}

impl GroupTimings {
    fn fit(&self, sees: impl Fn(usize) -> bool) -> Option<Group> {
        let seen: Vec<&Timing> = self.timings.iter().filter(|one| sees(one.entry)).collect();
        if seen.len() < LEAST_TIMINGS {
            return None;
        }
        let column = |place| seen.iter().map(|one| one.features[place]).collect::<Vec<f32>>();
        let columns: Vec<Vec<f32>> = (0..FEATURES + self.parameters.len()).map(column).collect();
        let logs: Vec<f64> = seen.iter().map(|one| one.log).collect();
        let weights: Vec<f64> = seen.iter().map(|one| one.weight).collect();
        Some(Group {
            family: self.family.clone(),
            wgrad: self.wgrad,
            parameters: self.parameters.clone(),
            trees: boost(&columns, &logs, &weights, SETTINGS),
        })
    }
}

/// The parameters that tell some algorithms apart, as [`Group::parameters`] has them.
fn parameters(ids: &BTreeSet<&AlgoId>) -> Vec<String> {
    let parameters = ids.iter().flat_map(|id| id.params());
    let named = parameters.map(|(name, value)| match value.parse::<u32>() {
        Ok(_) => name.to_owned(),
        Err(_) => format!("{name}={value}"),
    });
    named.collect::<BTreeSet<String>>().into_iter().collect()
}

/// Rows and pairs of an entry, or those that its key stands for.
fn size(entry: &EntryKey, typical: bool) -> MapSize {
    let workload = &entry.workload;
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let MapCounts { n_in, n_out, pairs } = if typical {
        MapCounts::typical(&entry.key)
    } else {
        let (n_in, n_out) = (count(workload.rows_in), count(workload.rows_out));
        MapCounts { n_in, n_out, pairs: count(workload.pairs) }
    };
    MapSize { n_in, n_out, pairs }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use voxtune_cache::CacheDir;

    use super::*;
    use crate::testing::{HOPPER, caches, evidence};

    /// Every model of the repository was fitted to the evidence beside it.
    #[test]
    fn what_ships_is_current() {
        let cache = CacheDir::new(caches());
        let mut models = 0;
        for arch in cache.archs().unwrap() {
            let path = model_path(cache.path(), arch);
            let evidence = fs::read(cache.evidence_path(arch)).unwrap();
            if let Some(is_stale) = is_stale(&path, &evidence).unwrap() {
                let name = path.display();
                assert!(!is_stale, "{name} was fitted to other evidence: run `cargo xtask fit`");
                models += 1;
            }
        }
        assert!(models > 0);
    }

    /// What is learned explains more than half of what the model leaves, of every family.
    #[test]
    fn what_is_learned_is_closer() {
        let (evidence, arch) = evidence();
        let Arch::Cuda(capability) = arch else { panic!("{arch}") };
        assert_eq!(capability, HOPPER);
        let timings = Timings::of(&evidence, capability);
        let model = timings.fit(7, |_| true);
        assert_eq!(LearnedModel::decode(&model.encode(), "a").unwrap(), model);
        for error in timings.errors(&model).iter().filter(|one| one.timings >= LEAST_TIMINGS) {
            assert!(error.learned < 0.6 * error.modelled, "{error:?}");
        }
        let few = timings.fit(7, |place| place < 3);
        assert_eq!(few.groups().count(), 0, "of a few timings nothing is learned");
    }
}
