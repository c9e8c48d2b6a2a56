//! Building a map: hash, probe, count, scan, compact.

use voxtune_shape::{KernelSize, Voxel};

use super::{DeviceKernelMap, MapCounts, RowMap, RowOrder};
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};
use crate::toolchain::Compiled;

/// Rows a block of `map_count` and `map_pairs`.
const COUNT_ROWS: usize = 1024;
/// Most offsets that the kernels' tables hold.
pub(super) const MAX_VOLUME: usize = 125;
/// Row numbers and pair numbers are signed 32-bit.
const MAX_ROWS: usize = i32::MAX as usize / 2;

/// Builds kernel maps with the compiled [`crate::Instance::kernel_map`].
#[derive(Debug)]
pub struct MapBuilder {
    pub(super) device: CudaDevice,
    insert: Kernel,
    probe: Kernel,
    count: Kernel,
    pub(super) scan: Kernel,
    pairs: Kernel,
    reverse: Kernel,
    pub(super) order_keys: Kernel,
    pub(super) sort_histogram: Kernel,
    pub(super) sort_scatter: Kernel,
    pub(super) order_apply: Kernel,
}

/// `Offsets` of the kernels.
#[repr(C)]
struct Offsets([[i8; 3]; MAX_VOLUME]);

impl MapBuilder {
    /// Most offsets that a map can have.
    pub const MAX_VOLUME: usize = MAX_VOLUME;

    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        Ok(Self {
            device: device.clone(),
            insert: loaded.kernel("map_insert")?,
            probe: loaded.kernel("map_probe")?,
            count: loaded.kernel("map_count")?,
            scan: loaded.kernel("exclusive_scan")?,
            pairs: loaded.kernel("map_pairs")?,
            reverse: loaded.kernel("map_reverse")?,
            order_keys: loaded.kernel("order_keys")?,
            sort_histogram: loaded.kernel("sort_histogram")?,
            sort_scatter: loaded.kernel("sort_scatter")?,
            order_apply: loaded.kernel("order_apply")?,
        })
    }

    /// The map of a submanifold convolution over these voxels, in natural order.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`]; [`CudaError::TooLarge`] past 125 offsets or a billion rows;
    /// whatever the driver fails with.
    pub fn submanifold(&self, voxels: &[Voxel], kernel: KernelSize) -> Result<DeviceKernelMap> {
        let coords = DeviceBuffer::from_host(&self.device, voxels)?;
        self.submanifold_on_device(&coords, voxels.len(), kernel)
    }

    /// The same over `n` voxels that are on the device already, as [`Voxel`]s.
    ///
    /// # Errors
    /// As [`Self::submanifold`], and [`CudaError::Length`] if the buffer is shorter than `n`
    /// voxels.
    pub fn submanifold_on_device(
        &self,
        coords: &DeviceBuffer,
        n: usize,
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        let volume = kernel.volume();
        within("the number of offsets", volume, MAX_VOLUME)?;
        within("the number of rows", n, MAX_ROWS)?;
        within("the number of possible pairs", n * volume, i32::MAX as usize)?;
        let expected = n * size_of::<Voxel>();
        if coords.len_bytes() < expected {
            return Err(CudaError::Length {
                what: "coordinates",
                expected,
                found: coords.len_bytes(),
            });
        }
        let forward = self.probe_rows(coords, n, kernel)?;
        self.with_pairs(forward, n, kernel)
    }

    /// Table and masks by hashing.
    fn probe_rows(&self, coords: &DeviceBuffer, n: usize, kernel: KernelSize) -> Result<RowMap> {
        let volume = kernel.volume();
        let words = DeviceKernelMap::mask_words(kernel);
        let pitch = DeviceKernelMap::pitch(n);
        let capacity = (2 * n).next_power_of_two().max(32);
        let mut slots = DeviceBuffer::alloc(&self.device, capacity * 8)?;
        slots.fill(0xff)?;
        let mut duplicate = DeviceBuffer::from_host(&self.device, &[i32::MAX])?;
        let mut table = DeviceBuffer::alloc(&self.device, volume * pitch * 4)?;
        table.fill(0xff)?;
        let mut masks = DeviceBuffer::alloc(&self.device, (n * words * 4).max(4))?;
        let mut offsets = Offsets([[0; 3]; MAX_VOLUME]);
        for (target, offset) in offsets.0.iter_mut().zip(kernel.offsets()) {
            *target = offset.map(|step| step as i8);
        }
        if n > 0 {
            let (coords, slots_at) = (coords.as_ref().address(), slots.as_mut().address());
            let (rows, capacity_mask) = (n as i32, (capacity - 1) as u32);
            let error = duplicate.as_mut().address();
            // SAFETY: (int4*, int, u64*, u32, int*); `coords` holds n voxels, `slots` capacity
            // slots, at most half of them used.
            unsafe {
                self.insert.launch(
                    Grid::covering(n, 256)?,
                    arguments![coords, rows, slots_at, capacity_mask, error],
                )?;
            }
            let (volume, words, pitch) = (volume as i32, words as i32, pitch as i64);
            let (table, masks) = (table.as_mut().address(), masks.as_mut().address());
            // SAFETY: (int4*, int, u64*, u32, Offsets, int, int, i64, int*, u32*) with the lengths
            // allocated above.
            unsafe {
                self.probe.launch(
                    Grid::covering(n, 128)?,
                    arguments![
                        coords,
                        rows,
                        slots_at,
                        capacity_mask,
                        offsets,
                        volume,
                        words,
                        pitch,
                        table,
                        masks
                    ],
                )?;
            }
        }
        let row = duplicate.download::<i32>(0, 1)?[0];
        if row != i32::MAX {
            let row = row as usize;
            let voxel = coords.download::<Voxel>(row * size_of::<Voxel>(), 1)?[0];
            return Err(CudaError::DuplicateVoxel { voxel, row });
        }
        Ok(RowMap { rows: n, table, masks, sorted: None, global: None })
    }

    /// Pair lists out of a row map: counted by block, placed by prefix sums.
    fn with_pairs(
        &self,
        forward: RowMap,
        n_in: usize,
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        let (volume, n) = (kernel.volume(), forward.rows);
        let words = DeviceKernelMap::mask_words(kernel) as i32;
        let blocks = n.div_ceil(COUNT_ROWS);
        let mut places = DeviceBuffer::zeroed(&self.device, (volume * blocks * 4).max(4))?;
        let mut total = DeviceBuffer::zeroed(&self.device, 4)?;
        let grid = Grid { blocks: [blocks as u32, 1], threads: COUNT_ROWS as u32, shared_bytes: 0 };
        let (rows, volume_arg, pitch) = (n as i32, volume as i32, DeviceKernelMap::pitch(n) as i64);
        let places_at = places.as_mut().address();
        if n > 0 {
            let masks = forward.masks.as_ref().address();
            let (length, total_at) = ((volume * blocks) as i32, total.as_mut().address());
            let one = Grid { blocks: [1, 1], threads: 1024, shared_bytes: 0 };
            // SAFETY: (u32*, int, int, int, int*), (int*, int, int*); `places` holds volume ×
            // blocks counts.
            unsafe {
                self.count.launch(grid, arguments![masks, rows, words, volume_arg, places_at])?;
                self.scan.launch(one, arguments![places_at, length, total_at])?;
            }
        }
        let total = total.download::<i32>(0, 1)?[0];
        let places_host: Vec<i32> = places.download(0, volume * blocks)?;
        let mut pair_offset: Vec<i32> =
            places_host.iter().step_by(blocks.max(1)).copied().collect();
        pair_offset.resize(volume, 0);
        pair_offset.push(total);
        let mut in_rows = DeviceBuffer::alloc(&self.device, total as usize * 4)?;
        let mut out_rows = DeviceBuffer::alloc(&self.device, total as usize * 4)?;
        if n > 0 {
            let table = forward.table.as_ref().address();
            let (in_at, out_at) = (in_rows.as_mut().address(), out_rows.as_mut().address());
            // SAFETY: (int*, i64, int, int, int*, int*, int*); the lists hold as many pairs as were
            // counted.
            unsafe {
                self.pairs.launch(
                    grid,
                    arguments![table, pitch, rows, volume_arg, places_at, in_at, out_at],
                )?;
            }
        }
        let pairs = pair_offset.windows(2).map(|ends| (ends[1] - ends[0]) as usize).collect();
        Ok(DeviceKernelMap {
            kernel,
            counts: MapCounts { n_in, n_out: n, pairs },
            pair_offset_on_device: DeviceBuffer::from_host(&self.device, &pair_offset)?,
            pair_offset,
            in_rows,
            out_rows,
            forward,
            reverse: None,
            symmetric: kernel.is_centred(),
        })
    }

    /// Adds the map by input rows, which dgrad then reads instead of the mirror image of the
    /// forward map.
    ///
    /// Correct for every map; needed where the map is not symmetric.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn add_reverse(&self, map: &mut DeviceKernelMap) -> Result<()> {
        let (n_in, volume) = (map.counts.n_in, map.kernel.volume());
        let words = DeviceKernelMap::mask_words(map.kernel);
        let pitch = DeviceKernelMap::pitch(n_in);
        let mut table = DeviceBuffer::alloc(&self.device, volume * pitch * 4)?;
        table.fill(0xff)?;
        let mut masks = DeviceBuffer::zeroed(&self.device, (n_in * words * 4).max(4))?;
        let largest = map.counts.largest_offset();
        if largest > 0 {
            let (in_at, out_at) = (map.in_rows.as_ref().address(), map.out_rows.as_ref().address());
            let offsets = map.pair_offset_on_device.as_ref().address();
            let (words, pitch) = (words as i32, pitch as i64);
            let (table, masks) = (table.as_mut().address(), masks.as_mut().address());
            // SAFETY: (int*, int*, int*, int, i64, int*, u32*); input rows are below n_in.
            unsafe {
                self.reverse.launch(
                    Grid::covering(largest, 256)?.layers(volume),
                    arguments![in_at, out_at, offsets, words, pitch, table, masks],
                )?;
            }
        }
        map.reverse = Some(RowMap { rows: n_in, table, masks, sorted: None, global: None });
        Ok(())
    }

    /// Adds a row order, to the forward map and, where there is one, the reverse. The natural one
    /// is always there.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn add_order(&self, map: &mut DeviceKernelMap, order: RowOrder) -> Result<()> {
        let (kernel, pairs) = (map.kernel, map.counts.pairs.clone());
        for rows in [Some(&mut map.forward), map.reverse.as_mut()].into_iter().flatten() {
            let slot = match order {
                RowOrder::Natural => continue,
                RowOrder::Sorted => &rows.sorted,
                RowOrder::Global => &rows.global,
            };
            if slot.is_none() {
                let made = self.order_rows(rows, kernel, &pairs, order)?;
                match order {
                    RowOrder::Natural => {}
                    RowOrder::Sorted => rows.sorted = Some(made),
                    RowOrder::Global => rows.global = Some(made),
                }
            }
        }
        Ok(())
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit { Err(CudaError::TooLarge { what, found, limit }) } else { Ok(()) }
}
