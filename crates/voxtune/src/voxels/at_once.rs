//! Everything that a network makes of its input, learnt in one run and made at once in the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voxtune_cuda::{
    DeviceKernelMap, LevelPlan, MapPart, MapPlan, NetworkMaps, NetworkPlan, OutputsBuilder,
    RowOrder, TilePlan,
};
use voxtune_types::{Direction, Geometry, LayerKind, Product};

use super::Voxels;
use super::cells::Cells;
use super::frame::{MapPath, Path, Room};
use super::last_calls::ReadAs;
use super::levels::{Level, Levels, MadeSoFar, MapKey};
use crate::{ConvError, KernelMap, MapCounts};

/// The levels that a network has made of its input, and the maps that it has read, with the orders
/// and plans that it has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recipe {
    levels: Vec<MadeLevel>,
    maps: Vec<MadeMap>,
    /// How often each map was asked for, those of layers that undo others among them.
    calls: Vec<(usize, usize, Geometry, usize)>,
}

/// A level, which comes behind the one that it is made of: 0 is the input, `n + 1` the recipe's
/// level `n`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MadeLevel {
    from: usize,
    geometry: Geometry,
}

/// A map from a level to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MadeMap {
    from: usize,
    to: usize,
    geometry: Geometry,
    orders: Vec<RowOrder>,
    plans: Vec<TilePlan>,
}

impl Recipe {
    /// What was made of the level of a number.
    pub(super) fn of(made: &MadeSoFar, input: usize) -> Self {
        let mut numbers = BTreeMap::from([(input, 0)]);
        let mut levels = Vec::new();
        // A level has a greater number than what it is made of.
        for level in &made.levels {
            let Some((from, geometry)) = &level.origin else { continue };
            let Some(&from) = numbers.get(&from.number) else { continue };
            levels.push(MadeLevel { from, geometry: *geometry });
            numbers.insert(level.number, levels.len());
        }
        let map = |((from, to, geometry), read_as): &(MapKey, ReadAs)| {
            // Layers that undo others read the maps of those.
            if geometry.kind == LayerKind::Inverse {
                return None;
            }
            let (&from, &to) = (numbers.get(from)?, numbers.get(to)?);
            let ReadAs { orders, plans } = read_as.clone();
            Some(MadeMap { from, to, geometry: *geometry, orders, plans })
        };
        let call = |(&(from, to, geometry), &count): (&MapKey, &usize)| {
            Some((*numbers.get(&from)?, *numbers.get(&to)?, geometry, count))
        };
        let calls = made.calls.iter().filter_map(call).collect();
        Self { levels, maps: made.maps.iter().filter_map(map).collect(), calls }
    }

    /// The maps with what layers have read of them, and nothing else.
    fn maps(&self) -> Vec<MapPlan> {
        let maps = self.maps.iter().map(|map| {
            let MadeMap { from, to, geometry, orders, plans } = map.clone();
            MapPlan { from, to, geometry, orders, plans }
        });
        maps.collect()
    }

    /// Whether it could be of a network: what levels and maps are made of is there.
    pub(crate) fn is_sound(&self) -> bool {
        let is_layer = |geometry: &Geometry| geometry.check().is_ok();
        let levels = self.levels.iter().enumerate();
        let is_there = |level: &usize| *level <= self.levels.len();
        levels.clone().all(|(number, level)| level.from <= number && is_layer(&level.geometry))
            && self.maps.iter().all(|map| {
                [map.from, map.to].iter().all(is_there)
                    && is_layer(&map.geometry)
                    && map.plans.iter().all(TilePlan::is_sound)
            })
            && self.calls.iter().all(|(from, to, geometry, _)| {
                [from, to].into_iter().all(is_there) && is_layer(geometry)
            })
    }

