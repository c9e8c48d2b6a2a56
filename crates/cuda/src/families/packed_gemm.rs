//! `packed_gemm`: output-stationary implicit GEMM of at most eight gathered channels, offsets
//! packed along the inner dimension.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, copy_elements};
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::RowOrder;
use crate::model::{Constants, MapSize, PACKED as COST, Rates, Tiles as TileWork, Unit, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedGemm {
    /// Warps per block, each for sixteen positions at a time.
    warps: u32,
    /// Blocks per SM.
    blocks: u32,
}

const SHAPES: [PackedGemm; 2] =
    [PackedGemm { warps: 8, blocks: 2 }, PackedGemm { warps: 8, blocks: 3 }];

/// Positions per warp.
const ROWS: usize = 16;

/// Elements of the inner dimension that a warp multiplies at a time.
const SLICE: usize = 32;

/// A row number in the table.
const ROW_NUMBER_BYTES: f64 = 4.0;

/// Result channels whose accumulators leave room for what is gathered.
const MOST_RESULT: u32 = 64;

impl PackedGemm {
    fn all() -> impl Iterator<Item = Self> {
        SHAPES.into_iter()
    }

    /// Mirrors `PACK` of `packed_gemm.cu`: channels that an offset takes.
    const fn pack(gathered: u32) -> usize {
        if gathered <= 4 { 4 } else { 8 }
    }
}

impl Variant for PackedGemm {
    fn id(&self) -> AlgoId {
        let params = [("warps", &*self.warps.to_string()), ("blocks", &self.blocks.to_string())];
        AlgoId::new("packed_gemm", &params).expect("parameters are words and numbers")
    }

    fn applies(&self, op: &Operation) -> bool {
        let (gathered, result) = channels(op);
        let most_result = if self.blocks > 2 { MOST_RESULT / 2 } else { MOST_RESULT };
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && gathered <= 8
            && result <= most_result
    }

    /// Mirrors `SHARED_BYTES` of `packed_gemm.cu`.
    fn shared_bytes(&self, op: &Operation) -> usize {
        let (gathered, result) = channels(op);
        let slices = (op.kernel.volume() * Self::pack(gathered)).div_ceil(SLICE);
        slices * result.next_multiple_of(8) as usize * SLICE * 2
    }

    /// What a launch asks of a device: each warp is a block of its own, and reads the table of all
    /// offsets.
    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        let (gathered, result) = channels(op);
        let bytes = op.dtype.bytes() as f64;
        let rows = if op.direction == Direction::Dgrad { size.n_in } else { size.n_out };
        let volume = op.kernel.volume() as f64;
        let slices = (op.kernel.volume() * Self::pack(gathered)).div_ceil(SLICE) as f64;
        let cols = f64::from(result.next_multiple_of(8));
        let present = size.pairs as f64 / (rows.max(1) as f64 * volume);
        let numbers = ROWS as f64 * volume / slices;
        let row_bytes = f64::from(gathered) * bytes;
        Some(Work::Tiles(TileWork {
            blocks: rows.div_ceil(ROWS) as f64,
            resident: f64::from(self.warps * self.blocks),
            steps: slices,
            multiply_ns: 2.0 * (ROWS * SLICE) as f64 * cols
                / (Unit::Mma.flops_clock(rates) * rates.clock_ghz),
            shared_ns: cols * SLICE as f64 * bytes / (rates.shared_bytes_clock * rates.clock_ghz),
            cache_bytes: numbers * (ROW_NUMBER_BYTES + present * row_bytes),
            copies: 2.0 * numbers,
            copies_a_thread: 2.0 * numbers / 32.0,
            result_bytes: ROWS as f64 * cols * bytes,
            memory_bytes: rows as f64 * (volume * ROW_NUMBER_BYTES + f64::from(result) * bytes)
                + size.n_in.max(size.n_out) as f64 * row_bytes,
            reduce_ns: 0.0,
        }))
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (gathered, result) = channels(op);
        Instance::new(
            "packed_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("VOLUME", op.kernel.volume() as u32),
                ("PACK", Self::pack(gathered) as u32),
                ("COLS", result.next_multiple_of(8)),
                ("WARPS", self.warps),
                ("MIN_BLOCKS", self.blocks),
                ("VEC_A", copy_elements(gathered)),
                ("VEC_Y", copy_elements(result)),
            ],
        )
    }

    fn in_auto_pool(&self, _op: &Operation, _rows: usize, _rates: &Rates) -> bool {
        true
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        TileGemm::bind(*self, loaded, "packed_gemm")
    }
}

impl Tiles for PackedGemm {
    fn order(self) -> RowOrder {
        RowOrder::Natural
    }

    /// As many blocks as stay on the device, each for many units of rows.
    fn grid(self, _op: &Operation, rows: usize, sms: usize) -> (usize, u32) {
        let units = rows.div_ceil(ROWS).div_ceil(self.warps as usize);
        (units.min(sms * self.blocks as usize), 1)
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(PackedGemm::all())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    #[test]
    fn offsets_share_a_product() {
        let kernel = KernelSize::submanifold(3).unwrap();
        let shared = |c_in| {
            let op = Operation::submanifold(Direction::Forward, DType::Float16, c_in, 32, kernel);
            PackedGemm { warps: 8, blocks: 2 }.shared_bytes(&op)
        };
        assert_eq!(shared(3), 4 * 32 * 64, "27 offsets of 4 are four slices of 32");
        assert_eq!(shared(6), 7 * 32 * 64, "27 offsets of 8 are seven");
    }
}
