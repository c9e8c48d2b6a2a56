//! Which device a caller asks for.

use std::fmt;
use std::str::FromStr;

/// The argument of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The first CUDA device, else the host.
    #[default]
    Auto,
    /// The host.
    Cpu,
    /// The CUDA device of this ordinal, or an error.
    Cuda(u32),
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown device `{0}`: expected auto, cpu or cuda:N, such as cuda:0")]
pub struct MalformedDeviceChoice(pub String);

impl FromStr for DeviceChoice {
    type Err = MalformedDeviceChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedDeviceChoice(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let digits = text.strip_prefix("cuda:").ok_or_else(malformed)?;
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(malformed());
                }
                digits.parse().map(Self::Cuda).map_err(|_| malformed())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["auto", "cpu", "cuda:0", "cuda:9"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:99999999999", "CPU"]
        {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text:?}");
        }
    }
}
