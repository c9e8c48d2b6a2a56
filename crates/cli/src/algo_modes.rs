//! Which algorithms are to compete: a flag, else variables of the environment.

use std::collections::BTreeSet;

use voxtune::{is_known_algorithm, known_algorithms};
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoId, AlgoMode, Direction};

use crate::exit::Failure;

/// The modes that a flag and the environment ask for, all of whose names are known.
pub(crate) fn algo_modes(flag: Option<&AlgoMode>) -> Result<AlgoModes, Failure> {
    let modes = AlgoModes::resolve(flag, variable).map_err(Failure::usage)?;
    check_names(&modes, flag.is_some())?;
    Ok(modes)
}

/// A variable of the environment. What is not Unicode is no value either: it is to be refused, not
/// passed over.
pub(crate) fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

/// Names that no backend knows are refused before anything is opened.
fn check_names(modes: &AlgoModes, by_flag: bool) -> Result<(), Failure> {
    let source = if by_flag { "--algo-mode" } else { "a WARPCONVNET_*_ALGO_MODE variable" };
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
