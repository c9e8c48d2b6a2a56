//! Why a product is refused.

use voxtune_types::{AlgoId, DType, Direction, Operation};

/// Why a run was refused. Nothing has been written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The algorithm has no kernel for the operation.
    #[error("{algorithm} does not run `{operation}`: choose an algorithm that applies to it")]
    NotApplicable {
        /// The algorithm.
        algorithm: AlgoId,
        /// The operation.
        operation: Operation,
    },
    /// A buffer is too short or too long.
    #[error("{operand} holds {found} elements: expected {expected}, which is {shape}")]
    WrongLength {
        /// Which buffer.
        operand: &'static str,
        /// Its shape, in words.
        shape: &'static str,
        /// Elements that the operation and the map ask for.
        expected: u128,
        /// Elements that were given.
        found: usize,
    },
    /// A buffer is of another storage type.
    #[error("{operand} is stored as {found}: expected {expected}")]
    WrongDType {
        /// Which buffer.
        operand: &'static str,
        /// Type that the operation asks for.
        expected: DType,
        /// Type that was given.
        found: DType,
    },
    /// An epilogue where nothing is to follow.
    #[error("an epilogue belongs to a forward product: found one with {direction}; apply it apart")]
    EpilogueOfGradient {
        /// The direction of the run.
        direction: Direction,
    },
    /// The map was built for another kernel.
    #[error("the kernel map has {found} offsets: expected the {expected} of `{operation}`")]
    WrongMap {
        /// The operation.
        operation: Operation,
        /// Offsets of its kernel.
        expected: usize,
        /// Offsets of the map.
        found: usize,
    },
}
