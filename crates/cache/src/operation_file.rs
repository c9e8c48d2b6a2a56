//! Operations as files spell them.

use serde::{Deserialize, Serialize};
use voxtune_types::{DType, Direction, KernelSize, LayerKind, Operation, PitchClass};

/// An operation as files spelled it before kinds of layers had names: whether it undoes a strided
/// one, and otherwise its stride, said which kind it was.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EarlierOperation {
    direction: Direction,
    dtype: DType,
    c_in: u32,
    c_out: u32,
    kernel: KernelSize,
    stride: [u8; 3],
    transposed: bool,
    groups: u32,
}

impl From<EarlierOperation> for Operation {
    fn from(earlier: EarlierOperation) -> Self {
        let EarlierOperation { direction, dtype, c_in, c_out, kernel, stride, transposed, groups } =
            earlier;
        let kind = match (transposed, stride) {
            (true, _) => LayerKind::Inverse,
            (false, [1, 1, 1]) => LayerKind::Submanifold,
            (false, _) => LayerKind::Sparse,
        };
        let pitch = PitchClass::Dense;
        Self { direction, dtype, c_in, c_out, kernel, stride, kind, pitch, groups }
    }
}

impl EarlierOperation {
    /// How an operation that an earlier file held was spelled there.
    pub(crate) fn of(operation: &Operation) -> Self {
        let Operation { direction, dtype, c_in, c_out, kernel, stride, kind, groups, .. } =
            *operation;
        let transposed = kind == LayerKind::Inverse;
        Self { direction, dtype, c_in, c_out, kernel, stride, transposed, groups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_what_earlier_files_said_and_keep_their_order() {
        let kernel = KernelSize::cubic(3).unwrap();
        let earlier = |stride, transposed| EarlierOperation {
            direction: Direction::Forward,
            dtype: DType::Float16,
            c_in: 16,
            c_out: 32,
            kernel,
            stride,
            transposed,
            groups: 1,
        };
        let all = [
            earlier([1; 3], false),
            earlier([1; 3], true),
            earlier([2; 3], false),
            earlier([2; 3], true),
        ];
        let read = all.map(Operation::from);
        let kinds = read.map(|operation| operation.kind);
        let [submanifold, inverse, sparse] =
            [LayerKind::Submanifold, LayerKind::Inverse, LayerKind::Sparse];
        assert_eq!(kinds, [submanifold, inverse, sparse, inverse]);
        assert!(read.is_sorted());
        for (operation, earlier) in read.iter().zip(all) {
            let again = EarlierOperation::of(operation);
            assert_eq!((again.stride, again.transposed), (earlier.stride, earlier.transposed));
        }
    }
}
