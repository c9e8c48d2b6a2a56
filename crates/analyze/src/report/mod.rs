//! A report to look at: what caches hold, what benches measured, and how they compare, as one page.
//!
//! ```text
//! Contents ─Report::of─> Report ─page()─> one HTML file, without a network or a server
//! ```
//!
//! | question | module |
//! |---|---|
//! | which algorithm wins where, by how much, how surely? | `keys` |
//! | what may not win, and why? | `quarantine` |
//! | what do choices lose? | `losses`, by grade `grades` |
//! | where do two populations choose differently? | `differences` |
//! | how do times change over versions? | `runs` |
//! | how do times compare with other libraries'? | `peers` |
//! | which file is what? | [`sniff`] |
//! | how does all of it become a page? | `page` |
//!
//! Everything is prepared here, as plain numbers and texts; the page only filters, sorts and draws.
//! Texts are put into the page as one JSON document that no text can end. The page's script writes
//! them as text, never as markup.

mod differences;
mod grades;
mod keys;
mod losses;
mod numbers;
mod page;
mod peers;
mod quarantine;
mod runs;
pub mod shell;
pub mod sniff;
mod tables;

#[cfg(test)]
mod tests;

use serde::Serialize;
use voxtune_cache::{Decisions, Environment, Evidence};
use voxtune_types::{DeviceIdentity, printable};

use crate::regret::Population;
use crate::samples::RaceSamples;

pub use differences::{Difference, FlipRow};
pub use keys::{CandidateRow, KeyRow, WorkloadRow};
pub use losses::{Loss, LossPoint, Losses};
pub use page::page;
pub use peers::{PeerLayer, PeerPass, PeerRatio};
pub use quarantine::QuarantineRow;
pub use runs::{RunColumn, RunFile, RunPoint, RunSeries};
pub use tables::{OperationRow, Tables};

/// What a report is made of.
#[derive(Debug, Default)]
pub struct Contents {
    /// Caches, in the order in which they were named.
    pub caches: Vec<NamedCache>,
    /// Files of samples: races in which every candidate was sampled alike.
    pub oracles: Vec<NamedRaces>,
    /// Regret that was judged before.
    pub regrets: Vec<LossFile>,
    /// Runs of `bench`, the earliest version first.
    pub runs: Vec<RunFile>,
    /// Times of other libraries.
    pub peers: Vec<PeerLayer>,
}

/// A cache and what it is called.
#[derive(Debug)]
pub struct NamedCache {
    /// Its path, as a person reads it.
    pub name: String,
    /// Its path, as a shell takes it.
    pub argument: String,
    /// What it holds.
    pub population: Population,
}

/// A file of samples and what it is called.
#[derive(Debug)]
pub struct NamedRaces {
    /// Its path, as a person reads it.
    pub name: String,
    /// Its path, as a shell takes it.
    pub argument: String,
    /// Its races.
    pub races: Vec<RaceSamples>,
}

/// A file that `regret` wrote.
#[derive(Debug)]
pub struct LossFile {
    /// Its path, as a person reads it.
    pub name: String,
    /// The command that wrote it, where the file tells.
    pub command: Option<String>,
    /// What it says.
    pub losses: Vec<Loss>,
}

/// How commands are spelled on the page.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The name of the program, such as `voxtune`.
    pub program: String,
    /// The command line that makes this page.
    pub typed: String,
}

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of the program that made it.
    pub version: &'static str,
    /// The command line that made it.
    pub command: String,
    /// A device of a cache each.
    pub populations: Vec<PopulationRow>,
    /// Names that rows refer to by number.
    pub tables: Tables,
    /// The keys of all populations.
    pub keys: Vec<KeyRow>,
    /// What may not win.
    pub quarantine: Vec<QuarantineRow>,
    /// What choices lose.
    pub losses: Vec<Losses>,
    /// Keys that two populations decide differently.
    pub differences: Vec<Difference>,
    /// Runs of `bench`.
    pub runs: Vec<RunColumn>,
    /// Their rows, over all runs.
    pub series: Vec<RunSeries>,
    /// Times beside those of other libraries.
    pub peers: Vec<PeerRatio>,
}

