//! Everything that a network makes of its voxels, in a handful of launches.
//!
//! | idea | where |
//! |---|---|
//! | which levels and maps can be made so | [`levels`](super::levels) |
//! | what is asked for, and what is made of it | [`NetworkPlan`], [`NetworkMaps`] |
//! | what is queued, in which order | [`build`] |
//! | plans of tiles | [`tiles`] |
//! | what kernels are told | [`parameters`] |

mod build;
mod parameters;
mod tiles;

use std::collections::VecDeque;
use std::sync::Arc;

use voxtune_types::Geometry;

use super::bipartite::BipartiteKernels;
use super::cloud::Cloud;
use super::index::VoxelIndex;
use super::kernels::MapKernels;
use super::levels::{LevelKernels, MOST_KEYED_ROWS, MOST_LEVELS, Spread, is_near};
use super::plan::MOST_PLANS;
use super::{
    DeviceKernelMap, MapBuilder, Outputs, ReportPages, RowOrder, StridedMapBuilder, TilePlan,
};
use crate::binding::driver::CudaEvent;
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Kernel, LoadedInstance};
use build::AtOnce;
use parameters::MOST_JOBS;

/// A level that a network makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelPlan {
    /// The level that it is made of: 0 is the input, `n + 1` the plan's level `n`.
    pub from: usize,
    /// The layer.
    pub geometry: Geometry,
    /// Cells along each axis, if they are bounded.
    pub shape: Option<[u32; 3]>,
    /// Rows that there is room for.
    pub capacity: usize,
}

/// A map that a network reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapPlan {
    /// The level of the layer's inputs, as in [`LevelPlan::from`].
    pub from: usize,
    /// The level of its outputs.
    pub to: usize,
    /// The layer.
    pub geometry: Geometry,
    /// Orders in which its rows are read.
    pub orders: Vec<RowOrder>,
    /// Plans of its tiles that are read.
    pub plans: Vec<TilePlan>,
}

/// What a network makes of its voxels. A level comes behind the one that it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPlan {
    /// All levels but the input.
    pub levels: Vec<LevelPlan>,
    /// All maps.
    pub maps: Vec<MapPlan>,
}

/// What was made of a plan. What could not be made side by side is missing: windows of more than
/// three cells, dilated ones, layers that undo others, levels whose windows overlap by far.
#[derive(Debug)]
pub struct NetworkMaps {
    /// The input by hash.
    pub input: Arc<VoxelIndex>,
    /// The plan's levels.
    pub levels: Vec<Option<Outputs>>,
    /// The plan's maps, each with those of its orders that were made.
    pub maps: Vec<Option<DeviceKernelMap>>,
}

/// Makes them with the compiled [`crate::Instance::network_maps`].
#[derive(Debug)]
pub struct NetworkMapBuilder {
    device: CudaDevice,
    pages: ReportPages,
    kernels: Arc<MapKernels>,
    bipartite: Arc<BipartiteKernels>,
    levels: LevelKernels,
    masks: Kernel,
    orders: Kernel,
    tables: Kernel,
}

impl NetworkMapBuilder {
    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(
        maps: &MapBuilder,
        strided: &StridedMapBuilder,
        compiled: &Compiled,
    ) -> Result<Self> {
        let device = maps.kernels.device.clone();
        let loaded = LoadedInstance::load(&device, compiled)?;
        Ok(Self {
            pages: maps.pages.clone(),
            kernels: Arc::clone(&maps.kernels),
            bipartite: Arc::clone(&strided.bipartite),
            levels: LevelKernels::new(&loaded)?,
            masks: loaded.kernel("network_masks")?,
            orders: loaded.kernel("network_orders")?,
            tables: loaded.kernel("network_tables")?,
            device,
        })
    }

    /// Queues what a plan asks for, of which it may leave out levels and maps. Waits for nothing.
    ///
    /// A level of which there are more rows than its capacity leaves all levels without rows; its
    /// report tells how many there are.
    ///
    /// # Errors
    /// [`CudaError::Length`](crate::CudaError::Length) if the buffer is shorter than the voxels;
    /// [`CudaError::TooLarge`](crate::CudaError::TooLarge) past a billion rows; whatever the driver
    /// fails with.
    pub fn build(&self, cloud: Cloud<'_>, plan: &NetworkPlan) -> Result<NetworkMaps> {
        cloud.check()?;
        let made = Made::of(plan, cloud.capacity());
        let mut at_once = AtOnce::new(self, cloud, plan, &made)?;
        at_once.insert()?;
        at_once.find(Part::All)?;
        at_once.make_maps(Part::All)?;
        Ok(at_once.finish())
    }