    /// Whether no layer has asked for a map: what was made then says nothing of what is read.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Voxels {
    /// What was made of these voxels so far.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe::of(&self.levels.made(), self.level.number)
    }

    /// Makes what a recipe asks for of these voxels, the input of a frame that expects its counts,
    /// as far as that can be done at once. Layers make the rest when they come to it. In a graph,
    /// layers over the input run while the rest is made.
    ///
    /// # Errors
    /// Whatever the device fails with.
    pub(crate) fn make_at_once(&self, recipe: &Recipe) -> Result<(), ConvError> {
        let levels = &self.levels;
        let (Some(cuda), Some(cells)) = (levels.device.cuda(), self.level.cells.cuda()) else {
            return Ok(());
        };
        if cells.capacity() == 0 {
            return Ok(());
        }
        let mut planned = Planned::new(&self.level);
        for level in &recipe.levels {
            planned.push(levels, level)?;
        }
        let plan = NetworkPlan { levels: planned.plans, maps: recipe.maps() };
        let builder = cuda.network_map_builder()?;
        let mut beside = None;
        let is_repeated = levels.frame().is_some_and(|frame| frame.is_repeated());
        let made = match is_repeated {
            true => {
                let (made, made_beside) = builder.build_beside(cells.cloud(), &plan)?;
                beside = Some(made_beside);
                made
            }
            false => builder.build(cells.cloud(), &plan)?,
        };
        let NetworkMaps { input, levels: outputs, maps } = made;
        cells.keep_index(input);

        let mut made = vec![Some(Arc::clone(&self.level))];
        for ((plan, room), outputs) in plan.levels.iter().zip(planned.rooms).zip(outputs) {
            let from = made[plan.from].clone();
            let level = from.zip(outputs).map(|(from, outputs)| {
                let expected = room.map_or(0, |room| room.expected);
                let (cells, report) = Cells::found(outputs, expected);
                levels.keep_outputs(&from, plan.geometry, (cells, plan.shape), report)
            });
            made.push(level);
        }
        let number = |level: usize| made[level].as_ref().map(|level| level.number);
        if let Some(beside) = beside {
            let numbers = (0..made.len()).filter_map(|level| Some((number(level)?, level)));
            levels.keep_beside(beside, numbers.collect());
        }
        levels.expect_calls(recipe.calls.iter().filter_map(|&(from, to, geometry, count)| {
            Some(((number(from)?, number(to)?, geometry), count))
        }));
        for (plan, map) in plan.maps.iter().zip(maps) {
            let ends = made[plan.from].as_ref().zip(made[plan.to].as_ref());
            if let (Some((from, to)), Some(map)) = (ends, map) {
                levels.keep_map((from, to), plan.geometry, map)?;
            }
        }
        Ok(())
    }
}

/// So many maps of layers over an input, all alike, with what a direction reads of them, as a frame
/// has them made at once. `None` of what layers make when they come to it: maps of layers that undo
/// others, and what gradients read beyond the forward pass.
fn plan_alike(
    count: usize,
    geometry: Geometry,
    (shape, n_out): (Option<[u32; 3]>, usize),
    direction: Direction,
    parts: &[MapPart],
) -> Option<NetworkPlan> {
    let is_within = geometry.kind == LayerKind::Submanifold;
    let is_made = match direction.product() {
        Product::Forward => !matches!(geometry.kind, LayerKind::Inverse | LayerKind::Given),
        Product::Dgrad => is_within,
        Product::Wgrad => false,
    };
    let orders = parts.iter().filter_map(|part| match part {
        MapPart::Order(order) => Some(*order),
        MapPart::Plan(_) | MapPart::Pairs => None,
    });
    let plans = parts.iter().filter_map(|part| match part {
        MapPart::Plan(plan) => Some(*plan),
        MapPart::Order(_) | MapPart::Pairs => None,
    });
    let (orders, plans) = (orders.collect(), plans.collect());
    let to = usize::from(!is_within);
    let level = || LevelPlan {
        from: 0,
        geometry,
        shape: shape.map(|shape| geometry.output_shape(shape)),
        capacity: n_out,
    };
    is_made.then(|| NetworkPlan {
        levels: (0..to).map(|_| level()).collect(),
        maps: vec![MapPlan { from: 0, to, geometry, orders, plans }; count],
    })
}

