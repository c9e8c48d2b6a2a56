//! What layers do to features beside convolutions, forward and backward.
//!
//! Features are rows of channels, any pitch apart, of the storage type that the kernels were
//! compiled for. Parameters and statistics of channels are dense float32. Every element of a result
//! is overwritten, and what lies between its rows is left alone. Everything is queued and nothing
//! waits. Sums have an order that sizes alone decide, so that runs repeat to the bit.
//!
//! | idea | where |
//! |---|---|
//! | affine maps, activations, sums of two, storage types | `elementwise` |
//! | columns side by side | `columns` |
//! | sums of columns, batch and layer normalisation | `statistics` |
//! | pooling over a kernel map | `map_pool` |
//! | gathering, adding up and pooling by group | `groups` |
//! | dense grids | `dense` |

mod columns;
mod dense;
mod elementwise;
mod groups;
mod map_pool;
mod statistics;

use voxtune_types::DType;

use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::families::check_length;
use crate::module::{Grid, Kernel, LoadedInstance};
use crate::{Matrix, MatrixMut};

pub use dense::DenseGrid;
pub use elementwise::Affine;
pub(crate) use groups::DeviceTables;
pub use groups::{DeviceRowGroups, GroupTables};
pub use statistics::LayerNorm;

/// Threads of every block.
const THREADS: u32 = 256;
/// Blocks for each SM, of kernels that take as many as they get.
const BLOCKS_PER_SM: usize = 16;

/// The kernels of `features.cu` for one storage type.
#[derive(Debug)]
pub struct FeatureKernels {
    device: CudaDevice,
    dtype: DType,
    affine: Kernel,
    affine_backward: Kernel,
    add: Kernel,
    add_backward: Kernel,
    /// By target: float16, bfloat16, float32.
    casts: [Kernel; 3],
    column_sums: Kernel,
    column_squares: Kernel,
    finish_columns: Kernel,
    batch_norm_sums: Kernel,
    batch_norm_backward: Kernel,
    layer_norm: Kernel,
    layer_norm_backward: Kernel,
    layer_norm_sums: Kernel,
    map_pool: Kernel,
    map_max_backward: Kernel,
    map_average_backward: Kernel,
    map_average_weights: Kernel,
    group_reduce: Kernel,
    group_pieces: Kernel,
    group_whole: Kernel,
    spread_mean: Kernel,
    spread_max: Kernel,
    /// By bytes that are moved at once: 2, 4, 8, 16.
    copy_columns: [Kernel; 4],
    spread: [Kernel; 4],
    to_dense: Kernel,
    from_dense: Kernel,
}

impl FeatureKernels {
    /// Takes the compiled [`crate::Instance::features`] of the storage type.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn new(device: &CudaDevice, dtype: DType, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        let kernel = |name| loaded.kernel(name);
        Ok(Self {
            device: device.clone(),
            dtype,
            affine: kernel("affine")?,
            affine_backward: kernel("affine_backward")?,
            add: kernel("add")?,
            add_backward: kernel("add_backward")?,
            casts: [
                kernel("cast_to_float16")?,
                kernel("cast_to_bfloat16")?,
                kernel("cast_to_float32")?,
            ],
            column_sums: kernel("column_sums")?,
            column_squares: kernel("column_squares")?,
            finish_columns: kernel("finish_columns")?,
            batch_norm_sums: kernel("batch_norm_sums")?,
            batch_norm_backward: kernel("batch_norm_backward")?,
            layer_norm: kernel("layer_norm")?,
            layer_norm_backward: kernel("layer_norm_backward")?,
            layer_norm_sums: kernel("layer_norm_sums")?,
            map_pool: kernel("map_pool")?,
            map_max_backward: kernel("map_max_backward")?,
            map_average_backward: kernel("map_average_backward")?,
            map_average_weights: kernel("map_average_weights")?,
            group_reduce: kernel("group_reduce")?,
            group_pieces: kernel("group_pieces")?,
            group_whole: kernel("group_whole")?,
            spread_mean: kernel("spread_mean")?,
            spread_max: kernel("spread_max")?,
            copy_columns: [
                kernel("copy_columns_2")?,
                kernel("copy_columns_4")?,
                kernel("copy_columns_8")?,
                kernel("copy_columns_16")?,
            ],
            spread: [
                kernel("spread_2")?,
                kernel("spread_4")?,
                kernel("spread_8")?,
                kernel("spread_16")?,
            ],
            to_dense: kernel("to_dense")?,
            from_dense: kernel("from_dense")?,
        })
    }

    /// The storage type of the features.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Blocks for `items` of a kernel that takes `per_block` of them at a time, however many blocks
    /// there are.
    fn grid(&self, items: usize, per_block: usize) -> Grid {
        let most = self.device.identity().units as usize * BLOCKS_PER_SM;
        let blocks = items.div_ceil(per_block).clamp(1, most.max(1)) as u32;
        Grid { blocks: [blocks, 1], threads: THREADS, shared_bytes: 0 }
    }

    /// Blocks for a kernel that walks over elements.
    fn element_grid(&self, elements: usize) -> Grid {
        self.grid(elements, THREADS as usize)
    }

    /// Refuses features that have not the length of `(rows, channels)` at their pitch.
    fn check(&self, what: &'static str, x: Matrix<'_>, shape: Shape) -> Result<()> {
        check_rows(what, (x.data().len_bytes(), x.pitch()), shape, self.dtype)
    }

    fn check_mut(&self, what: &'static str, y: &MatrixMut<'_>, shape: Shape) -> Result<()> {
        check_rows(what, (y.data().len_bytes(), y.pitch()), shape, self.dtype)
    }

    /// Features as a kernel reads them that is launched next.
    fn read(&self, x: Matrix<'_>) -> Result<RowsParams> {
        Ok(RowsParams::new(x.read_by(&self.device)?, x.pitch()))
    }

    /// Features as a kernel writes them that is launched next.
    fn written(&self, y: &MatrixMut<'_>) -> Result<RowsParams> {
        Ok(RowsParams::new(y.write_by(&self.device)?, y.pitch()))
    }
}

