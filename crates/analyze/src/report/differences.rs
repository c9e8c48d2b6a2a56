//! Keys that two populations decide differently: two caches, or two devices.

use serde::Serialize;
use voxtune_cache::{Decisions, EntryKey, Evidence};
use voxtune_types::DeviceIdentity;

use super::numbers::short;
use super::{Part, Tables};
use crate::regret::{Flips, Population, Registries, assess};

/// Two populations against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Which population is the first.
    pub first: usize,
    /// Which is the second.
    pub second: usize,
    /// Keys that both have decided.
    pub keys: usize,
    /// Of these, those decided differently, the farthest apart first.
    pub flipped: Vec<FlipRow>,
    /// The caches, as a command takes them.
    pub arguments: String,
}

/// A key that two populations decided differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlipRow {
    /// Which operation.
    pub operation: usize,
    /// Class of input rows.
    pub bucket_in: u8,
    /// Class of output rows.
    pub bucket_out: u8,
    /// Class of density.
    pub density: u8,
    /// The winner of the first.
    pub first: usize,
    /// The winner of the second.
    pub second: usize,
    /// By which fraction the other's winner takes longer in the evidence of each, where it tells.
    pub slower_by: [Option<f64>; 2],
    /// Whether noise explains the difference in one of them.
    pub noise: bool,
}

/// Every pair of populations that have a key in common, as far as a page can be read.
pub(super) fn all(parts: &[Part<'_>], tables: &mut Tables) -> Vec<Difference> {
    /// Of more caches than this each is compared with the first alone.
    const ALL_PAIRS: usize = 4;
    let mut all = Vec::new();
    for second in 1..parts.len() {
        let firsts = if parts.len() > ALL_PAIRS { 1 } else { second };
        for first in 0..firsts {
            all.extend(difference(parts, first, second, tables));
        }
    }
    all
}

fn difference(
    parts: &[Part<'_>],
    first: usize,
    second: usize,
    tables: &mut Tables,
) -> Option<Difference> {
    let (one, other) = (&parts[first], &parts[second]);
    let flips = if one.device == other.device {
        flips(&one.population, &other.population)
    } else if one.device.arch.is_cuda() == other.device.arch.is_cuda() {
        flips(&one.population, &moved_to(&other.population, &one.device))
    } else {
        // A processor and a GPU run other algorithms.
        None
    }?;
    if flips.keys == 0 {
        return None;
    }
    let mut flipped: Vec<FlipRow> = Vec::new();
    for flip in &flips.flipped {
        flipped.push(FlipRow {
            operation: tables.operation(&flip.key.operation),
            bucket_in: flip.key.bucket_in.index(),
            bucket_out: flip.key.bucket_out.index(),
            density: flip.key.density.index(),
            first: tables.algorithm(&flip.ours),
            second: tables.algorithm(&flip.theirs),
            slower_by: flip.slower_by.map(|by| by.map(short)),
            noise: flip.within_noise,
        });
    }
    let farthest = |row: &FlipRow| row.slower_by.into_iter().flatten().fold(0.0, f64::max);
    flipped.sort_by(|a, b| a.noise.cmp(&b.noise).then(farthest(b).total_cmp(&farthest(a))));
    let arguments = if one.cache.argument == other.cache.argument {
        one.cache.argument.clone()
    } else {
        format!("{} {}", one.cache.argument, other.cache.argument)
    };
    Some(Difference { first, second, keys: flips.keys, flipped, arguments })
}

fn flips(first: &Population, second: &Population) -> Option<Flips> {
    assess(&[], first, Some(second), &mut Registries::new()).flips
}

/// A population as if it were of another device, so that its keys meet that one's.
fn moved_to(population: &Population, device: &DeviceIdentity) -> Population {
    let mut evidence = Evidence::new();
    for (entry, records) in population.evidence.entries() {
        let entry = EntryKey { device: device.clone(), ..entry.clone() };
        for record in records.iter() {
            // Everything in a set is valid, and stays so.
            _ = evidence.insert(entry.clone(), record.clone());
        }
    }
    let decisions: Decisions = population
        .decisions
        .iter()
        .map(|mut decision| {
            decision.device = device.clone();
            decision
        })
        .collect();
    Population { decisions, evidence }
}
