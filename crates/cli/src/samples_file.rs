//! Reading files of samples, as far as they are sound.

use std::path::Path;

use voxtune_analyze::samples::{RaceSamples, SamplesError, SamplesReader};

use crate::exit::Failure;
use crate::output;

/// The races of a file. Of a damaged one those before the damage, with a warning.
pub(crate) fn sound_races(path: &Path) -> Result<Vec<RaceSamples>, Failure> {
    let mut races = Vec::new();
    for race in SamplesReader::open(path).map_err(Failure::failed)? {
        match race {
            Ok(race) => races.push(race),
            Err(error @ SamplesError::Damaged { .. }) if !races.is_empty() => {
                output::complain("warning", error);
                break;
            }
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    Ok(races)
}
