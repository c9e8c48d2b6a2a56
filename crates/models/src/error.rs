//! Why a network cannot be built from a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;

use voxtune::ConvError;
use voxtune_types::{printable, printable_path};

/// A network that cannot be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("{}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that are no safetensors file.
    #[error(
        "expected a safetensors file, found one that is none: {detail}; \
         docs/guide/checkpoints.md has the line of Python that makes one of a `.pth`"
    )]
    Format {
        /// What is wrong.
        detail: String,
    },
    /// A tensor whose values are more or fewer than its shape says.
    #[error(
        "tensor {} of shape {shape:?}: expected the product of its extents, found {found} values",
        printable(name)
    )]
    Length {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Number of values.
        found: usize,
    },
    /// No tensor has a name of this network.
    #[error(
        "no tensor of {network}: expected names such as {}; the checkpoint has {}",
        expected.join(", "), present
    )]
    OtherNames {
        /// The network.
        network: &'static str,
        /// The tensor that each known naming begins with.
        expected: Vec<String>,
        /// Some of the names that there are.
        present: String,
    },
    /// Tensors are missing, left over, or of other shapes than the network's.
    #[error("{0}")]
    Unfit(Box<Unfit>),
    /// The checkpoint can be read in several ways, which give different networks.
    #[error(
        "{network} can be read in several ways from this checkpoint: as {}; {remedy}",
        readings.join(", or as ")
    )]
    Ambiguous {
        /// The network.
        network: &'static str,
        /// The ways.
        readings: Vec<String>,
        /// What decides.
        remedy: &'static str,
    },
    /// A module cannot have the numbers that the checkpoint gives it.
    #[error("{} and the tensors beside it: {source}", printable(tensor))]
    Module {
        /// The name of its weights.
        tensor: String,
        /// What is wrong.
        source: ConvError,
    },
    /// Parameters of a network whose layers do several things at once.
    #[error("a fused network has no parameters of its own: write it before `fuse`")]
    Fused,
    /// A layer could not be made or run.
    #[error(transparent)]
    Layer(#[from] ConvError),
}

/// Everything in which a checkpoint is not that of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The network.
    pub network: &'static str,
    /// How the checkpoint was read: whose names, before which its module's stand, and whose order
    /// of weights.
    pub reading: String,
    /// What is wrong, a tensor each.
    pub problems: Vec<Problem>,
}

/// A tensor that is not as a network needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// It is not there.
    Missing {
        /// Its name.
        name: String,
        /// The shape that it should have.
        expected: String,
    },
    /// The network has no place for it.
    Extra {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// It has another shape.
    Misshapen {
        /// Its name.
        name: String,
        /// The shape that it should have.
        expected: String,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// Its numbers are not those of a network: integers, or a type that is not read.
    NotReal {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// Two tensors have the name of one.
    Twice {
        /// The names.
        names: [String; 2],
    },
}

/// Problems that an error shows.
const SHOWN: usize = 12;

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, reading, problems } = self;
        write!(f, "the checkpoint is not one of {network} ({reading}):")?;
        for problem in problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match problems.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => {
                write!(f, "missing: {}, expected {expected}", printable(name))
            }
            Self::Extra { name, shape } => {
                write!(f, "no part of it: {}, of shape {shape:?}", printable(name))
            }
            Self::Misshapen { name, expected, found } => {
                let name = printable(name);
                write!(f, "misshapen: {name}, expected {expected}, found {found:?}")
            }
            Self::NotReal { name, found } => {
                let name = printable(name);
                write!(f, "of another type: {name}, expected F32, F16, BF16 or F64, found {found}")
            }
            Self::Twice { names: [first, second] } => {
                let [first, second] = [printable(first), printable(second)];
                write!(f, "the same part twice: {first} and {second}")
            }
        }
    }
}
