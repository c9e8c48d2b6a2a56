//! Plans of tiles, made in the launch of the tables.

use std::collections::BTreeMap;

use super::Made;
use super::build::Ordered;
use super::parameters::MaskJob;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::TilePlan;
use crate::map::kernels::TABLE_THREADS;
use crate::map::plan::PlanJobs;

/// Plans to be made.
pub(super) struct PlannedTiles {
    pub(super) jobs: PlanJobs,
    /// The number of its rows among those that are ordered, the plan, and its memory.
    made: Vec<(usize, TilePlan, DeviceBuffer)>,
}

impl PlannedTiles {
    /// The plans of rows that are ordered here, in zeros: of a plan's number, so many bytes.
    pub(super) fn of(
        all: &Made,
        masks: &BTreeMap<usize, MaskJob>,
        ordered: &[Ordered],
        zeros: impl Fn(usize, usize) -> DeviceBuffer,
    ) -> Result<Self> {
        let (mut jobs, mut made) = (Vec::new(), Vec::new());
        for (number, &(map, plan)) in all.plans.iter().enumerate() {
            let is_of = |rows: &Ordered| (rows.0, rows.1) == (map, plan.order);
            let Some(at) = ordered.iter().position(is_of) else { continue };
            let MaskJob { lookup, masks, .. } = masks[&map];
            let memory = zeros(number, plan.len_bytes(lookup.count.capacity()));
            let rows = ordered[at].2.row_of_position();
            let address = memory.as_ref().address();
            jobs.push((plan, plan.job([masks, rows], lookup.count, address)));
            made.push((at, plan, memory));
        }
        Ok(Self { jobs: PlanJobs::new(&jobs, TABLE_THREADS)?, made })
    }

    /// Gives the plans to their rows.
    pub(super) fn keep(self, ordered: &[Ordered]) {
        for (at, plan, memory) in self.made {
            ordered[at].2.plans.keep(plan, memory);
        }
    }
}
