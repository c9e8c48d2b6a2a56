//! An algorithm ready to run: its kernels loaded, its launches known.

use std::sync::Arc;

use voxtune_types::{Direction, Operation};

use super::epilogue::EpilogueParams;
use super::explicit_gemm::{self, Cublas};
use super::mask_gemm::channels;
use super::operands::Operands;
use super::pair_units::PairUnits;
use super::splits::{ReduceSplitsParams, SplitParams, reduce_width};
use super::tensor_map::TensorMap;
use super::{Algorithm, Family, copy_elements};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::instance::Instance;
use crate::map::{DeviceKernelMap, RowMap};
use crate::module::{Grid, Kernel, LoadedInstance, ShapedKernel, arguments, block_count};

/// An algorithm with its kernels loaded for one operation.
#[derive(Debug)]
pub struct Prepared {
    algorithm: &'static Algorithm,
    operation: Operation,
    kernels: Kernels,
}

#[derive(Debug)]
enum Kernels {
    Rows(ShapedKernel),
    Splits { product: ShapedKernel, reduce: Kernel },
    Pairs { product: ShapedKernel, reduce: Kernel },
    Explicit(explicit_gemm::Kernels),
}

/// `TileGemmParams` of the kernels.
#[repr(C)]
struct TileGemmParams {
    gathered: u64,
    weights: u64,
    result: u64,
    table: u64,
    masks: u64,
    row_of_position: u64,
    table_pitch: i64,
    n: i32,
    c_in: i32,
    c_out: i32,
    volume: i32,
    mirror: i32,
    copies_aligned: i32,
    result_aligned: i32,
    epilogue: EpilogueParams,
}

/// `ImplicitGemmParams` of the kernels.
#[repr(C)]
struct ImplicitGemmParams {
    gathered: u64,
    weights: u64,
    result: u64,
    table: u64,
    masks: u64,
    table_pitch: i64,
    n: i32,
    c_in: i32,
    c_out: i32,
    volume: i32,
    mirror: i32,
    copies_aligned: i32,
    epilogue: EpilogueParams,
}

/// `PairGemmParams` of the kernels.
#[repr(C)]
struct PairGemmParams {
    x: u64,
    g: u64,
    partial: u64,
    in_rows: u64,
    out_rows: u64,
    c_in: i32,
    c_out: i32,
    copies_aligned: i32,
    units: PairUnits,
}

/// `ReduceParams` of the kernels.
#[repr(C)]
struct ReduceParams {
    partial: u64,
    dw: u64,
    elements: i32,
    units: PairUnits,
}

/// What a launch of split tiles has beside its product.
#[derive(Clone, Copy)]
struct Splits<'a> {
    reduce: &'a Kernel,
    /// Where sums of parts go.
    partial: u64,
}