    /// The same in a graph, where layers over one level need not wait for the next: levels are made
    /// beside them, one after the other. Call [`Beside::wait`] before a level or its maps are read,
    /// and wait for the last before the recording ends.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_beside(
        &self,
        cloud: Cloud<'_>,
        plan: &NetworkPlan,
    ) -> Result<(NetworkMaps, Beside)> {
        cloud.check()?;
        let made = Made::of(plan, cloud.capacity());
        let mut at_once = AtOnce::new(self, cloud, plan, &made)?;
        at_once.insert()?;
        // Maps to the first levels gather rows of the input.
        at_once.find(Part::Input)?;
        let of_all = at_once.take_scratch();
        let queue = self.device.queue();
        // First, so that what is allocated behind it shares no memory with it.
        let mut branches = queue.beside(|| {
            (1..made.spreads.len())
                .map(|level| {
                    at_once.find(Part::Level(level))?;
                    at_once.make_maps(Part::Level(level))?;
                    Ok(Branch { mark: queue.mark_beside()?, _used: at_once.take_scratch() })
                })
                .collect::<Result<VecDeque<_>>>()
        })?;
        if let Some(last) = branches.back_mut() {
            last._used.extend(of_all);
        }
        at_once.make_maps(Part::Input)?;
        let beside = Beside { device: self.device.clone(), levels: made.levels.clone(), branches };
        Ok((at_once.finish(), beside))
    }
}

/// Levels that are made beside other work of a graph.
#[derive(Debug)]
#[must_use]
pub struct Beside {
    device: CudaDevice,
    /// As [`Made::levels`].
    levels: Vec<Option<usize>>,
    /// Of the last levels that are made, which the host has not waited for.
    branches: VecDeque<Branch>,
}

/// Where a level is made.
#[derive(Debug)]
struct Branch {
    /// Behind the level and its maps.
    mark: Option<CudaEvent>,
    /// Memory that nothing else may use until the host has waited.
    _used: Vec<DeviceBuffer>,
}

impl Beside {
    /// Lets what is queued from now on wait for a level, numbered as in [`LevelPlan::from`], and
    /// for those before it.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn wait(&mut self, level: usize) -> Result<()> {
        let Some(made) = self.levels.get(level).copied().flatten() else { return Ok(()) };
        let further = self.levels.iter().flatten().count() - 1;
        let waited = further - self.branches.len();
        let ended: Vec<Branch> = self.branches.drain(..made.saturating_sub(waited)).collect();
        match ended.last().and_then(|branch| branch.mark.as_ref()) {
            Some(mark) => self.device.queue().wait_beside(mark),
            None => Ok(()),
        }
    }

    /// The same for all levels.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for_all(mut self) -> Result<()> {
        let last = self.levels.iter().rposition(Option::is_some).unwrap_or(0);
        self.wait(last)
    }
}

/// What is queued together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// The input and the maps within it.
    Input,
    /// One of the other levels that are made, by its number, and the maps to it.
    Level(usize),
}

impl Part {
    /// Whether a map is of the part, by the number of the level that its rows are of.
    fn has_map(self, own: usize) -> bool {
        match self {
            Self::All => true,
            Self::Input => own == 0,
            Self::Level(number) => own == number,
        }
    }
}

/// Which of a plan's levels and maps are made.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    /// For the input and each level of the plan, its number among those that are made.
    levels: Vec<Option<usize>>,
    /// Of the levels that are made.
    spreads: Vec<Spread>,
    /// Numbers of the plan's maps.
    maps: Vec<usize>,
    /// Numbers among `maps`, and the order.
    orders: Vec<(usize, RowOrder)>,
    /// Numbers among `maps`, and the plan of rows in one of the orders.
    plans: Vec<(usize, TilePlan)>,
}