impl Voxels {
    /// Queues the making of `count` maps like this one, of layers over these voxels, as a frame
    /// makes its maps. They have the parts that a direction reads, whether or not it was made
    /// before. The first is given back. What could not be made so is missing.
    ///
    /// # Errors
    /// Whatever the device fails with.
    pub(crate) fn make_maps_at_once(
        &self,
        count: usize,
        map: &KernelMap,
        direction: Direction,
        parts: &[MapPart],
    ) -> Result<Option<DeviceKernelMap>, ConvError> {
        let outputs = (self.level.shape, map.n_out());
        let (Some(cuda), Some(cells), Some(plan)) = (
            self.levels.device.cuda(),
            self.level.cells.cuda(),
            plan_alike(count, map.geometry(), outputs, direction, parts),
        ) else {
            return Ok(None);
        };
        if cells.capacity() == 0 {
            return Ok(None);
        }
        let made = cuda.network_map_builder()?.build(cells.cloud(), &plan)?;
        Ok(made.maps.into_iter().next().flatten())
    }
}

/// A recipe's levels with the room that a frame has for them.
struct Planned {
    plans: Vec<LevelPlan>,
    rooms: Vec<Option<Room>>,
    /// Of the input and each plan.
    paths: Vec<Path>,
    shapes: Vec<Option<[u32; 3]>>,
    capacities: Vec<usize>,
}

impl Planned {
    fn new(input: &Level) -> Self {
        Self {
            plans: Vec::new(),
            rooms: Vec::new(),
            paths: vec![input.path()],
            shapes: vec![input.shape],
            capacities: vec![input.cells.capacity()],
        }
    }

    /// A level whose size is not expected has no room, and is not made.
    fn push(&mut self, levels: &Levels, level: &MadeLevel) -> Result<(), ConvError> {
        let &MadeLevel { from, geometry } = level;
        let path: Path = self.paths[from].iter().copied().chain([geometry]).collect();
        let room = match levels.frame() {
            Some(frame) => frame.room(&path)?,
            None => None,
        };
        let shape = self.shapes[from].map(|shape| geometry.output_shape(shape));
        let most = OutputsBuilder::most_outputs(&geometry, self.capacities[from]);
        let capacity = room.map_or(0, |room| room.capacity).min(most);
        self.plans.push(LevelPlan { from, geometry, shape, capacity });
        self.rooms.push(room);
        self.paths.push(path);
        self.shapes.push(shape);
        self.capacities.push(capacity);
        Ok(())
    }
}

impl Voxels {
    /// Lets what is queued next wait for all that was made at once.
    ///
    /// # Errors
    /// Whatever the device fails with.
    pub(crate) fn wait_for_levels(&self) -> Result<(), ConvError> {
        self.levels.wait_for_all()
    }
}

impl Levels {
    /// Takes a level that was made of another.
    fn keep_outputs(
        &self,
        from: &Arc<Level>,
        geometry: Geometry,
        (cells, shape): (Cells, Option<[u32; 3]>),
        report: voxtune_cuda::OutputsReport,
    ) -> Arc<Level> {
        let capacity = cells.capacity();
        let level = self.add(cells, shape, Some((Arc::clone(from), geometry)));
        if let Some(frame) = self.frame() {
            frame.expects_outputs(level.path(), capacity, report);
        }
        self.hold_outputs((from.number, geometry), &level);
        level
    }

