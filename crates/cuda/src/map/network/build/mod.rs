//! Queues a plan: levels, then masks, orders and tables.

mod levels;
mod maps;
mod orders;

use std::sync::Arc;

use voxtune_types::Voxel;

use super::{Made, NetworkMapBuilder, NetworkMaps, NetworkPlan};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::cloud::Cloud;
use crate::map::counts::Report;
use crate::map::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at, slots_for};
use crate::map::levels::{KEYS_OF_A_ROW, Level, Levels, SCAN_ROWS, Zeros, control, scan_tiles};
use crate::map::order::MAX_PASSES;
use crate::map::rows::COUNT_BYTES;
use crate::map::{DeviceKernelMap, Outputs};
pub(super) use orders::Ordered;

/// A level while it is made.
struct LevelBuild {
    /// The level's own buffers; none of the input's coordinates.
    coords: Option<DeviceBuffer>,
    by_row: DeviceBuffer,
    report: Arc<Report>,
    /// Places in the zeros: slots, owners, how many rows.
    slots_at: usize,
    owners_at: usize,
    counted_at: usize,
    slots: usize,
    rows: usize,
}

/// A build under way.
pub(super) struct AtOnce<'a> {
    builder: &'a NetworkMapBuilder,
    cloud: Cloud<'a>,
    plan: &'a NetworkPlan,
    made: &'a Made,
    zeros: DeviceBuffer,
    /// Places in the zeros of each map's pairs, and of each order's meetings.
    counts_at: Vec<usize>,
    arrived_at: Vec<usize>,
    /// Of the control of each part: that of the input or of all, then that of each further level,
    /// since their kernels may run at the same time.
    controls_at: Vec<usize>,
    /// Of each plan.
    plans_at: Vec<usize>,
    builds: Vec<LevelBuild>,
    parameters: Levels,
    /// What is used while levels and maps are made alone.
    scratch: Vec<DeviceBuffer>,
    /// Of the levels.
    reports: Vec<Arc<Report>>,
    /// The levels that were found, and the maps.
    found: Vec<Arc<VoxelIndex>>,
    outputs: Vec<Option<Outputs>>,
    maps: Vec<Option<DeviceKernelMap>>,
}

impl<'a> AtOnce<'a> {
    pub(super) fn new(
        builder: &'a NetworkMapBuilder,
        cloud: Cloud<'a>,
        plan: &'a NetworkPlan,
        made: &'a Made,
    ) -> Result<Self> {
        let device = &builder.device;
        let input_rows = cloud.capacity();
        let tiles = scan_tiles(input_rows);
        let planned = plan.levels.iter().zip(&made.levels[1..]);
        let planned = planned.filter_map(|(level, made)| made.map(|_| level.capacity));
        let rows: Vec<usize> = std::iter::once(input_rows).chain(planned).collect();

        let mut places = Zeros::default();
        let controls_at: Vec<usize> =
            rows.iter().map(|_| places.place(control::LEN_BYTES)).collect();
        let counts_at: Vec<usize> = made.maps.iter().map(|_| places.place(COUNT_BYTES)).collect();
        let arrived_at: Vec<usize> =
            made.orders.iter().map(|_| places.place(2 * MAX_PASSES * 4)).collect();
        let plans_at = made.plans.iter().map(|(map, tiles)| {
            let to = made.levels[plan.maps[made.maps[*map]].to].expect("maps are between levels");
            places.place(tiles.len_bytes(rows[to]))
        });
        let plans_at = plans_at.collect();
        let status_at = places.place((rows.len() - 1) * tiles * 8);
        let of_levels: Vec<[usize; 4]> = rows
            .iter()
            .enumerate()
            .map(|(level, &rows)| {
                let slots = slots_for(rows);
                let totals = if level == 0 { 0 } else { tiles * SCAN_ROWS * KEYS_OF_A_ROW };
                let lengths = [slots * SLOT_BYTES, slots * 4, totals, size_of::<i32>()];
                lengths.map(|len_bytes| places.place(len_bytes))
            })
            .collect();
        let zeros = DeviceBuffer::zeroed(device, places.len_bytes())?;
        let starts_bytes = tiles * SCAN_ROWS * 4;
        let mut starts = DeviceBuffer::alloc(device, (rows.len() - 1) * starts_bytes)?;
        let (base, starts_base) = (zeros.as_ref().address(), starts.as_mut().address());
        let coords_of_input = cloud.read_by(device)?;

        let (mut told, mut builds) = (Vec::new(), Vec::new());
        for (level, (&rows, places)) in rows.iter().zip(&of_levels).enumerate() {
            let [slots_at, owners, totals, counted_at] = places.map(|at| base + at as u64);
            let mut coords = match level {
                0 => None,
                _ => Some(DeviceBuffer::alloc(device, rows * size_of::<Voxel>())?),
            };
            let mut by_row = DeviceBuffer::alloc(device, by_row_bytes(rows))?;
            let report = Arc::new(builder.pages.take()?);
            let at = by_row.as_mut().address();
            let parameters = Level {
                slots: slots_at,
                owners,
                totals,
                starts: starts_base + (level.saturating_sub(1) * starts_bytes) as u64,
                coords: coords.as_mut().map_or(coords_of_input, |coords| coords.as_mut().address()),
                places: at,
                ranks: at + ranks_at(rows) as u64,
                counted: counted_at,
                report: report.address(),
                capacity: slots_for(rows) as u32,
                room: rows as i32,
            };
            let [slots_at, owners_at, _, counted_at] = *places;
            let slots = slots_for(rows);
            told.push(parameters);
            builds.push(LevelBuild {
                coords,
                by_row,
                report,
                slots_at,
                owners_at,
                counted_at,
                slots,
                rows,
            });
        }
        let parameters = Levels {
            at: std::array::from_fn(|level| told.get(level).copied().unwrap_or(told[0])),
            control: base + controls_at[0] as u64,
            status: base + status_at as u64,
            input: cloud.count(),
            count: told.len() as i32,
            tiles: tiles as i32,
            first: 0,
            tallies: 0,
        };
        let (reports, found, outputs) = <_>::default();
        let maps = made.maps.iter().map(|_| None).collect();
        Ok(Self {
            builder,
            cloud,
            plan,
            made,
            zeros,
            counts_at,
            arrived_at,
            controls_at,
            plans_at,
            builds,
            parameters,
            scratch: vec![starts],
            reports,
            found,
            outputs,
            maps,
        })
    }

    /// What was used so far while levels and maps were made.
    pub(super) fn take_scratch(&mut self) -> Vec<DeviceBuffer> {
        std::mem::take(&mut self.scratch)
    }

    fn part(&self, at: usize, len_bytes: usize) -> DeviceBuffer {
        self.zeros.part_of(at..at + len_bytes).expect("parts lie in the zeros")
    }

    fn address(&self, at: usize) -> u64 {
        self.zeros.as_ref().address() + at as u64
    }

    /// What was made, by the numbers of the plan.
    pub(super) fn finish(self) -> NetworkMaps {
        let Self { made, plan, found, outputs, maps, .. } = self;
        let mut outputs = outputs.into_iter();
        let levels = made.levels[1..].iter().map(|level| level.and_then(|_| outputs.next()?));
        let levels = levels.collect();
        let mut by_plan: Vec<Option<DeviceKernelMap>> = plan.maps.iter().map(|_| None).collect();
        for (&number, map) in made.maps.iter().zip(maps) {
            by_plan[number] = map;
        }
        let input = found.into_iter().next().expect("the input is a level");
        NetworkMaps { input, levels, maps: by_plan }
    }
}
