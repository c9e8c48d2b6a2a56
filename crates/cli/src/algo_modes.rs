//! Which algorithms are to compete: a flag, else variables of the environment.

use std::collections::BTreeSet;

use voxtune::{is_known_algorithm, known_algorithms};
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoId, AlgoMode, Direction};

use crate::exit::Failure;

/// The modes that a flag and the environment ask for, `unnamed` where they ask for none; all of
/// their names are known.
pub(crate) fn algo_modes(
    flag: Option<&AlgoMode>,
    unnamed: AlgoModes,
) -> Result<AlgoModes, Failure> {
    let modes = match flag {
        Some(mode) => AlgoModes::uniform(mode.clone()),
        None => unnamed.overridden_by(variable).map_err(Failure::usage)?,
    };
    check_names(&modes, flag)?;
    Ok(modes)
}

/// What names the modes.
pub(crate) const fn source_of_modes(flag: Option<&AlgoMode>) -> &'static str {
    if flag.is_some() { "--algo-mode" } else { "a WARPCONVNET_*_ALGO_MODE variable" }
}

/// A variable of the environment. What is not Unicode is no value either: it is to be refused, not
/// passed over.
pub(crate) fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

/// Names that no backend knows are refused before anything is opened.
fn check_names(modes: &AlgoModes, flag: Option<&AlgoMode>) -> Result<(), Failure> {
    let source = source_of_modes(flag);
    for direction in Direction::ALL {
        let AlgoMode::Named(names) = modes.of(direction) else { continue };
        if let Some(unknown) = names.iter().find(|name| !is_known_algorithm(name)) {
            let known = alternatives(unknown, &known_algorithms());
            return Err(Failure::usage(format!(
                "{source}: unknown algorithm `{unknown}` for {direction}: known are {known}"
            )));
        }
    }
    Ok(())
}

/// What could have been meant: every family, and the ids of the family that was named.
pub(crate) fn alternatives(name: &AlgoId, ids: &[AlgoId]) -> String {
    let families: BTreeSet<&str> = ids.iter().map(AlgoId::family).collect();
    let mut text = families.into_iter().collect::<Vec<_>>().join(", ");
    let kin: Vec<&str> =
        ids.iter().filter(|id| id.family() == name.family()).map(AlgoId::as_str).collect();
    if !kin.is_empty() {
        text.push_str(&format!("; of {}:\n  {}", name.family(), kin.join("\n  ")));
    }
    text
}
