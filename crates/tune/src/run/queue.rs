//! Hands configurations out to one worker or several.
//!
//! A worker verifies a layer once for all sizes, so layers are divided into one share per worker.
//! Configurations of one share over the same clouds form a group: the first one sets up the clouds
//! and kernel maps for the others. A worker takes the first of these that exists:
//!
//! 1. its own group
//! 2. the costliest group of its share that no worker has begun
//! 3. the costliest group of a share that no worker has begun
//! 4. the costliest group that no worker has begun
//! 5. the group with most work left
//!
//! The costliest configurations of a group come first, so that little is left for the end.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::Configuration;
use voxtune::Direction;

use crate::plan::expand::PlannedConfiguration;
use crate::plan::partition::{costs, divide};

/// Configurations that are still to be measured.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Rung whenever a configuration comes back or is done.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    /// Configurations that are being measured.
    in_flight: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Group {
    /// Of which share its layers are.
    share: usize,
    /// Costs and numbers.
    waiting: VecDeque<(u128, usize)>,
    begun: bool,
}

impl Group {
    fn cost(&self) -> u128 {
        self.waiting.iter().map(|(cost, _)| cost).sum()
    }
}

/// A configuration that a worker measures. If this is dropped before [`Self::done`], the
/// configuration goes back to the queue for another worker.
#[derive(Debug)]
pub(crate) struct Assignment<'q> {
    queue: &'q Queue,
    group: usize,
    configuration: (u128, usize),
    done: bool,
}

impl Assignment<'_> {
    /// Its number in the plan.
    pub(crate) const fn index(&self) -> usize {
        self.configuration.1
    }

    /// The group that it belongs to, to be given for the next one.
    pub(crate) const fn group(&self) -> usize {
        self.group
    }

    /// Marks the configuration as measured.
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Assignment<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.locked();
        state.in_flight -= 1;
        if !self.done {
            state.groups[self.group].waiting.push_front(self.configuration);
        }
        self.queue.changed.notify_all();
    }
}

impl Queue {
    /// For one worker: the plan's order, in which neighbours share clouds.
    pub(crate) fn in_order(count: usize) -> Self {
        let waiting = (0..count).map(|index| (0, index)).collect();
        Self::new(vec![Group { waiting, ..Group::default() }])
    }

