//! Finding the outputs of strided and transposed layers on the device.
//!
//! | outputs | found | in the order of |
//! |---|---|---|
//! | of layers whose windows overlap little | [`by_bricks`] | the rows of the network's input |
//! | of all others | [`by_rows`] | the rows of the layer's inputs |

mod by_bricks;
mod by_rows;

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize};

use super::cloud::Cloud;
use super::counts::Report;
use super::index::VoxelIndex;
use super::{MAX_ROWS, MapBuilder};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use by_bricks::ByBricks;
use by_rows::ByRows;

/// How often a larger table is tried. Tables are twice as large as bricks are many from the second
/// on, so it is the last in all likelihood.
const TRIES: u32 = 4;

/// The outputs of a layer, on the device.
#[derive(Debug)]
pub struct Outputs {
    /// [`Voxel`](voxtune_types::Voxel)s, from the start.
    pub coords: DeviceBuffer,
    /// How many there are, or as many as there is room for where the device counts them.
    pub capacity: usize,
    /// How many there are, as [`Cloud::counted`](super::Cloud::counted) takes it; `None` where the
    /// host knows.
    pub counted: Option<Arc<DeviceBuffer>>,
    /// What was counted.
    pub report: OutputsReport,
    /// The outputs by hash, for kernel maps of them: what they were found in. `None` where there is
    /// no room for any.
    pub index: Option<Arc<VoxelIndex>>,
}

/// What was counted while outputs were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounts {
    /// Outputs that there are, room or not.
    pub rows: usize,
    /// Pairs of an input and an output: those of the layer's map.
    pub pairs: usize,
    /// Whether the table of bricks was too small: some outputs were not found.
    pub incomplete: bool,
    /// Pairs of neighbours within bricks of four cells an axis, by the axes on which they differ:
    /// z, y, yz, x, xz, xy, xyz.
    neighbours: [usize; 7],
}

/// Words of [`OutputCounts`] in a report.
const COUNTED_WORDS: usize = 10;

impl OutputCounts {
    fn of(words: &[i32]) -> Self {
        let count = |at: usize| usize::try_from(words[at]).unwrap_or(0);
        Self {
            rows: usize::try_from(words[1]).unwrap_or(usize::MAX),
            pairs: count(2),
            incomplete: words[0] != 0,
            neighbours: std::array::from_fn(|axes| count(3 + axes)),
        }
    }

    /// About how many pairs a submanifold map of the outputs has.
    ///
    /// Counted are neighbours within bricks. If bricks lie anywhere, cells that differ by one on an
    /// axis share a brick with a chance of 3 in 4, whatever the cloud. So their number is that of
    /// those counted over the chance. Offsets further apart are taken to be as frequent as the
    /// nearest in their direction.
    #[must_use]
    pub fn submanifold_pairs(&self, kernel: KernelSize) -> usize {
        let mut pairs = 0.0;
        for offset in kernel.offsets() {
            let differs = offset.map(|step| usize::from(step != 0));
            let [x, y, z] = differs;
            let Some(axes) = (4 * x + 2 * y + z).checked_sub(1) else {
                pairs += self.rows as f64;
                continue;
            };
            // Counted once and met from both sides, in as many directions as signs can be chosen.
            let count = differs.iter().sum::<usize>() as i32;
            let directions = f64::from(1 << count);
            let chance = 0.75_f64.powi(count);
            pairs += 2.0 * self.neighbours[axes] as f64 / (directions * chance);
        }
        pairs as usize
    }
}

/// Counts that may still be on their way from the device.
#[derive(Clone, Debug)]
pub struct OutputsReport(Option<Arc<Report>>);

impl OutputsReport {
    /// What a kernel reports that was queued.
    pub(in crate::map) const fn of(report: Arc<Report>) -> Self {
        Self(Some(report))
    }

    /// The counts. Waits until the outputs are found.
    ///
    /// # Errors
    /// Whatever work queued before has failed with.
    pub fn wait(&self) -> Result<OutputCounts> {
        let Some(report) = &self.0 else { return Ok(OutputCounts::default()) };
        Ok(OutputCounts::of(&report.wait(COUNTED_WORDS)?))
    }

