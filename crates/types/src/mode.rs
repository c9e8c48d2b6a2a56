//! Which algorithms may compete.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{BYTE_ORDER_MARK, lines, without_comment};
use crate::{AlgoId, Direction};

/// The pool that a race or resolution chooses from: the argument of `--algo-mode` and the value of
/// the `WARPCONVNET_*_ALGO_MODE` variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AlgoMode {
    /// The candidates that a model of cost expects to matter.
    #[default]
    Auto,
    /// Every candidate whose geometry suits the layer, whatever a model of cost expects of it.
    /// These are those of `auto` and what that leaves out for its modelled time.
    Trimmed,
    /// Every applicable candidate.
    All,
    /// The named families and exact ids only.
    Named(Vec<AlgoId>),
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an algorithm mode: expected auto, trimmed, all, a name or a list such as [a,b]"
)]
pub struct MalformedAlgoMode(pub String);

impl AlgoMode {
    /// Whether a candidate belongs to the pool. `auto` and `trimmed` answer yes: which candidates
    /// matter is the registry's to say.
    #[must_use]
    pub fn admits(&self, id: &AlgoId) -> bool {
        match self {
            Self::Auto | Self::Trimmed | Self::All => true,
            Self::Named(names) => {
                names.iter().any(|name| name == id || name.as_str() == id.family())
            }
        }
    }

    /// The names that match none of the known ids.
    #[must_use]
    pub fn unknown<'a>(&'a self, known: &[AlgoId]) -> Vec<&'a AlgoId> {
        match self {
            Self::Auto | Self::Trimmed | Self::All => Vec::new(),
            Self::Named(names) => names
                .iter()
                .filter(|name| !known.iter().any(|id| *name == id || name.as_str() == id.family()))
                .collect(),
        }
    }
}

impl FromStr for AlgoMode {
    type Err = MalformedAlgoMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedAlgoMode(text.to_owned());
        match text {
            "auto" => return Ok(Self::Auto),
            "trimmed" => return Ok(Self::Trimmed),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let inner = match text.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(malformed)?,
            None if text.contains(',') => return Err(malformed()),
            None => text,
        };
        let mut names = Vec::new();
        for name in inner.split(',') {
            let id: AlgoId = name.trim().parse().map_err(|_| malformed())?;
            if matches!(id.as_str(), "auto" | "trimmed" | "all") {
                return Err(malformed());
            }
            if !names.contains(&id) {
                names.push(id);
            }
        }
        Ok(Self::Named(names))
    }
}

impl fmt::Display for AlgoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Trimmed => f.pad("trimmed"),
            Self::All => f.pad("all"),
            Self::Named(names) if names.len() == 1 => f.pad(names[0].as_str()),
            Self::Named(names) => {
                let names: Vec<&str> = names.iter().map(AlgoId::as_str).collect();
                f.pad(&format!("[{}]", names.join(",")))
            }
        }
    }
}

/// By its text.
impl Serialize for AlgoMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AlgoMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One mode a direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgoModes {
    modes: [AlgoMode; 3],
}

/// A variable whose value is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {source}")]
pub struct MalformedAlgoModeVariable {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with its value.
    pub source: MalformedAlgoMode,
}

impl AlgoModes {
    /// The same mode in every direction.
    #[must_use]
    pub fn uniform(mode: AlgoMode) -> Self {
        Self { modes: [mode.clone(), mode.clone(), mode] }
    }

    /// The modes that a flag and the environment ask for. A flag beats the variable of a direction
    /// (`WARPCONVNET_FWD_ALGO_MODE`, `_DGRAD_`, `_WGRAD_`), which beats
    /// `WARPCONVNET_BWD_ALGO_MODE`, which stands for both gradients. An empty variable counts as
    /// absent.
    ///
    /// # Errors
    /// If a variable that decides holds no mode.
    pub fn resolve(
        flag: Option<&AlgoMode>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, MalformedAlgoModeVariable> {
        match flag {
            Some(mode) => Ok(Self::uniform(mode.clone())),
            None => Self::default().overridden_by(variable),
        }
    }

    /// These modes, but for those directions for which the environment names one, as
    /// [`Self::resolve`] says.
    ///
    /// # Errors
    /// If a variable that decides holds no mode.
    pub fn overridden_by(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, MalformedAlgoModeVariable> {
        let mut modes = self;
        for direction in Direction::ALL {
            let names: &[&'static str] = match direction {
                Direction::Forward => &["WARPCONVNET_FWD_ALGO_MODE"],
                Direction::Dgrad => &["WARPCONVNET_DGRAD_ALGO_MODE", "WARPCONVNET_BWD_ALGO_MODE"],
                Direction::Wgrad => &["WARPCONVNET_WGRAD_ALGO_MODE", "WARPCONVNET_BWD_ALGO_MODE"],
            };
            let found = names
                .iter()
                .find_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)));
            if let Some((variable, text)) = found {
                modes.modes[direction as usize] = text
                    .parse()
                    .map_err(|source| MalformedAlgoModeVariable { variable, source })?;
            }
        }
        Ok(modes)
    }

    /// These modes with another one for a direction.
    #[must_use]
    pub fn with(mut self, direction: Direction, mode: AlgoMode) -> Self {
        self.modes[direction as usize] = mode;
        self
    }

    /// The mode of a direction.
    #[must_use]
    pub fn of(&self, direction: Direction) -> &AlgoMode {
        &self.modes[direction as usize]
    }
}

