//! Names of algorithms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The permanent name of a kernel with its parameters, such as
/// `mask_gemm:rows=128:cols=64:stages=3`.
///
/// A name is a family, then parameters in the order in which the family lists them. Families and
/// parameter names are lower-case words; values are words or numbers. A name is never reused for
/// another kernel, and never depends on a position in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlgoId(Box<str>);

/// A text that cannot be the name of an algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an algorithm name: expected family or family:name=value:…, lower case")]
pub struct MalformedAlgoId(pub String);

impl AlgoId {
    /// A family's name with its parameters.
    ///
    /// # Errors
    /// If a word is empty or holds anything but lower-case letters, digits and `_`.
    pub fn new(family: &str, params: &[(&str, &str)]) -> Result<Self, MalformedAlgoId> {
        let mut text = family.to_owned();
        for (name, value) in params {
            text.push_str(&format!(":{name}={value}"));
        }
        text.parse()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text before the parameters.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// Names and values of the parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(':').skip(1).filter_map(|param| param.split_once('='))
    }

    /// The value of a numeric parameter; `None` where it is absent or a word.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.params().find(|(key, _)| *key == name)?.1.parse().ok()
    }

    /// The value of a parameter as text.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&str> {
        Some(self.params().find(|(key, _)| *key == name)?.1)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl FromStr for AlgoId {
    type Err = MalformedAlgoId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedAlgoId(text.to_owned());
        let mut parts = text.split(':');
        if !parts.next().is_some_and(is_word) {
            return Err(malformed());
        }
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(malformed)?;
            if !is_word(name) || !is_word(value) || seen.contains(&name) {
                return Err(malformed());
            }
            seen.push(name);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AlgoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for AlgoId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AlgoId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named() {
        let id: AlgoId = "mask_gemm:rows=128:order=morton".parse().unwrap();
        assert_eq!(id.family(), "mask_gemm");
        assert_eq!(id.number("rows"), Some(128));
        assert_eq!(id.word("order"), Some("morton"));
        assert_eq!(id.number("order"), None);
        assert_eq!(id, AlgoId::new("mask_gemm", &[("rows", "128"), ("order", "morton")]).unwrap());
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", ":", "A", "a:", "a:b", "a:b=", "a:=1", "a:b=1:b=2", "a b", "a:b=1,2"] {
            assert!(text.parse::<AlgoId>().is_err(), "{text:?}");
        }
    }
}