    /// The same if the outputs are found, without waiting.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_read(&self) -> Result<Option<OutputCounts>> {
        let Some(report) = &self.0 else { return Ok(Some(OutputCounts::default())) };
        Ok(report.try_read(COUNTED_WORDS)?.map(|words| OutputCounts::of(&words)))
    }
}

/// Finds outputs with the compiled [`crate::Instance::coordinates`] and
/// [`crate::Instance::network_maps`].
#[derive(Debug)]
pub struct OutputsBuilder {
    device: CudaDevice,
    by_rows: ByRows,
    by_bricks: ByBricks,
}

impl OutputsBuilder {
    /// Loads the kernels.
    ///
    /// # Errors
    /// If a cubin cannot be loaded.
    pub fn new(maps: &MapBuilder, coordinates: &Compiled, network_maps: &Compiled) -> Result<Self> {
        let by_rows = ByRows::new(maps, coordinates)?;
        let by_bricks = ByBricks::new(maps, network_maps)?;
        Ok(Self { device: maps.kernels.device.clone(), by_rows, by_bricks })
    }

    /// The outputs of a layer over voxels that are on the device and hashed, each once. Where
    /// outputs have a `shape`, those past it or below zero do not exist.
    ///
    /// Their order follows from that of the inputs alone: the same inputs have the same outputs, to
    /// the row. Waits once, for their number.
    ///
    /// # Errors
    /// [`CudaError::Geometry`]; [`CudaError::Length`] if the buffer is shorter than the voxels;
    /// [`CudaError::TooLarge`] past a billion rows; whatever the driver fails with.
    pub fn find(
        &self,
        (cloud, index): (Cloud<'_>, &Arc<VoxelIndex>),
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Outputs> {
        if is_nothing(cloud, geometry, shape)? {
            return self.nothing();
        }
        match self.by_bricks.way(index, geometry)? {
            Some(way) => self.by_bricks.find(way, geometry, shape),
            None => self.by_rows.find(cloud, geometry, shape),
        }
    }

    /// The same with room for so many outputs, and without waiting: how many there are the device
    /// knows, and the report tells later. Where there is too little room, there are none, and
    /// [`OutputCounts::rows`] says how many there would be.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_at_most(
        &self,
        (cloud, index): (Cloud<'_>, &Arc<VoxelIndex>),
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
        capacity: usize,
    ) -> Result<Outputs> {
        if is_nothing(cloud, geometry, shape)? {
            return self.nothing();
        }
        match self.by_bricks.way(index, geometry)? {
            Some(way) => self.by_bricks.find_at_most(way, geometry, shape, capacity),
            None => self.by_rows.find_at_most(cloud, geometry, shape, capacity),
        }
    }

    /// The most outputs that so many inputs can have.
    #[must_use]
    pub fn most_outputs(geometry: &Geometry, inputs: usize) -> usize {
        let cells = |axis: usize| {
            let extent = usize::from(geometry.kernel.extents()[axis]);
            let stride = usize::from(geometry.stride[axis]);
            match geometry.kind.is_upsampling() {
                true => extent,
                // Offsets that leave the same rest; dilation may leave them all one.
                false if geometry.dilation[axis] == 1 => extent.div_ceil(stride),
                false => extent,
            }
        };
        (0..3).map(cells).product::<usize>().saturating_mul(inputs)
    }

    fn nothing(&self) -> Result<Outputs> {
        let coords = DeviceBuffer::alloc(&self.device, 0)?;
        let report = OutputsReport(None);
        Ok(Outputs { coords, capacity: 0, counted: None, report, index: None })
    }
}

/// Whether there are no outputs, of a layer that can be.
fn is_nothing(cloud: Cloud<'_>, geometry: &Geometry, shape: Option<[u32; 3]>) -> Result<bool> {
    geometry.check().map_err(CudaError::Geometry)?;
    cloud.check()?;
    Ok(cloud.capacity() == 0 || shape.is_some_and(|shape| shape.contains(&0)))
}

/// What is found with a table of so many slots, or with larger ones for so many bricks where that
/// is too small.
fn with_table<T>(
    mut slots: usize,
    bricks: usize,
    mut find: impl FnMut(usize) -> Result<Option<T>>,
) -> Result<T> {
    for _ in 0..TRIES {
        if let Some(found) = find(slots)? {
            return Ok(found);
        }
        slots = bricks.saturating_mul(2).saturating_add(64).max(2 * slots);
    }
    let (what, limit) = ("the size of a table of outputs", slots / 2);
    Err(CudaError::TooLarge { what, found: slots, limit })
}

fn check_rows(found: usize) -> Result<()> {
    let (what, limit) = ("the number of outputs", MAX_ROWS);
    if found > limit { Err(CudaError::TooLarge { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use voxtune_types::LayerKind;

    use super::*;

    /// What the kernels count of a cloud.
    fn counted(cells: &std::collections::BTreeSet<[i32; 3]>) -> OutputCounts {
        let mut neighbours = [0; 7];
        for cell in cells {
            for axes in 1..8_usize {
                let differs = [axes >> 2 & 1, axes >> 1 & 1, axes & 1];
                // Upwards on the first axis that differs, either way on the others.
                let first = differs.iter().position(|differs| *differs == 1).unwrap();
                let signs = 1 << (differs.iter().sum::<usize>() - 1);
                for sign in 0..signs {
                    let mut bits = sign;
                    let other: [i32; 3] = std::array::from_fn(|axis| {
                        let step = differs[axis] as i32;
                        if axis == first || step == 0 {
                            return cell[axis] + step;
                        }
                        let down = bits & 1;
                        bits >>= 1;
                        cell[axis] + if down == 1 { -step } else { step }
                    });
                    let together = (0..3).all(|axis| other[axis] >> 2 == cell[axis] >> 2);
                    neighbours[axes - 1] += usize::from(together && cells.contains(&other));
                }
            }
        }
        OutputCounts { rows: cells.len(), neighbours, ..OutputCounts::default() }
    }

    /// A plane that lies aslant, a full box and a line, wherever bricks begin.
    #[test]
    fn pairs_of_a_submanifold_map_are_near_those_counted_in_bricks() {
        let plane = (0..60).flat_map(|x| (0..60).map(move |y| [x, y, (x + 2 * y) / 5]));
        let full = (0..21).flat_map(|x| (0..19).flat_map(move |y| (0..17).map(move |z| [x, y, z])));
        let line = (0..400).map(|x| [x, x / 3, -x / 7]);
        for cloud in [plane.collect(), full.collect(), line.collect::<Vec<_>>()] {
            let cells = cloud.into_iter().collect();
            let counts = counted(&cells);
            for extents in [[3, 3, 3], [3, 1, 1], [1, 3, 3], [1, 1, 1]] {
                let kernel = KernelSize::try_from(extents).unwrap();
                let meets = |cell: &[i32; 3], offset: &[i32; 3]| {
                    cells.contains(&std::array::from_fn(|axis| cell[axis] + offset[axis]))
                };
                let offsets = kernel.offsets();
                let exact: usize = cells
                    .iter()
                    .map(|cell| offsets.iter().filter(|offset| meets(cell, offset)).count())
                    .sum();
                let ratio = counts.submanifold_pairs(kernel) as f64 / exact as f64;
                assert!((0.93..1.07).contains(&ratio), "{kernel} of {} rows: {ratio}", cells.len());
            }
        }
    }

    /// Over all places of an input.
    #[test]
    fn no_input_has_more_outputs_than_there_is_room_for() {
        for (extent, stride, dilation) in
            [(1, 1, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (5, 3, 1), (3, 2, 2), (7, 2, 3)]
        {
            let kernel = KernelSize::cubic(extent).unwrap();
            let down =
                Geometry { dilation: [dilation; 3], ..Geometry::strided(kernel, [stride; 3]) };
            for geometry in [down, down.with_kind(LayerKind::Transposed)] {
                let of_an_axis = (0..64_i64).map(|at| {
                    let met = |r: i64| {
                        geometry.kind.is_upsampling()
                            || (at - r * i64::from(dilation)) % i64::from(stride) == 0
                    };
                    (0..i64::from(extent)).filter(|r| met(*r)).count()
                });
                let most = of_an_axis.max().unwrap().pow(3);
                assert!(OutputsBuilder::most_outputs(&geometry, 5) >= 5 * most, "{geometry}");
            }
        }
    }
}