/// A text with a line that gives no direction its mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}, `{text}`: expected a direction and a mode, such as `forward = mask_gemm`, or a \
     comment after #"
)]
pub struct MalformedAlgoModes {
    /// The line's number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl AlgoModes {
    /// Reads lines such as `wgrad = [a,b]`; what they do not name is `auto`. A `#` begins a
    /// comment, whose bytes may be in any encoding.
    ///
    /// # Errors
    /// If a line gives no direction its mode.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedAlgoModes> {
        let mut modes = Self::default();
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        for (number, whole) in (1..).zip(lines(text)) {
            let line = without_comment(whole).trim_ascii();
            if line.is_empty() {
                continue;
            }
            let (direction, mode) = parse_line(line).ok_or_else(|| MalformedAlgoModes {
                line: number,
                text: String::from_utf8_lossy(whole).into_owned(),
            })?;
            modes = modes.with(direction, mode);
        }
        Ok(modes)
    }
}

fn parse_line(line: &[u8]) -> Option<(Direction, AlgoMode)> {
    let (direction, mode) = std::str::from_utf8(line).ok()?.split_once('=')?;
    Some((direction.trim().parse().ok()?, mode.trim().parse().ok()?))
}

/// As [`AlgoModes::parse`] does.
impl FromStr for AlgoModes {
    type Err = MalformedAlgoModes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(flag: Option<&str>, vars: &[(&str, &str)]) -> Vec<String> {
        let flag = flag.map(|text| text.parse().unwrap());
        let modes = AlgoModes::resolve(flag.as_ref(), |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
        .unwrap();
        Direction::ALL.map(|direction| modes.of(direction).to_string()).to_vec()
    }

    #[test]
    fn flag_beats_direction_beats_backward() {
        let vars = [
            ("WARPCONVNET_FWD_ALGO_MODE", "all"),
            ("WARPCONVNET_BWD_ALGO_MODE", "explicit_gemm"),
            ("WARPCONVNET_WGRAD_ALGO_MODE", "[a,b:c=1]"),
        ];
        assert_eq!(modes(None, &[]), ["auto", "auto", "auto"]);
        assert_eq!(modes(None, &vars), ["all", "explicit_gemm", "[a,b:c=1]"]);
        assert_eq!(modes(Some("auto"), &vars), ["auto", "auto", "auto"]);
        assert_eq!(modes(Some("trimmed"), &vars), ["trimmed", "trimmed", "trimmed"]);
    }

    #[test]
    fn names_admit_families_and_exact_ids() {
        let mode: AlgoMode = "[explicit_gemm,implicit_gemm:rows=8]".parse().unwrap();
        let ids: Vec<AlgoId> =
            ["explicit_gemm:x=1", "implicit_gemm:rows=8", "implicit_gemm:rows=9"]
                .map(|text| text.parse().unwrap())
                .to_vec();
        assert_eq!(ids.iter().map(|id| mode.admits(id)).collect::<Vec<_>>(), [true, true, false]);
        assert!(mode.unknown(&ids).is_empty());
        assert_eq!(mode.unknown(&ids[..1]).len(), 1);
    }

    #[test]
    fn malformed_modes_are_refused() {
        for text in ["", "a,b", "[a", "[]", "[auto]", "[a,trimmed]", "[a,]", "Auto", "a b"] {
            assert!(text.parse::<AlgoMode>().is_err(), "{text:?}");
        }
    }
}
