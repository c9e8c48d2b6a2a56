//! Launches of wgrad over pair lists: a block multiplies the pairs of one unit.

use std::fmt;

use voxtune_types::Operation;

use super::family::{Bound, Launch};
use super::geometry::copy_elements;
use super::group_params::GroupParams;
use super::pair_units::PairUnits;
use crate::error::Result;
use crate::map::MapCounts;
use crate::module::{EntryPoint, Grid, LoadedInstance, ShapedEntryPoint, arguments, block_count};

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
    x_pitch: i32,
    g_pitch: i32,
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

/// What the launch of a variant asks of it.
pub(super) trait Units: Copy + fmt::Debug + Send + Sync + 'static {
    /// Most elements that one copy brings.
    const MOST_COPIED: u32 = 8;

    /// How the pairs are shared out.
    fn units(self, op: &Operation, counts: &MapCounts) -> PairUnits;

    /// Tiles of channels that each unit takes.
    fn tiles(self, op: &Operation) -> usize;

    /// What a kernel of several groups is told about them.
    fn groups(self, _op: &Operation) -> Option<GroupParams> {
        None
    }
}

/// The kernel of a variant, with the one that adds up partial results.
#[derive(Debug)]
pub(super) struct PairLists<V> {
    variant: V,
    product: ShapedEntryPoint,
    reduce: EntryPoint,
}

impl<V: Units> PairLists<V> {
    /// Finds the kernels, by the name of the product's.
    pub(super) fn bind(
        variant: V,
        loaded: &LoadedInstance,
        name: &'static str,
    ) -> Result<Box<dyn Bound>> {
        let product = loaded.shaped_entry_point(name)?;
        let reduce = loaded.entry_point("reduce_partials")?;
        Ok(Box::new(Self { variant, product, reduce }))
    }
}

impl<V: Units> Bound for PairLists<V> {
    fn launch(&self, launch: Launch<'_, '_>) -> Result<()> {
        let Launch { device, op, map, operands, workspace, .. } = launch;
        let (counts, lists) = (map.counts()?, map.pairs()?);
        let (units, tiles) = (self.variant.units(op, counts), self.variant.tiles(op));
        let volume = op.kernel.volume();
        let (x, g) = (operands.first, operands.second);
        let width = |channels| copy_elements(channels).min(V::MOST_COPIED);
        let copies_aligned =
            x.is_aligned(width(op.c_in), op.dtype) && g.is_aligned(width(op.c_out), op.dtype);
        let params = PairGemmParams {
            x: x.address(),
            g: g.address(),
            partial: workspace.as_mut().address(),
            in_rows: lists.in_rows.as_ref().address(),
            out_rows: lists.out_rows.as_ref().address(),
            c_in: op.c_in as i32,
            c_out: op.c_out as i32,
            x_pitch: x.pitch() as i32,
            g_pitch: g.pitch() as i32,
            copies_aligned: i32::from(copies_aligned),
            units,
        };
        let blocks = units.len(volume) * tiles;
        if blocks > 0 {
            let grid = Grid {
                blocks: [block_count(blocks)?, 1],
                threads: self.product.threads,
                shared_bytes: self.product.shared_bytes,
            };
            // SAFETY: the structures mirror the kernel's; the pair lists name rows of x and g,
            // whose lengths the caller compared. The workspace holds a partial result per unit.
            unsafe {
                let product = &self.product.entry_point;
                match self.variant.groups(op) {
                    Some(groups) => product.launch(device, grid, arguments![params, groups]),
                    None => product.launch(device, grid, arguments![params]),
                }
            }?;
        }
        let elements = op.weight_len() / volume;
        let params = ReduceParams {
            partial: params.partial,
            dw: operands.result.address(),
            elements: elements as i32,
            units,
        };
        let grid = Grid::covering(elements, 256)?.layers(volume);
        // SAFETY: as above; the result holds volume × elements float32, which the caller compared.
        unsafe { self.reduce.launch(device, grid, arguments![params]) }
    }

    fn compiled_shared_bytes(&self) -> Option<u32> {
        Some(self.product.shared_bytes)
    }
}
