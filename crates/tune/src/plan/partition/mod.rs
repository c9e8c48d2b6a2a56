//! Dividing a plan among machines.
//!
//! Every machine makes the same plan from the same flags and keeps its own part of it. No work is
//! done twice, and the parts together are the whole. Nothing is agreed on at run time.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use voxtune::Direction;

use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::expand::{Plan, PlannedConfiguration};
use crate::plan::grid::Configuration;
use crate::plan::kernels::expected_counts;

/// One of several parts of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Which part, from 0.
    index: usize,
    /// How many there are.
    count: usize,
}

/// How a command line names a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartitionChoice {
    /// This one: `slice:1/4`.
    Given(Partition),
    /// The scheduler's, see [`Partition::from_environment`]: `env`.
    Environment,
}

impl PartitionChoice {
    /// The part.
    ///
    /// # Errors
    /// If the environment is to tell and does not.
    pub fn resolve(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Partition, PartitionError> {
        match self {
            Self::Given(partition) => Ok(partition),
            Self::Environment => Partition::from_environment(variable),
        }
    }
}

impl FromStr for PartitionChoice {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        if text == "env" { Ok(Self::Environment) } else { text.parse().map(Self::Given) }
    }
}

/// A part that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// A text that names no part.
    #[error("`{0}` is no part of a plan: expected slice:1/4 to slice:4/4 or the like, or env")]
    Malformed(String),
    /// No scheduler's variables are set.
    #[error(
        "no part of a plan in the environment: expected {INDEX} (from 0) and {TOTAL}, \
         JOB_COMPLETION_INDEX and {TOTAL} (Kubernetes), or SLURM_ARRAY_TASK_ID, \
         SLURM_ARRAY_TASK_MIN and SLURM_ARRAY_TASK_COUNT (Slurm)"
    )]
    NotInEnvironment,
    /// A variable is set, and one that belongs to it is not.
    #[error("{given} is set and {lacking} is not: set it to {what}")]
    Lacks {
        /// The variable that is set.
        given: &'static str,
        /// The one that is not.
        lacking: &'static str,
        /// What it is.
        what: &'static str,
    },
    /// A variable is no number.
    #[error("{variable} is `{found}`: expected a whole number")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// A number past the parts.
    #[error("{variable} asks for part {index} (from 0) of {count}: expected 0 to one less")]
    OutOfRange {
        /// The variable that gives the number.
        variable: &'static str,
        /// The part, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Slurm's tasks are not numbered one after the other, so that a task's number does not tell
    /// which part is its own.
    #[error(
        "the tasks of this Slurm array are not numbered evenly: {min} to {max} by {step} are not \
         {count} tasks; number them as in --array=0-3"
    )]
    UnevenArray {
        /// Least number of a task.
        min: usize,
        /// Greatest.
        max: usize,
        /// Step between two.
        step: usize,
        /// How many tasks there are.
        count: usize,
    },
}

/// The part's number, from 0, for schedulers that have no variable of their own: GitHub's
/// `strategy.job-index`.
const INDEX: &str = "VOXTUNE_PARTITION_INDEX";

/// The variables by which a scheduler may say which part a process is: voxtune's own and
/// Kubernetes's. Slurm's are not among them: its array may have been made for something else.
pub const PART_VARIABLES: [&str; 2] = [INDEX, "JOB_COMPLETION_INDEX"];

/// The number of parts, for schedulers that do not tell: GitHub's `strategy.job-total`, the
/// `completions` of a Kubernetes job.
const TOTAL: &str = "VOXTUNE_PARTITION_TOTAL";

impl Partition {
    /// The part of this number, from 0, of so many; `None` if there is no such part.
    #[must_use]
    pub const fn new(index: usize, count: usize) -> Option<Self> {
        if index < count { Some(Self { index, count }) } else { None }
    }

