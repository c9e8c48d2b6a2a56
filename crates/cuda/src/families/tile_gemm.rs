//! Launches of output-stationary products: a block computes a tile of result rows and channels.

use std::fmt;

use voxtune_types::{Direction, Operation};

use super::epilogue::EpilogueParams;
use super::family::{Bound, Launch};
use super::geometry::{channels, copy_elements};
use super::group_params::GroupParams;
use super::splits::{ReduceSplitsParams, SplitParams, reduce_width};
use super::tensor_map::{TensorMap, WeightsBox};
use crate::error::Result;
use crate::map::{DeviceKernelMap, RowMap, RowOrder, TilePlan};
use crate::module::{EntryPoint, Grid, LoadedInstance, ShapedEntryPoint, arguments, block_count};
use crate::row_count::RowCount;

/// `TileGemmParams` of the kernels.
#[repr(C)]
struct TileGemmParams {
    gathered: u64,
    weights: u64,
    result: u64,
    table: u64,
    masks: u64,
    row_of_position: u64,
    scheduler: u64,
    table_pitch: i64,
    rows: RowCount,
    gathered_pitch: i32,
    result_pitch: i32,
    c_in: i32,
    c_out: i32,
    volume: i32,
    mirror: i32,
    copies_aligned: i32,
    result_aligned: i32,
    epilogue: EpilogueParams,
}

/// What the launch of a variant asks of it.
pub(super) trait Tiles: Copy + fmt::Debug + Send + Sync + 'static {
    /// Most elements that one copy brings.
    const MOST_COPIED: u32 = 8;

    /// The row order that it reads.
    fn order(self) -> RowOrder;

    /// Blocks of a launch over so many rows, and layers of the grid, on a device of so many SMs.
    fn grid(self, op: &Operation, rows: usize, sms: usize) -> (usize, u32);

    /// Parts that each tile's offsets are cut into.
    fn parts(self) -> u32 {
        1
    }

    /// The plan that it reads, on a device of so many SMs.
    fn plan(self, _op: &Operation, _sms: usize) -> Option<TilePlan> {
        None
    }

    /// What a kernel of several groups is told about them.
    fn groups(self, _op: &Operation) -> Option<GroupParams> {
        None
    }

    /// Extents of the weights that one call of the TMA brings, if it brings them.
    fn weights_box(self, _direction: Direction) -> Option<WeightsBox> {
        None
    }
}

/// The kernel of a variant, with the one that adds up parts of tiles.
#[derive(Debug)]
pub(super) struct TileGemm<V> {
    variant: V,
    product: ShapedEntryPoint,
    reduce: Option<EntryPoint>,
}

impl<V: Tiles> TileGemm<V> {
    /// Finds the kernels, by the name of the product's.
    pub(super) fn bind(
        variant: V,
        loaded: &LoadedInstance,
        name: &'static str,
    ) -> Result<Box<dyn Bound>> {
        let product = loaded.shaped_entry_point(name)?;
        let is_cut = variant.parts() > 1;
        let reduce = is_cut.then(|| loaded.entry_point("reduce_splits")).transpose()?;
        Ok(Box::new(Self { variant, product, reduce }))
    }

    fn params(
        &self,
        launch: &Launch<'_, '_>,
        rows: &RowMap,
        mirror: bool,
    ) -> Result<TileGemmParams> {
        let Launch { op, map, operands, scheduler, .. } = launch;
        let (gathered_channels, result_channels) = channels(op);
        let ordered = map.ordered(rows, self.variant.order())?;
        let masks = ordered.masks.as_ref().unwrap_or(&rows.masks);
        let width = |channels| copy_elements(channels).min(V::MOST_COPIED);
        let copies_aligned = operands.first.is_aligned(width(gathered_channels), op.dtype)
            && operands.second.is_aligned(width(op.c_out), op.dtype);
        let result_aligned = operands.result.is_aligned(copy_elements(result_channels), op.dtype);
        Ok(TileGemmParams {
            gathered: operands.first.address(),
            weights: operands.second.address(),
            result: operands.result.address(),
            table: ordered.table.as_ref().address(),
            masks: masks.as_ref().address(),
            row_of_position: ordered.row_of_position(),
            scheduler: *scheduler,
            table_pitch: DeviceKernelMap::pitch(rows.rows) as i64,
            rows: rows.count(),
            gathered_pitch: operands.first.pitch() as i32,
            result_pitch: operands.result.pitch() as i32,
            c_in: op.c_in as i32,
            c_out: op.c_out as i32,
            volume: op.kernel.volume() as i32,
            mirror: i32::from(mirror),
            copies_aligned: i32::from(copies_aligned),
            result_aligned: i32::from(result_aligned),
            epilogue: operands.epilogue.params(),
        })
    }

