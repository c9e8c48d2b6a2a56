//! Groups of channels as the command line names them.

use std::fmt;
use std::str::FromStr;

/// Groups of a layer's channels, written as their number or `depthwise`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Groups {
    /// So many.
    Number(u32),
    /// As many as there are channels, of layers with as many outputs as inputs.
    Depthwise,
}

impl Groups {
    /// All channels meet.
    pub const ONE: Self = Self::Number(1);

    /// How many groups a layer of these channels has; `None` if they do not divide into such
    /// groups.
    #[must_use]
    pub const fn of(self, c_in: u32, c_out: u32) -> Option<u32> {
        match self {
            Self::Depthwise if c_in == c_out => Some(c_in),
            Self::Depthwise | Self::Number(0) => None,
            Self::Number(groups) => {
                let whole = c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups);
                if whole { Some(groups) } else { None }
            }
        }
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(groups) => write!(f, "{groups}"),
            Self::Depthwise => f.write_str("depthwise"),
        }
    }
}

/// A text that names no groups.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no groups of channels: expected depthwise, or a number of at least 1")]
pub struct MalformedGroups(pub String);

impl FromStr for Groups {
    type Err = MalformedGroups;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "depthwise" {
            return Ok(Self::Depthwise);
        }
        let number = text.parse().ok().filter(|number| *number > 0);
        number.map(Self::Number).ok_or_else(|| MalformedGroups(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_a_number_or_depthwise() {
        for text in ["1", "8", "depthwise"] {
            assert_eq!(text.parse::<Groups>().unwrap().to_string(), text);
        }
        for text in ["0", "", "-1", "4294967296", "x", "Depthwise", "2,2"] {
            assert!(text.parse::<Groups>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn channels_divide_into_groups_or_have_none() {
        let of = |groups: &str, c_in, c_out| groups.parse::<Groups>().unwrap().of(c_in, c_out);
        assert_eq!((of("1", 3, 32), of("4", 8, 12), of("4", 8, 6)), (Some(1), Some(4), None));
        assert_eq!((of("depthwise", 64, 64), of("depthwise", 32, 64)), (Some(64), None));
        assert_eq!(Groups::Number(0).of(4, 4), None);
    }
}