    /// Which part, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index
    }

    /// How many parts there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.count
    }

    /// The part that a scheduler gave to this process. Asked in this order:
    ///
    /// | scheduler | part, from 0 | parts |
    /// |---|---|---|
    /// | any, such as a GitHub matrix | `VOXTUNE_PARTITION_INDEX` | `VOXTUNE_PARTITION_TOTAL` |
    /// | Kubernetes, indexed job | `JOB_COMPLETION_INDEX` | `VOXTUNE_PARTITION_TOTAL` |
    /// | Slurm, job array | `(SLURM_ARRAY_TASK_ID - _MIN) / _STEP` | `SLURM_ARRAY_TASK_COUNT` |
    ///
    /// # Errors
    /// If none of them is there, or they make no sense. Doing everything in each of many processes
    /// would be the costliest way to misunderstand a scheduler, so nothing is guessed.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, PartitionError> {
        const PARTS: &str = "the number of parts";
        let number = |name: &'static str| -> Result<Option<usize>, PartitionError> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            let parsed = text.trim().parse();
            parsed.map(Some).map_err(|_| PartitionError::NotANumber { variable: name, found: text })
        };
        for given in PART_VARIABLES {
            if let Some(index) = number(given)? {
                let lacks = PartitionError::Lacks { given, lacking: TOTAL, what: PARTS };
                let count = number(TOTAL)?.ok_or(lacks)?;
                return Self::checked(given, index, count);
            }
        }
        const TASK: &str = "SLURM_ARRAY_TASK_ID";
        let Some(task) = number(TASK)? else { return Err(PartitionError::NotInEnvironment) };
        let of_array = |lacking: &'static str, what| {
            number(lacking)?.ok_or(PartitionError::Lacks { given: TASK, lacking, what })
        };
        let count = of_array("SLURM_ARRAY_TASK_COUNT", PARTS)?;
        let min = of_array("SLURM_ARRAY_TASK_MIN", "the least number of the array")?;
        let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1);
        let max = number("SLURM_ARRAY_TASK_MAX")?.unwrap_or(task);
        let offset = task.checked_sub(min).filter(|offset| step > 0 && offset % step == 0);
        let given = variable("SLURM_ARRAY_TASK_MAX").is_some();
        let even = step > 0 && max >= min && (max - min) / step + 1 == count;
        match offset {
            Some(offset) if even || !given => Self::checked(TASK, offset / step, count),
            _ => Err(PartitionError::UnevenArray { min, max, step, count }),
        }
    }

    fn checked(variable: &'static str, index: usize, count: usize) -> Result<Self, PartitionError> {
        Self::new(index, count).ok_or(PartitionError::OutOfRange { variable, index, count })
    }

    /// Keeps this part of a plan, whose configurations are measured in these directions. The order
    /// stays: neighbours share clouds.
    pub fn keep(self, plan: &mut Plan, directions: &[Direction]) {
        let parts = divide(&costs(&plan.configurations, directions), self.count);
        let mut part = parts.iter();
        plan.configurations.retain(|_| part.next() == Some(&self.index));
    }
}

/// Which part each of several jobs belongs to: the costliest first, each to the part that has the
/// least so far. So two parts differ by at most the costliest job. The largest is at most a third
/// above the best possible one (Graham 1969, "Bounds on multiprocessing timing anomalies"). Ties go
/// to the earlier job and the lower part, so every machine comes to the same answer.
pub(crate) fn divide(costs: &[u128], parts: usize) -> Vec<usize> {
    let mut costliest_first: Vec<usize> = (0..costs.len()).collect();
    costliest_first.sort_by_key(|&job| (Reverse(costs[job]), job));
    // More parts than jobs stay empty, and take no memory.
    let mut loads = vec![0_u128; parts.min(costs.len()).max(1)];
    let mut part_of = vec![0; costs.len()];
    for job in costliest_first {
        let lightest = (0..loads.len()).min_by_key(|&part| (loads[part], part)).unwrap_or(0);
        loads[lightest] += costs[job];
        part_of[job] = lightest;
    }
    part_of
}

/// What configurations cost, up to a factor: half by their entries and half by their products.
/// Setting up and verifying an entry takes its time whatever the size. Whole numbers, computed from
/// the plan alone: machines of any kind must agree on them.
pub(crate) fn costs(
    configurations: &[PlannedConfiguration],
    directions: &[Direction],
) -> Vec<u128> {
    let directions = directions.len() as u128;
    let entries = |planned: &PlannedConfiguration| planned.clouds.len() as u128 * directions;
    let products = |planned: &PlannedConfiguration| {
        let Configuration { channels, groups, .. } = planned.configuration;
        let products = u128::from(channels.c_in) * u128::from(channels.c_out);
        let layer = products / u128::from(groups.max(1)) * directions;
        planned.clouds.iter().map(|cloud| pairs(cloud, planned) * layer).sum::<u128>()
    };
    let all_entries: u128 = configurations.iter().map(entries).sum();
    let all_products: u128 = configurations.iter().map(products).sum();
    let cost = |planned| entries(planned) * all_products + products(planned) * all_entries;
    configurations.iter().map(cost).collect()
}

fn pairs(cloud: &PlannedCloud, planned: &PlannedConfiguration) -> u128 {
    expected_counts(cloud, planned.configuration.layer).pairs as u128
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let parts = text.strip_prefix("slice:").and_then(|parts| parts.split_once('/'));
        parts
            .and_then(|(number, count)| {
                let number: usize = number.parse().ok()?;
                Self::new(number.checked_sub(1)?, count.parse().ok()?)
            })
            .ok_or_else(|| PartitionError::Malformed(text.to_owned()))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slice:{}/{}", self.index + 1, self.count)
    }
}