/// What one device of a cache has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PopulationRow {
    /// The cache.
    pub source: String,
    /// The device's name.
    pub name: String,
    /// The device, with its architecture and size.
    pub device: String,
    /// Its architecture.
    pub arch: String,
    /// Whether it is a GPU.
    pub gpu: bool,
    /// Keys with a decision.
    pub decided: usize,
    /// Keys measured on a cloud.
    pub entries: usize,
    /// Records of candidates.
    pub records: usize,
    /// Versions of tool, driver and compiler that records were made with.
    pub environments: Vec<String>,
    /// A command that prints the same numbers.
    pub command: String,
}

/// One device of a cache.
struct Part<'c> {
    cache: &'c NamedCache,
    device: DeviceIdentity,
    population: Population,
}

impl Report {
    /// Prepares everything.
    #[must_use]
    pub fn of(contents: &Contents, commands: &Commands) -> Self {
        let parts: Vec<Part<'_>> = contents.caches.iter().flat_map(parts).collect();
        let mut tables = Tables::default();
        let mut keys = Vec::new();
        let mut quarantine = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            keys.extend(keys::rows(number, part, &mut tables));
            quarantine.extend(quarantine::rows(number, part, &mut tables));
        }
        let (columns, series) = runs::over_versions(&contents.runs);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: commands.typed.clone(),
            populations: parts.iter().map(|part| part.row(commands)).collect(),
            losses: losses::all(&parts, contents, commands),
            differences: differences::all(&parts, &mut tables),
            peers: peers::ratios(&parts, contents, commands),
            tables,
            keys,
            quarantine,
            runs: columns,
            series,
        }
    }
}

/// A cache apart by devices.
fn parts(cache: &NamedCache) -> Vec<Part<'_>> {
    let Population { decisions, evidence } = &cache.population;
    let mut devices: Vec<DeviceIdentity> = decisions.devices().to_vec();
    let mut last = None;
    for (entry, _) in evidence.entries() {
        if last != Some(&entry.device) && !devices.contains(&entry.device) {
            devices.push(entry.device.clone());
        }
        last = Some(&entry.device);
    }
    devices.sort();
    let one = devices.len() == 1;
    let part = |device: DeviceIdentity| {
        let population = if one {
            cache.population.clone()
        } else {
            Population { decisions: of_device(decisions, &device), evidence: at(evidence, &device) }
        };
        Part { cache, device, population }
    };
    devices.into_iter().map(part).collect()
}

fn of_device(decisions: &Decisions, device: &DeviceIdentity) -> Decisions {
    decisions.iter().filter(|decision| decision.device == *device).collect()
}

fn at(evidence: &Evidence, device: &DeviceIdentity) -> Evidence {
    let mut own = evidence.clone();
    own.retain(|entry, _| entry.device == *device);
    own
}

/// Versions as a person reads them; a processor has no driver.
fn environment(one: &Environment) -> String {
    let named = [("", &one.tool), ("driver ", &one.driver), ("compiler ", &one.toolkit)];
    let known = named.into_iter().filter(|(_, version)| !version.is_empty());
    known.map(|(what, version)| format!("{what}{version}")).collect::<Vec<_>>().join(", ")
}

impl Part<'_> {
    /// What it is called where there are several.
    fn name(&self) -> String {
        format!("{} of {}", self.device, self.cache.name)
    }

    fn row(&self, commands: &Commands) -> PopulationRow {
        let Population { decisions, evidence } = &self.population;
        let mut environments: Vec<String> = Vec::new();
        let mut records = 0;
        for (_, of_entry) in evidence.entries() {
            records += of_entry.len();
            for record in of_entry.iter() {
                let text = environment(&record.environment);
                if !environments.contains(&text) {
                    environments.push(text);
                }
            }
        }
        environments.sort();
        let device = shell::quoted(&self.device.name);
        PopulationRow {
            source: self.cache.name.clone(),
            name: printable(&self.device.name).into_owned(),
            device: self.device.to_string(),
            arch: self.device.arch.to_string(),
            gpu: self.device.arch.is_cuda(),
            decided: decisions.len(),
            entries: evidence.len(),
            records,
            environments,
            command: format!(
                "{} inspect {} --device {device}",
                commands.program, self.cache.argument
            ),
        }
    }
}
