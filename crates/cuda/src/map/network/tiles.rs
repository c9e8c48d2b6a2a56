//! Plans of tiles, made in the launch of the tables.

use std::collections::BTreeMap;

use super::build::Ordered;
use super::parameters::MaskJob;
use super::{Made, NetworkMapBuilder};
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
    /// The plans of rows that are ordered here. `ticket` is the address of that of a plan's number.
    pub(super) fn of(
        builder: &NetworkMapBuilder,
        all: &Made,
        masks: &BTreeMap<usize, MaskJob>,
        ordered: &[Ordered],
        ticket: impl Fn(usize) -> u64,
    ) -> Result<Self> {
        let (mut jobs, mut made) = (Vec::new(), Vec::new());
        for (number, &(map, plan)) in all.plans.iter().enumerate() {
            let is_of = |rows: &Ordered| (rows.0, rows.1) == (map, plan.order);
            let Some(at) = ordered.iter().position(is_of) else { continue };
            let MaskJob { lookup, masks, .. } = masks[&map];
            let len_bytes = plan.len_bytes(lookup.count.capacity());
            let mut memory = DeviceBuffer::alloc(&builder.device, len_bytes)?;
            let rows = ordered[at].2.row_of_position();
            jobs.push((plan, plan.job([masks, rows], lookup.count, &mut memory, ticket(number))));
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
