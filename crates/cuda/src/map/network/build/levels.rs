//! Queues levels: the input's bricks, those that layers make of others, and all their rows.

use std::ops::Range;
use std::sync::Arc;

use super::{AtOnce, LevelBuild};
use crate::error::Result;
use crate::map::Outputs;
use crate::map::index::{SLOT_BYTES, VoxelIndex};
use crate::map::kernels::ROW_THREADS;
use crate::map::levels::{Keys, LevelKernels, Levels, Reach, Spread, control, grid_of};
use crate::map::network::Part;
use crate::map::outputs::OutputsReport;
use crate::module::{Grid, arguments};
use crate::row_count::RowCount;

impl AtOnce<'_> {
    /// Queues the input's bricks, and makes all levels known to maps.
    pub(in crate::map::network) fn insert(&mut self) -> Result<()> {
        let (levels, rows) = (self.parameters, self.cloud.capacity());
        let insert = &self.builder.levels.insert;
        // SAFETY: (Levels); all of them hold what `new` has given them room for, and there are more
        // slots than the input has bricks, so probing ends.
        unsafe { insert.launch(Grid::covering(rows, ROW_THREADS)?, arguments![levels])? };
        let builds = std::mem::take(&mut self.builds);
        for (number, (build, &spread)) in builds.into_iter().zip(&self.made.spreads).enumerate() {
            self.keep_level(number, build, spread);
        }
        Ok(())
    }

    /// A level as others take it.
    fn keep_level(&mut self, number: usize, build: LevelBuild, spread: Spread) {
        let LevelBuild { coords, by_row, report, slots_at, owners_at, counted_at, slots, rows } =
            build;
        let table = (self.part(slots_at, slots * SLOT_BYTES), slots);
        let owners = self.part(owners_at, slots * 4);
        let keys = Keys { owners, rows: self.cloud.capacity(), spread };
        self.reports.push(Arc::clone(&report));
        let Some(coords) = coords.filter(|_| number > 0) else {
            let of_rows = (rows, self.cloud.count_on_device());
            let index = VoxelIndex::ranked(of_rows, table, by_row, report);
            self.found.push(Arc::new(index.with_keys(keys)));
            return;
        };
        let counted = Some(Arc::new(self.part(counted_at, size_of::<i32>())));
        let report = OutputsReport::of(report);
        let of_rows = (rows, counted.clone());
        let index = VoxelIndex::of_outputs(of_rows, table, by_row, report.clone());
        let index = Arc::new(index.with_keys(keys));
        self.found.push(Arc::clone(&index));
        let index = Some(index);
        self.outputs.push(Some(Outputs { coords, capacity: rows, counted, report, index }));
    }

    /// Queues everything from the input's bricks to the outputs of the last level, or a part of it.
    pub(in crate::map::network) fn find(&mut self, part: Part) -> Result<()> {
        let LevelKernels { totals, starts, write, .. } = &self.builder.levels;
        let (first, end) = match part {
            Part::All => (0, self.parameters.count as usize),
            Part::Input => (0, 1),
            Part::Level(number) => (number, number + 1),
        };
        let control = self.control(part);
        let mut levels =
            Levels { first: first as i32, count: end as i32, control, ..self.parameters };
        let of_input = match part {
            Part::Level(_) => {
                levels.input = RowCount::new(0, None);
                0
            }
            _ => self.cloud.capacity().div_ceil(ROW_THREADS as usize),
        };
        let further = first.max(1)..end;
        self.reach(further.clone(), control)?;
        let blocks_of = |level: usize| self.slots_of(level).div_ceil(ROW_THREADS as usize);
        let blocks: usize = (first..end).map(blocks_of).sum();
        // SAFETY: (Levels); each owner is a key, which has a total.
        unsafe { totals.launch(grid_of(blocks, ROW_THREADS)?, arguments![levels])? };
        if !further.is_empty() {
            let tiles = further.len() * levels.tiles as usize;
            // SAFETY: (Levels); a tile a block, of which each level has as many.
            unsafe { starts.launch(grid_of(tiles, ROW_THREADS)?, arguments![levels])? };
        }
        let of_outputs: usize = further.map(blocks_of).sum();
        let grid = grid_of((of_input + of_outputs).max(1), ROW_THREADS)?;
        // SAFETY: (Levels); levels that do not fit are not written.
        unsafe { write.launch(grid, arguments![levels])? };
        self.reports[first..end].iter().try_for_each(|report| report.queued())
    }

    /// Address of the control of a part.
    pub(super) fn control(&self, part: Part) -> u64 {
        let number = if let Part::Level(number) = part { number } else { 0 };
        self.address(self.controls_at[number])
    }

    /// Queues the bricks of some levels that are made of others.
    fn reach(&self, levels: Range<usize>, control: u64) -> Result<()> {
        for (level, made) in self.plan.levels.iter().zip(&self.made.levels[1..]) {
            let Some(to) = made.filter(|made| levels.contains(made)) else { continue };
            let from = self.made.levels[level.from].expect("a level is made of one that is");
            let geometry = Reach::new(&level.geometry, level.shape);
            let full = control + control::full(to);
            let (from, to) = (self.parameters.at[from], self.parameters.at[to]);
            let meetings = 0_u64;
            // SAFETY: (Level, Level, Reach, int*, u64*); the kernel probes a bounded number of
            // slots; the word is the level's own, and meetings are not counted.
            unsafe {
                let grid = Grid::covering(from.capacity as usize, ROW_THREADS)?;
                let reach = &self.builder.levels.reach;
                reach.launch(grid, arguments![from, to, geometry, full, meetings])?;
            }
        }
        Ok(())
    }

    fn slots_of(&self, level: usize) -> usize {
        self.parameters.at[level].capacity as usize
    }
}