impl Prepared {
    /// Loads what an algorithm needs for an operation. `cublas` is needed where
    /// [`Algorithm::requires_cublas`] says so.
    ///
    /// # Errors
    /// [`CudaError::NotApplicable`] if the algorithm does not compute the operation or the instance
    /// is another; [`CudaError::NoCublas`]; whatever loading fails with.
    pub fn new(
        device: &CudaDevice,
        algorithm: &'static Algorithm,
        operation: &Operation,
        compiled: &Compiled,
        cublas: Option<&Arc<Cublas>>,
    ) -> Result<Self> {
        let own = algorithm.instance(operation);
        let stand_in = own.as_ref().and_then(Instance::for_any_channels);
        let watched = own.as_ref().map(Instance::for_race_detector);
        if ![own, stand_in, watched].iter().flatten().any(|one| *one == compiled.instance) {
            return Err(CudaError::NotApplicable {
                algorithm: algorithm.to_string(),
                operation: operation.to_string(),
            });
        }
        let loaded = LoadedInstance::load(device, compiled)?;
        let kernels = match (&algorithm.family, operation.direction) {
            (Family::Explicit(_), _) => {
                let cublas = cublas.ok_or(CudaError::NoCublas)?;
                Kernels::Explicit(explicit_gemm::Kernels::new(&loaded, cublas)?)
            }
            (Family::Mask(mask), _) if mask.splits > 1 => Kernels::Splits {
                product: loaded.shaped_kernel("mask_gemm")?,
                reduce: loaded.kernel("reduce_splits")?,
            },
            (Family::Mask(_), _) => Kernels::Rows(loaded.shaped_kernel("mask_gemm")?),
            (Family::Wgmma(wgmma), _) if wgmma.splits > 1 => Kernels::Splits {
                product: loaded.shaped_kernel("wgmma_gemm")?,
                reduce: loaded.kernel("reduce_splits")?,
            },
            (Family::Wgmma(_), _) => Kernels::Rows(loaded.shaped_kernel("wgmma_gemm")?),
            (Family::Resident(_), _) => Kernels::Rows(loaded.shaped_kernel("resident_gemm")?),
            (Family::Packed(_), _) => Kernels::Rows(loaded.shaped_kernel("packed_gemm")?),
            (Family::Implicit(_), Direction::Forward | Direction::Dgrad) => {
                Kernels::Rows(loaded.shaped_kernel("implicit_gemm")?)
            }
            (Family::Implicit(_), Direction::Wgrad) => Kernels::Pairs {
                product: loaded.shaped_kernel("implicit_gemm")?,
                reduce: loaded.kernel("reduce_partials")?,
            },
            (Family::Pair(_), _) => Kernels::Pairs {
                product: loaded.shaped_kernel("pair_gemm")?,
                reduce: loaded.kernel("reduce_partials")?,
            },
            (Family::WgmmaPair(_), _) => Kernels::Pairs {
                product: loaded.shaped_kernel("wgmma_wgrad")?,
                reduce: loaded.kernel("reduce_partials")?,
            },
        };
        Ok(Self { algorithm, operation: *operation, kernels })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Dynamic shared memory of a block, as the compiled instance says. Bytes; `None` for
    /// `explicit_gemm`.
    #[must_use]
    pub const fn compiled_shared_bytes(&self) -> Option<u32> {
        match &self.kernels {
            Kernels::Rows(kernel)
            | Kernels::Splits { product: kernel, .. }
            | Kernels::Pairs { product: kernel, .. } => Some(kernel.shared_bytes),
            Kernels::Explicit(_) => None,
        }
    }

    /// Queues the product on the device's stream: no allocation, no waiting, but for the first
    /// launch that reads a row order or the pair lists of a map, which makes them.
    ///
    /// # Errors
    /// [`CudaError::Length`] for an operand or a workspace of the wrong length (see
    /// [`Algorithm::workspace_bytes_for`]); [`CudaError::EpilogueOfGradient`]; [`CudaError::MapVolume`], [`CudaError::MapLacks`] for a
    /// map that does not fit; [`CudaError::DuplicateVoxel`] from wgrad and cuBLAS, which need the
    /// map's counts; whatever the driver fails with.
    pub fn launch(
        &self,
        map: &DeviceKernelMap,
        operands: &mut Operands<'_>,
        workspace: &mut DeviceBuffer,
    ) -> Result<()> {
        let op = &self.operation;
        self.check(map, operands)?;
        let needed = self.algorithm.workspace_bytes_for(op, map)?;
        if workspace.len_bytes() < needed {
            return Err(CudaError::Length {
                what: "the workspace",
                expected: needed,
                found: workspace.len_bytes(),
            });
        }
        match &self.kernels {
            Kernels::Rows(kernel) => self.launch_rows(kernel, None, map, operands),
            Kernels::Splits { product, reduce } => {
                let partial = workspace.as_mut().address();
                self.launch_rows(product, Some(Splits { reduce, partial }), map, operands)
            }
            Kernels::Pairs { product, reduce } => {
                self.launch_pairs(product, reduce, map, operands, workspace)
            }
            Kernels::Explicit(kernels) => kernels.launch(op, map, operands, workspace),
        }
    }

    /// Compares map and operands with the operation, as [`Self::launch`] does: to be asked before
    /// memory for a launch is made.
    ///
    /// # Errors
    /// [`CudaError::MapVolume`], [`CudaError::Length`], [`CudaError::EpilogueOfGradient`].
    pub fn check(&self, map: &DeviceKernelMap, operands: &Operands<'_>) -> Result<()> {
        let op = &self.operation;
        if map.kernel != op.kernel {
            return Err(CudaError::MapVolume {
                expected: op.kernel.volume(),
                found: map.kernel.volume(),
            });
        }
        operands.check(op, map.n_in(), map.n_out())
    }

    fn launch_rows(
        &self,
        kernel: &ShapedKernel,
        splits: Option<Splits<'_>>,
        map: &DeviceKernelMap,
        operands: &Operands<'_>,
    ) -> Result<()> {
        let op = &self.operation;
        let (rows, mirror) = row_map(op.direction, map)?;
        if rows.rows == 0 {
            return Ok(());
        }
        let (gathered_channels, result_channels) = channels(op);
        let (gathered, weights) = (operands.first.address(), operands.second.address());
        let result = operands.result.address();
        let ordered = map.ordered(rows, self.algorithm.row_order())?;
        let masks = ordered.masks.as_ref().unwrap_or(&rows.masks).as_ref().address();
        let table = ordered.table.as_ref().address();
        let table_pitch = DeviceKernelMap::pitch(rows.rows) as i64;
        let (n, c_in, c_out) = (rows.rows as i32, op.c_in as i32, op.c_out as i32);
        let (volume, mirror) = (op.kernel.volume() as i32, i32::from(mirror));
        let aligned = |address: u64, elements: u32| {
            address.is_multiple_of(u64::from(elements) * op.dtype.bytes() as u64)
        };
        let multiprocessors = kernel.kernel.device().identity().units as usize;
        let blocks = match self.algorithm.family {
            Family::Mask(mask) => mask.blocks(op, rows.rows),
            Family::Wgmma(wgmma) => wgmma.resident_blocks(op, rows.rows, multiprocessors),
            Family::Resident(resident) => resident.resident_blocks(rows.rows, multiprocessors),
            Family::Packed(packed) => packed.resident_blocks(rows.rows, multiprocessors),
            Family::Implicit(implicit) => implicit.blocks(op, rows.rows),
            Family::Pair(_) | Family::WgmmaPair(_) | Family::Explicit(_) => {
                unreachable!("families without row kernels")
            }
        };
        let (parts, layers) = match self.algorithm.family {
            // A part is a layer of the grid.
            Family::Mask(mask) => (mask.splits, mask.splits),
            Family::Wgmma(wgmma) => (wgmma.splits, 1),
            _ => (1, 1),
        };
        let launch = |arguments: &mut [*mut std::ffi::c_void]| {
            let grid = Grid {
                blocks: [block_count(blocks)?, layers],
                threads: kernel.threads,
                shared_bytes: kernel.shared_bytes,
            };
            // SAFETY: the parameter structures mirror the kernels'; `check` has compared every
            // operand's length with what the kernel reads and writes, and the map's row numbers are
            // below those lengths.
            unsafe { kernel.kernel.launch(grid, arguments) }
        };
        match self.algorithm.family {
            Family::Mask(_) | Family::Wgmma(_) | Family::Resident(_) | Family::Packed(_) => {
                let copies_aligned = aligned(gathered, copy_elements(gathered_channels))
                    && aligned(weights, copy_elements(op.c_out));
                let params = TileGemmParams {
                    gathered,
                    weights,
                    result,
                    table,
                    masks,
                    row_of_position: ordered.row_of_position(),
                    table_pitch,
                    n,
                    c_in,
                    c_out,
                    volume,
                    mirror,
                    copies_aligned: i32::from(copies_aligned),
                    result_aligned: i32::from(aligned(result, copy_elements(result_channels))),
                    epilogue: operands.epilogue.params(),
                };
                let weights_map = match self.algorithm.family {
                    Family::Wgmma(wgmma) if copies_aligned => {
                        let of = wgmma.weights_box(op.direction);
                        Some(TensorMap::weights(kernel.kernel.device(), op, weights, of)?)
                    }
                    Family::Wgmma(_) => Some(TensorMap::none()),
                    _ => None,
                };
                let Some(Splits { reduce, partial }) = splits else {
                    return match weights_map {
                        Some(map) => launch(arguments![params, map]),
                        None => launch(arguments![params]),
                    };
                };
                let parts = parts as i32;
                let split = SplitParams { partial, parts };
                match weights_map {
                    Some(map) => launch(arguments![params, map, split]),
                    None => launch(arguments![params, split]),
                }?;
                let reduction = ReduceSplitsParams {
                    partial,
                    result,
                    row_of_position: params.row_of_position,
                    n,
                    c_result: result_channels as i32,
                    parts,
                    result_aligned: i32::from(aligned(result, reduce_width(result_channels))),
                    epilogue: params.epilogue,
                };
                // SAFETY: the workspace holds sums of every part, which `launch` has compared; the
                // result and its order are those of the product.
                unsafe { reduction.launch(reduce) }
            }
            Family::Implicit(_) => {
                let params = ImplicitGemmParams {
                    gathered,
                    weights,
                    result,
                    table,
                    masks,
                    table_pitch,
                    n,
                    c_in,
                    c_out,
                    volume,
                    mirror,
                    copies_aligned: i32::from(
                        aligned(gathered, copy_elements(gathered_channels).min(4))
                            && aligned(weights, copy_elements(op.c_out).min(4)),
                    ),
                    epilogue: operands.epilogue.params(),
                };
                launch(arguments![params])
            }
            Family::Pair(_) | Family::WgmmaPair(_) | Family::Explicit(_) => {
                unreachable!("families without row kernels")
            }
        }
    }

    fn launch_pairs(
        &self,
        product: &ShapedKernel,
        reduce: &Kernel,
        map: &DeviceKernelMap,
        operands: &Operands<'_>,
        workspace: &mut DeviceBuffer,
    ) -> Result<()> {
        let op = &self.operation;
        let (counts, lists) = (map.counts()?, map.pairs()?);
        let (units, tiles, most) = match self.algorithm.family {
            Family::Pair(pair) => (pair.units(counts), pair.tiles(op), 8),
            Family::WgmmaPair(wgrad) => (wgrad.units(op, counts), wgrad.tiles(op), 8),
            Family::Implicit(implicit) => (implicit.units(counts), implicit.tiles(op), 4),
            _ => unreachable!("families without pair kernels"),
        };
        let volume = op.kernel.volume();
        let (x, g) = (operands.first.address(), operands.second.address());
        let aligned = |address: u64, channels: u32| {
            address.is_multiple_of(
                u64::from(copy_elements(channels).min(most)) * op.dtype.bytes() as u64,
            )
        };
        let params = PairGemmParams {
            x,
            g,
            partial: workspace.as_mut().address(),
            in_rows: lists.in_rows.as_ref().address(),
            out_rows: lists.out_rows.as_ref().address(),
            c_in: op.c_in as i32,
            c_out: op.c_out as i32,
            copies_aligned: i32::from(aligned(x, op.c_in) && aligned(g, op.c_out)),
            units,
        };
        let blocks = units.len(volume) * tiles;
        if blocks > 0 {
            let grid = Grid {
                blocks: [block_count(blocks)?, 1],
                threads: product.threads,
                shared_bytes: product.shared_bytes,
            };
            // SAFETY: the structure mirrors the kernel's; the pair lists name rows of x and g,
            // whose lengths `check` has compared; the workspace holds a partial result a unit.
            unsafe { product.kernel.launch(grid, arguments![params]) }?;
        }
        let elements = op.c_in as usize * op.c_out as usize;
        let params = ReduceParams {
            partial: params.partial,
            dw: operands.result.address(),
            elements: elements as i32,
            units,
        };
        // SAFETY: the structure mirrors the kernel's; the result holds volume × elements float32,
        // which `check` has compared.
        unsafe { reduce.launch(Grid::covering(elements, 256)?.layers(volume), arguments![params]) }
    }
}

/// The rows that a direction writes, and whether weights are taken in mirrored order.
pub(crate) fn row_map(direction: Direction, map: &DeviceKernelMap) -> Result<(&RowMap, bool)> {
    if direction != Direction::Dgrad {
        return Ok((&map.forward, false));
    }
    match &map.reverse {
        Some(reverse) => Ok((reverse, false)),
        None if map.is_symmetric() => Ok((&map.forward, true)),
        None => Err(CudaError::MapLacks { what: "reverse table" }),
    }
}