    /// Takes a map between two levels, if it is known how many pairs it is to have.
    fn keep_map(
        &self,
        (from, to): (&Level, &Level),
        geometry: Geometry,
        map: voxtune_cuda::DeviceKernelMap,
    ) -> Result<(), ConvError> {
        let path: MapPath = (from.path(), to.path(), geometry);
        let Some((frame, pairs)) = self.frame().and_then(|f| Some((f, f.pairs(&path)?))) else {
            return Ok(());
        };
        frame.expects_pairs(path, map.report());
        let (n_in, n_out) = (from.cells.expected(), to.cells.expected());
        let counts = MapCounts { n_in, n_out, pairs };
        let map = KernelMap::from_cuda(geometry, map, Some(counts))?.without_waiting();
        self.hold_map((from.number, to.number, geometry), &Arc::new(map));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    fn cubic(extent: u32) -> KernelSize {
        KernelSize::cubic(extent).unwrap()
    }

    const PLAN: TilePlan =
        TilePlan { order: RowOrder::Global, rows: 64, parts: 2, blocks: 264, fixed: 3 };

    /// Whatever else was made of a map: a frame that makes all at once makes what layers read.
    #[test]
    fn what_no_layer_reads_is_not_made_at_once() {
        let within = Geometry::submanifold(cubic(3), [1; 3]);
        let down = Geometry::strided(cubic(2), [2; 3]);
        let read = |orders: &[RowOrder], plans: &[TilePlan]| ReadAs {
            orders: orders.to_vec(),
            plans: plans.to_vec(),
        };
        let made = MadeSoFar {
            levels: Vec::new(),
            maps: vec![
                ((7, 7, within), read(&[RowOrder::Global], &[PLAN])),
                // Only a layer that undoes it has read it.
                ((7, 7, within.with_kind(LayerKind::Inverse)), read(&[RowOrder::Sorted], &[])),
                // Of a level that is not of this input.
                ((8, 9, down), read(&[RowOrder::Sorted], &[])),
            ],
            calls: BTreeMap::new(),
        };
        let maps = Recipe::of(&made, 7).maps();
        assert_eq!(maps.len(), 1);
        assert_eq!(
            (&*maps[0].orders, &*maps[0].plans),
            ([RowOrder::Global].as_slice(), &[PLAN][..])
        );
        let unread = MadeSoFar { maps: vec![((7, 7, within), ReadAs::default())], ..made };
        let maps = Recipe::of(&unread, 7).maps();
        assert!(maps[0].orders.is_empty() && maps[0].plans.is_empty());
    }

    #[test]
    fn parts_are_timed_as_frames_make_them() {
        let within = Geometry::submanifold(cubic(3), [1; 3]);
        let down = Geometry::strided(cubic(2), [2; 3]);
        let parts = [MapPart::Order(RowOrder::Global), MapPart::Plan(PLAN)];
        let shape = (Some([10, 9, 8]), 70);
        let three = |geometry, direction| plan_alike(3, geometry, shape, direction, &parts);
        for direction in [Direction::Forward, Direction::Dgrad] {
            let plan = three(within, direction).unwrap();
            assert_eq!((plan.levels.len(), plan.maps.len(), plan.maps[0].to), (0, 3, 0));
            assert_eq!(plan.maps[0], plan.maps[2]);
            assert_eq!(
                (&*plan.maps[0].orders, &*plan.maps[0].plans),
                (&[RowOrder::Global][..], &[PLAN][..])
            );
        }
        let plan = three(down, Direction::Forward).unwrap();
        assert_eq!((plan.levels[0].capacity, plan.levels[0].shape), (70, Some([5, 4, 4])));
        assert_eq!((plan.levels.len(), plan.maps.len()), (1, 3));
        assert_eq!((plan.maps[0].from, plan.maps[0].to), (0, 1));
        // A gradient of it reads rows of the other side, which nothing makes at once.
        assert_eq!(three(down, Direction::Dgrad), None);
        assert_eq!(three(down.with_kind(LayerKind::Inverse), Direction::Forward), None);
        assert_eq!(three(within, Direction::Wgrad), None);
    }
}
