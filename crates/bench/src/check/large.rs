//! Two million rows: byte offsets past 2³².

use voxtune_pointcloud::Generator;
use voxtune_types::{DType, Direction, KernelSize, Operation};

use super::cells::Cells;
use super::data::{Fill, operands};
use super::products::Case;
use super::{CheckError, Checker, Findings};

const ROWS: usize = 2_000_000;

/// The operations: one offset, so that float64 takes no minutes, and wide rows on either side.
pub(super) fn operations() -> Vec<Operation> {
    let kernel = KernelSize::submanifold(1).expect("a submanifold extent");
    [
        (Direction::Forward, DType::Float32, 512, 64, 1),
        (Direction::Dgrad, DType::Float32, 512, 64, 1),
        (Direction::Forward, DType::Float16, 64, 1024, 1),
        (Direction::Dgrad, DType::BFloat16, 64, 1024, 1),
        (Direction::Wgrad, DType::Float16, 1024, 32, 1),
        (Direction::Forward, DType::Float32, 512, 512, 512),
        (Direction::Wgrad, DType::Float16, 1024, 1024, 1024),
    ]
    .map(|(direction, dtype, c_in, c_out, groups)| {
        Operation::submanifold(direction, dtype, c_in, c_out, kernel).with_groups(groups)
    })
    .to_vec()
}

impl Checker<'_> {
    pub(super) fn large(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let operations = operations();
        let cells = Cells::Generated(Generator::Surface, ROWS).voxels();
        let map = self.map_of(&cells, operations[0].kernel, false)?;
        for op in operations {
            if self.candidates(&op).is_empty() {
                continue;
            }
            let operands = operands(self.cuda(), &op, &map, Fill::Random, 0, 4)?;
            let case =
                Case { op, map: &map, fill: Fill::Random, what: format!("{op}, {ROWS} rows") };
            self.compare_all(&case, operands, &mut findings, None)?;
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_each_operation_is_past_four_gib_or_close() {
        for op in operations() {
            let widest = op.c_in.max(op.c_out) as u64;
            assert!(ROWS as u64 * widest * op.dtype.bytes() as u64 > 1 << 31, "{op}");
        }
    }
}
