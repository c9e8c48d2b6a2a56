//! Queues maps between levels: their masks, and how more is looked up later.

use std::collections::BTreeMap;
use std::sync::Arc;

use voxtune_types::LayerKind;

use super::AtOnce;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::bipartite::{Bipartite, Steps};
use crate::map::index::VoxelIndex;
use crate::map::kernels::{ROW_THREADS, Window};
use crate::map::levels::grid_of;
use crate::map::network::parameters::{self, Box3, Jobs, MaskJob};
use crate::map::network::{MapPlan, NetworkMapBuilder, Part};
use crate::map::rows::{COUNT_BYTES, Lookup, RowMap};
use crate::map::{DeviceKernelMap, Reverse};
use crate::module::arguments;

impl<'a> AtOnce<'a> {
    /// The number of a plan's level among those that are made.
    fn made(&self, level: usize) -> usize {
        self.made.levels[level].expect("maps are made between levels that are")
    }

    fn lookup(&self, map: &MapPlan) -> parameters::Lookup {
        let [from, to] = [map.from, map.to].map(|level| self.made(level));
        let (own, gathered) = (self.parameters.at[to], self.parameters.at[from]);
        parameters::Lookup {
            slots: gathered.slots,
            // Outputs lie in the order of their ranks.
            ranks: if from == 0 { gathered.ranks } else { 0 },
            own_slots: own.slots,
            places: own.places,
            count: self.found[to].count(),
            gathered: Box3::new(&map.geometry),
            capacity: gathered.capacity,
        }
    }

    /// Queues masks, orders and tables of all maps, or of those of a part.
    pub(in crate::map::network) fn make_maps(&mut self, part: Part) -> Result<()> {
        let NetworkMapBuilder { device, pages, masks: mask_kernel, .. } = self.builder;
        let is_in = |at: &usize| part.has_map(self.made(self.plan_of(*at).to));
        let chosen: Vec<usize> = (0..self.made.maps.len()).filter(is_in).collect();
        let (mut jobs, mut blocks) = (BTreeMap::new(), 0);
        let mut made = Vec::with_capacity(chosen.len());
        for &at in &chosen {
            let lookup = self.lookup(self.plan_of(at));
            let rows = lookup.count.capacity();
            let mut buffer = DeviceBuffer::alloc(device, rows * 4)?;
            let report = Arc::new(pages.take()?);
            let masks = buffer.as_mut().address();
            let counts = self.address(self.counts_at[at]);
            jobs.insert(at, MaskJob { lookup, masks, counts, report: report.address() });
            blocks += rows.div_ceil(ROW_THREADS as usize).max(1);
            made.push((at, buffer, report));
        }
        let listed: Vec<MaskJob> = jobs.values().copied().collect();
        let Some(mask_jobs) = Jobs::new(&listed) else { return Ok(()) };
        // SAFETY: (MaskJobs); every row has its place, and its mask; a box has at most 27 offsets.
        unsafe { mask_kernel.launch(grid_of(blocks, ROW_THREADS)?, arguments![mask_jobs])? };
        made.iter().try_for_each(|(.., report)| report.queued())?;

        let rows = self.sort(part, &jobs)?;
        let mut ordered = self.tables(&jobs, rows)?;
        for (at, masks, report) in made {
            let plan = self.plan_of(at);
            let [from, to] =
                [plan.from, plan.to].map(|level| Arc::clone(&self.found[self.made(level)]));
            let (lookup, reverse) = self.rows_of(plan, &from, &to);
            let counts = self.part(self.counts_at[at], COUNT_BYTES);
            let row_map = RowMap::new(lookup, masks, counts);
            for (_, order, made) in ordered.extract_if(.., |(of, ..)| *of == at) {
                row_map.keep(order, made);
            }
            let (kernels, kernel) = (&self.builder.kernels, plan.geometry.kernel);
            let map = DeviceKernelMap::made(kernels, kernel, [from, to], row_map, reverse, report);
            self.maps[at] = Some(map);
        }
        Ok(())
    }

    /// The plan of a map that is made.
    fn plan_of(&self, at: usize) -> &'a MapPlan {
        &self.plan.maps[self.made.maps[at]]
    }

    /// How a map's rows are looked up where more is asked of it later.
    fn rows_of(
        &self,
        plan: &MapPlan,
        from: &Arc<VoxelIndex>,
        to: &Arc<VoxelIndex>,
    ) -> (Lookup, Reverse) {
        if plan.geometry.kind == LayerKind::Submanifold {
            let window = Window::new(plan.geometry.kernel);
            return (Lookup::Within { index: Arc::clone(to), window }, Reverse::Mirrored);
        }
        let (kernels, steps) = (&self.builder.bipartite, Steps::multiplied(&plan.geometry));
        let lookup = Lookup::Bipartite(Bipartite {
            kernels: Arc::clone(kernels),
            own: Arc::clone(to),
            gathered: Arc::clone(from),
            steps,
        });
        (lookup, Reverse::Other(Arc::clone(kernels), steps.divided()))
    }
}