/// Rows and channels of features.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    channels: usize,
}

impl Shape {
    /// Refuses channels that the kernels cannot number.
    fn new(rows: usize, channels: usize) -> Result<Self> {
        within("the number of channels", channels, MAX_CHANNELS)?;
        Ok(Self { rows, channels })
    }

    const fn len(self) -> usize {
        self.rows.saturating_mul(self.channels)
    }

    const fn is_empty(self) -> bool {
        self.rows == 0 || self.channels == 0
    }

    const fn rows(self) -> i64 {
        self.rows as i64
    }

    const fn channels(self) -> i32 {
        self.channels as i32
    }
}

/// `Rows` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowsParams {
    first: u64,
    pitch: i64,
}

impl RowsParams {
    const fn new(first: u64, pitch: usize) -> Self {
        Self { first, pitch: pitch as i64 }
    }
}

fn check_rows(
    what: &'static str,
    (found, pitch): (usize, usize),
    Shape { rows, channels }: Shape,
    dtype: DType,
) -> Result<()> {
    if pitch < channels || isize::try_from(pitch).is_err() {
        return Err(CudaError::Pitch { what, channels, found: pitch });
    }
    check_length(what, (rows, channels, dtype.bytes()), pitch, found)
}

/// Column groups of 32 channels are blocks along a grid's second axis, which has 65,535.
const MAX_CHANNELS: usize = 65_535 * 32;

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit { Err(CudaError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn check_bytes(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(CudaError::Length { what, expected, found }) }
}

/// Refuses numbers of channels of another count.
fn check_row(what: &'static str, row: Option<DeviceSlice<'_>>, channels: usize) -> Result<()> {
    row.map_or(Ok(()), |row| check_bytes(what, row.len_bytes(), channels * size_of::<f32>()))
}

fn check_row_mut(what: &'static str, row: &DeviceSliceMut<'_>, channels: usize) -> Result<()> {
    check_bytes(what, row.len_bytes(), channels * size_of::<f32>())
}

/// Address of numbers that a launch of this context reads, and that may be absent; 0 then.
fn address_of(row: Option<DeviceSlice<'_>>, device: &CudaDevice) -> Result<u64> {
    row.map_or(Ok(0), |row| row.read_by(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_kernels_size_and_whole_rows() {
        assert_eq!(size_of::<RowsParams>(), 16);
        let shape = Shape { rows: 3, channels: 4 };
        let check = |bytes, pitch| check_rows("x", (bytes, pitch), shape, DType::Float16);
        assert!(check(24, 4).is_ok() && check(48, 10).is_ok());
        assert!(matches!(check(24, 3), Err(CudaError::Pitch { channels: 4, found: 3, .. })));
        assert!(matches!(check(46, 10), Err(CudaError::Length { expected: 48, .. })));
    }
}