    fn weights_map(
        &self,
        launch: &Launch<'_, '_>,
        params: &TileGemmParams,
    ) -> Result<Option<TensorMap>> {
        let Launch { device, op, .. } = launch;
        let Some(of) = self.variant.weights_box(op.direction) else { return Ok(None) };
        if params.copies_aligned == 0 {
            return Ok(Some(TensorMap::none()));
        }
        TensorMap::weights(device, op, params.weights, of).map(Some)
    }
}

impl<V: Tiles> Bound for TileGemm<V> {
    fn launch(&self, launch: Launch<'_, '_>) -> Result<()> {
        let (rows, mirror) = launch.map.rows_of(launch.op.direction)?;
        if rows.rows == 0 {
            return Ok(());
        }
        let params = self.params(&launch, rows, mirror)?;
        let weights_map = self.weights_map(&launch, &params)?;
        let sms = launch.device.identity().units as usize;
        let (blocks, layers) = self.variant.grid(launch.op, rows.rows, sms);
        let grid = Grid {
            blocks: [block_count(blocks)?, layers],
            threads: self.product.threads,
            shared_bytes: self.product.shared_bytes,
        };
        let plan = self.variant.plan(launch.op, sms);
        let plan = plan.map(|plan| launch.map.planned(rows, plan)).transpose()?;
        let (kernel, device) = (&self.product.entry_point, launch.device);
        let groups = self.variant.groups(launch.op);
        let parts = self.variant.parts() as i32;
        let split = SplitParams { partial: launch.workspace.as_mut().address(), parts };
        // SAFETY: the parameter structures mirror the kernel's; the caller compared every operand's
        // length with what the kernel reads and writes. The map's row numbers are below those
        // lengths; the workspace holds the sums of every part; a plan has room for as many items as
        // the grid has blocks.
        unsafe {
            match (&weights_map, &self.reduce, &groups, plan) {
                (Some(map), None, _, Some(plan)) => {
                    kernel.launch(device, grid, arguments![params, *map, plan])
                }
                (None, None, Some(groups), _) => {
                    kernel.launch(device, grid, arguments![params, *groups])
                }
                (Some(map), None, _, None) => kernel.launch(device, grid, arguments![params, *map]),
                (None, None, None, _) => kernel.launch(device, grid, arguments![params]),
                (Some(map), Some(_), ..) => {
                    kernel.launch(device, grid, arguments![params, *map, split])
                }
                (None, Some(_), ..) => kernel.launch(device, grid, arguments![params, split]),
            }
        }?;
        let Some(reduce) = &self.reduce else { return Ok(()) };
        let (_, result_channels) = channels(launch.op);
        let width = reduce_width(result_channels);
        let reduction = ReduceSplitsParams {
            partial: split.partial,
            result: params.result,
            row_of_position: params.row_of_position,
            rows: params.rows,
            c_result: result_channels as i32,
            result_pitch: params.result_pitch,
            parts,
            result_aligned: i32::from(launch.operands.result.is_aligned(width, launch.op.dtype)),
            epilogue: params.epilogue,
        };
        // SAFETY: the workspace holds the sums of every part, which the caller compared; the result
        // and its order are those of the product.
        unsafe { reduction.launch(reduce, device) }
    }

    fn compiled_shared_bytes(&self) -> Option<u32> {
        Some(self.product.shared_bytes)
    }
}