    /// For this many workers.
    pub(crate) fn costliest_first(
        configurations: &[PlannedConfiguration],
        directions: &[Direction],
        workers: usize,
    ) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut firsts: Vec<&PlannedConfiguration> = Vec::new();
        let costs = costs(configurations, directions);
        let shares = shares(configurations, &costs, workers);
        for (index, ((planned, cost), share)) in
            configurations.iter().zip(costs).zip(shares).enumerate()
        {
            let found = firsts
                .iter()
                .zip(&groups)
                .position(|(first, group)| group.share == share && share_clouds(first, planned));
            let number = found.unwrap_or_else(|| {
                firsts.push(planned);
                groups.push(Group { share, ..Group::default() });
                groups.len() - 1
            });
            groups[number].waiting.push_back((cost, index));
        }
        for group in &mut groups {
            group.waiting.make_contiguous().sort_by_key(|&(cost, index)| (Reverse(cost), index));
        }
        groups.sort_by_key(|group| Reverse(group.cost()));
        Self::new(groups)
    }

    fn new(groups: Vec<Group>) -> Self {
        let state = State { groups, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// All that is waiting, roughly in the order in which it will be handed out.
    pub(crate) fn order(&self) -> Vec<usize> {
        let state = self.locked();
        state.groups.iter().flat_map(|group| &group.waiting).map(|&(_, index)| index).collect()
    }

    /// The next configuration for a worker whose last one was of this group. Waits while other
    /// workers hold configurations that may come back; `None` if all are done or the queue is
    /// closed.
    pub(crate) fn next(&self, last: Option<usize>) -> Option<Assignment<'_>> {
        let mut state = self.locked();
        loop {
            if state.closed {
                return None;
            }
            if let Some(group) = state.pick(last) {
                let chosen = &mut state.groups[group];
                chosen.begun = true;
                let configuration = chosen.waiting.pop_front()?;
                state.in_flight += 1;
                return Some(Assignment { queue: self, group, configuration, done: false });
            }
            if state.in_flight == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands out nothing more.
    pub(crate) fn close(&self) {
        self.locked().closed = true;
        self.changed.notify_all();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pick(&self, last: Option<usize>) -> Option<usize> {
        let has_some = |number: &usize| !self.groups[*number].waiting.is_empty();
        if let Some(own) = last.filter(has_some) {
            return Some(own);
        }
        let waiting = || (0..self.groups.len()).filter(has_some);
        let costliest = |number: &usize| (self.groups[*number].cost(), Reverse(*number));
        let untouched = || waiting().filter(|&number| !self.groups[number].begun);
        let share = |number: usize| self.groups[number].share;
        let is_own = |number: &usize| last.is_some_and(|last| share(last) == share(*number));
        let is_nobodys = |number: &usize| {
            self.groups.iter().all(|group| !group.begun || group.share != share(*number))
        };
        (untouched().filter(is_own).max_by_key(costliest))
            .or_else(|| untouched().filter(is_nobodys).max_by_key(costliest))
            .or_else(|| untouched().max_by_key(costliest))
            .or_else(|| waiting().max_by_key(costliest))
    }
}

/// Which share each configuration belongs to: all sizes of a layer to one, the shares as even as
/// may be.
fn shares(configurations: &[PlannedConfiguration], costs: &[u128], workers: usize) -> Vec<usize> {
    let mut layers = Vec::new();
    let mut layer_costs: Vec<u128> = Vec::new();
    let mut layer_of = Vec::with_capacity(configurations.len());
    for (planned, cost) in configurations.iter().zip(costs) {
        let Configuration { channels, groups, layer, dtype, .. } = planned.configuration;
        let layer = (channels, groups, layer, dtype);
        let number = layers.iter().position(|known| *known == layer).unwrap_or_else(|| {
            layers.push(layer);
            layer_costs.push(0);
            layers.len() - 1
        });
        layer_costs[number] += cost;
        layer_of.push(number);
    }
    let share_of = divide(&layer_costs, workers);
    layer_of.into_iter().map(|layer| share_of[layer]).collect()
}

fn share_clouds(one: &PlannedConfiguration, other: &PlannedConfiguration) -> bool {
    one.configuration.layer == other.configuration.layer
        && one.clouds.len() == other.clouds.len()
        && one.clouds.iter().zip(&other.clouds).all(|(one, other)| one.is_same(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;
    use crate::plan::expand::{Plan, Request};

    fn quick() -> Plan {
        let plan = Plan::new(&Request::new(Preset::Quick.grid())).unwrap();
        assert_eq!(plan.configurations.len(), 6, "three layers over each of two clouds");
        plan
    }

    fn queue(plan: &Plan) -> Queue {
        Queue::costliest_first(&plan.configurations, &Direction::ALL, 1)
    }

    fn voxels(plan: &Plan, assignment: &Assignment<'_>) -> usize {
        plan.configurations[assignment.index()].configuration.voxels
    }

    #[test]
    fn one_worker_keeps_the_order_of_the_plan() {
        let queue = Queue::in_order(3);
        let mut order = Vec::new();
        let mut last = None;
        while let Some(assignment) = queue.next(last) {
            last = Some(assignment.group());
            order.push(assignment.index());
            assignment.done();
        }
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn the_costliest_come_first_and_a_worker_stays_with_its_clouds() {
        let plan = quick();
        let queue = queue(&plan);
        let order = queue.order();
        let costs = costs(&plan.configurations, &Direction::ALL);
        assert!(order[..3].is_sorted_by_key(|&index| Reverse(costs[index])));
        assert!(order[3..].is_sorted_by_key(|&index| Reverse(costs[index])));

        let first = queue.next(None).unwrap();
        let second = queue.next(None).unwrap();
        assert_eq!((voxels(&plan, &first), voxels(&plan, &second)), (500_000, 100_000));
        for _ in 0..2 {
            let next = queue.next(Some(second.group())).unwrap();
            assert_eq!(voxels(&plan, &next), 100_000);
            next.done();
        }
        // Done with its own, it helps the other.
        let helped = queue.next(Some(second.group())).unwrap();
        assert_eq!(voxels(&plan, &helped), 500_000);
    }

    /// Each of two verifies its layers alone, until one of them has nothing left.
    #[test]
    fn workers_keep_to_their_layers() {
        let plan = quick();
        let queue = Queue::costliest_first(&plan.configurations, &Direction::ALL, 2);
        let layer = |assignment: &Assignment<'_>| {
            plan.configurations[assignment.index()].configuration.channels
        };
        let mut seen: [Vec<_>; 2] = [Vec::new(), Vec::new()];
        let mut last = [None, None];
        for step in 0..6 {
            let worker = step % 2;
            let assignment = queue.next(last[worker]).unwrap();
            last[worker] = Some(assignment.group());
            seen[worker].push(layer(&assignment));
            assignment.done();
        }
        // 128→256 outweighs the two others together: its two sizes are one share.
        assert_eq!(seen[0][..2], [seen[0][0]; 2]);
        assert!(seen[1].iter().all(|channels| *channels != seen[0][0]), "{seen:?}");
    }

    #[test]
    fn each_is_handed_out_once_and_what_comes_back_again() {
        let plan = quick();
        let queue = queue(&plan);
        let given_back = queue.next(None).unwrap();
        let index = given_back.index();
        drop(given_back);
        let mut seen: Vec<usize> = std::iter::from_fn(|| {
            let assignment = queue.next(None)?;
            let index = assignment.index();
            assignment.done();
            Some(index)
        })
        .collect();
        assert!(seen.contains(&index));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn whoever_has_nothing_to_do_waits_for_what_may_come_back() {
        let queue = Queue::in_order(1);
        let assignment = queue.next(None).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.next(None).map(|assignment| assignment.index()));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(assignment);
            assert_eq!(waiting.join().unwrap(), Some(0));
        });
        let assignment = queue.next(None).unwrap();
        queue.close();
        drop(assignment);
        assert!(queue.next(None).is_none(), "nothing comes out of a closed one");
    }
}