impl Made {
    fn of(plan: &NetworkPlan, input_rows: usize) -> Self {
        let (mut levels, mut spreads) = (vec![Some(0)], vec![Spread::INPUT]);
        let mut count = 1;
        for level in &plan.levels {
            let spread = levels.get(level.from).copied().flatten().and_then(|from: usize| {
                let fits = count < MOST_LEVELS && input_rows <= MOST_KEYED_ROWS;
                let is_somewhere =
                    level.capacity > 0 && level.shape.is_none_or(|s| !s.contains(&0));
                (fits && is_somewhere).then(|| spreads[from].of_outputs(&level.geometry)).flatten()
            });
            levels.push(spread.map(|_| count));
            if let Some(spread) = spread {
                spreads.push(spread);
                count += 1;
            }
        }
        let rows = |level: usize| match level.checked_sub(1) {
            None => input_rows,
            Some(level) => plan.levels[level].capacity,
        };
        let is_made = |level: usize| levels.get(level).copied().flatten().is_some();
        let can_be = |map: &MapPlan| {
            is_made(map.from)
                && is_made(map.to)
                && is_near(&map.geometry, rows(map.from).min(rows(map.to)))
        };
        let near = plan.maps.iter().enumerate().filter(|(_, map)| can_be(map));
        let maps: Vec<usize> = near.map(|(number, _)| number).take(MOST_JOBS).collect();
        let orders = maps.iter().enumerate().flat_map(|(at, &number)| {
            plan.maps[number].orders.iter().map(move |&order| (at, order))
        });
        let orders: Vec<_> = orders.take(MOST_JOBS).collect();
        let plans = maps
            .iter()
            .enumerate()
            .flat_map(|(at, &number)| plan.maps[number].plans.iter().map(move |&plan| (at, plan)));
        let is_ordered = |(at, plan): &(usize, TilePlan)| orders.contains(&(*at, plan.order));
        let plans = plans.filter(is_ordered).take(MOST_PLANS).collect();
        Self { levels, spreads, maps, orders, plans }
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{KernelSize, LayerKind};

    use super::*;

    fn cubic(extent: u32) -> KernelSize {
        KernelSize::cubic(extent).unwrap()
    }

    fn level(from: usize, geometry: Geometry) -> LevelPlan {
        LevelPlan { from, geometry, shape: None, capacity: 1_000 }
    }

    fn map(from: usize, to: usize, geometry: Geometry, orders: &[RowOrder]) -> MapPlan {
        let plans = orders.iter().map(|&order| TilePlan {
            order,
            rows: 64,
            parts: 2,
            blocks: 264,
            fixed: 3,
        });
        MapPlan { from, to, geometry, orders: orders.to_vec(), plans: plans.collect() }
    }

    #[test]
    fn what_cannot_be_made_side_by_side_is_left_out_with_what_is_made_of_it() {
        let down = Geometry::strided(cubic(3), [2; 3]);
        let wide = Geometry::strided(cubic(3), [1; 3]);
        let within = |extent| Geometry::submanifold(cubic(extent), [1; 3]);
        let plan = NetworkPlan {
            levels: vec![level(0, down), level(1, wide), level(2, down), level(1, down)],
            maps: vec![
                map(0, 0, within(3), &[RowOrder::Natural, RowOrder::Global]),
                map(0, 0, within(5), &[RowOrder::Global]),
                map(0, 1, down, &[]),
                map(1, 2, wide, &[]),
                map(4, 4, within(3), &[RowOrder::Sorted]),
                map(1, 0, down.with_kind(LayerKind::Inverse), &[]),
                map(1, 1, Geometry::submanifold(cubic(3), [2; 3]), &[]),
            ],
        };
        let made = Made::of(&plan, 5_000);
        assert_eq!(made.levels, [Some(0), Some(1), None, None, Some(2)]);
        assert_eq!(made.maps, [0, 2, 4]);
        let orders = [(0, RowOrder::Natural), (0, RowOrder::Global), (2, RowOrder::Sorted)];
        assert_eq!(made.orders, orders);
        assert!(made.plans.iter().map(|(map, plan)| (*map, plan.order)).eq(orders));
    }

    #[test]
    fn plans_past_the_kernels_limits_are_made_as_far_as_they_go() {
        let down = Geometry::strided(cubic(2), [2; 3]);
        let levels: Vec<_> = (0..12).map(|from| level(from, down)).collect();
        let within = Geometry::submanifold(cubic(3), [1; 3]);
        let maps = (0..40).map(|_| map(0, 0, within, &[RowOrder::Global; 2])).collect();
        let made = Made::of(&NetworkPlan { levels, maps }, 100);
        assert_eq!(made.levels.iter().flatten().count(), MOST_LEVELS);
        assert_eq!((made.maps.len(), made.orders.len()), (MOST_JOBS, MOST_JOBS));
        assert_eq!(made.plans.len(), MOST_PLANS);
        let too_many = NetworkPlan { levels: vec![level(0, down)], maps: Vec::new() };
        assert_eq!(Made::of(&too_many, MOST_KEYED_ROWS + 1).levels, [Some(0), None]);
    }
}
