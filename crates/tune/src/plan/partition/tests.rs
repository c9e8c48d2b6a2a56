//! Parts of plans.

use std::collections::BTreeSet;

use crate::Preset;
use proptest::prelude::*;
use voxtune_pointcloud::Generator;

use super::*;

fn configuration_set(plan: &Plan) -> BTreeSet<String> {
    plan.configurations.iter().map(|planned| planned.configuration.to_string()).collect()
}

/// A plan of generated clouds over part of the default grid.
fn plan(voxels: usize, channels: usize, clouds: usize) -> Plan {
    let mut grid = Preset::Default.grid();
    grid.voxels.truncate(voxels);
    grid.channels.truncate(channels);
    let expansion = grid.expand();
    let clouds = &Generator::ALL[..clouds];
    let planned = |configuration: crate::plan::grid::Configuration| {
        let voxels = configuration.voxels;
        let cloud = |&generator| PlannedCloud::Generated { generator, voxels };
        PlannedConfiguration::usual(configuration, clouds.iter().map(cloud).collect())
    };
    let configurations = expansion.configurations.into_iter().map(planned).collect();
    Plan { configurations, merged: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_are_disjoint_and_make_up_the_whole(
        voxels in 1_usize..7,
        channels in 1_usize..20,
        clouds in 1_usize..3,
        count in 1_usize..12,
    ) {
        let whole = plan(voxels, channels, clouds);
        let mut seen = Vec::new();
        for index in 0..count {
            let mut part = whole.clone();
            Partition::new(index, count).unwrap().keep(&mut part, &Direction::ALL);
            let place = |planned: &PlannedConfiguration| {
                let wanted = planned.configuration;
                whole.configurations.iter().position(|one| one.configuration == wanted).unwrap()
            };
            let places: Vec<usize> = part.configurations.iter().map(place).collect();
            prop_assert!(places.is_sorted(), "the order of the plan stays");
            seen.extend(places);
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..whole.configurations.len()).collect::<Vec<_>>());
    }

    #[test]
    fn loads_differ_by_the_costliest_job_at_most(
        costs in prop::collection::vec(0_u128..1000, 0..60),
        parts in 1_usize..9,
    ) {
        let part_of = divide(&costs, parts);
        let mut loads = vec![0; parts];
        for (cost, part) in costs.iter().zip(&part_of) {
            loads[*part] += cost;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= costs.iter().copied().max().unwrap_or(0));
        prop_assert_eq!(divide(&costs, parts), part_of);
    }
}

#[test]
fn the_default_grid_is_divided_evenly() {
    let whole = plan(7, 26, 2);
    let load = |plan: &Plan| -> u128 {
        let all = costs(&whole.configurations, &Direction::ALL);
        let kept = configuration_set(plan);
        let own = whole.configurations.iter().zip(all);
        own.filter(|(one, _)| kept.contains(&one.configuration.to_string())).map(|one| one.1).sum()
    };
    for count in [2, 4, 8] {
        let loads: Vec<u128> = (0..count)
            .map(|index| {
                let mut part = whole.clone();
                Partition::new(index, count).unwrap().keep(&mut part, &Direction::ALL);
                load(&part)
            })
            .collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most * 100 <= least * 102, "{count}: {loads:?}");
    }
}

#[test]
fn more_clouds_cost_more() {
    let small = plan(1, 4, 1);
    let wide = plan(1, 4, 2);
    let of = |plan: &Plan| costs(&plan.configurations, &Direction::ALL);
    assert!(of(&wide).iter().zip(of(&small)).all(|(wide, small)| *wide > small));
}

#[test]
fn partitions_are_written_as_slices() {
    let parsed = |text: &str| text.parse::<Partition>();
    assert_eq!(parsed("slice:1/4"), Ok(Partition { index: 0, count: 4 }));
    assert_eq!(parsed("slice:4/4").unwrap().to_string(), "slice:4/4");
    for text in ["", "1/4", "slice:0/4", "slice:5/4", "slice:1/0", "slice:a/b", "slice:-1/2"] {
        assert_eq!(parsed(text), Err(PartitionError::Malformed(text.to_owned())));
    }
}

fn from(variables: &[(&str, &str)]) -> Result<String, PartitionError> {
    let of = |name: &str| variables.iter().find(|one| one.0 == name).map(|one| one.1.to_owned());
    Partition::from_environment(of).map(|partition| partition.to_string())
}

#[test]
fn schedulers_name_the_part_in_their_variables() {
    let slurm = |id, min, max, step, count| {
        from(&[
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", min),
            ("SLURM_ARRAY_TASK_MAX", max),
            ("SLURM_ARRAY_TASK_STEP", step),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ])
    };
    assert_eq!(slurm("3", "1", "4", "1", "4").unwrap(), "slice:3/4");
    assert_eq!(slurm("8", "0", "12", "4", "4").unwrap(), "slice:3/4");
    assert!(matches!(slurm("7", "1", "7", "1", "3"), Err(PartitionError::UnevenArray { .. })));
    let kubernetes = [("JOB_COMPLETION_INDEX", "0"), (TOTAL, "2")];
    assert_eq!(from(&kubernetes).unwrap(), "slice:1/2");
    assert_eq!(from(&[(INDEX, "1"), (TOTAL, "2")]).unwrap(), "slice:2/2");
    // One's own variables go first.
    let both = [(INDEX, "1"), (TOTAL, "2"), ("SLURM_ARRAY_TASK_ID", "9")];
    assert_eq!(from(&both).unwrap(), "slice:2/2");
}

#[test]
fn more_parts_than_jobs_stay_empty() {
    assert_eq!(divide(&[5, 7, 6], usize::MAX), [2, 0, 1]);
    assert_eq!(divide(&[5, 7, 6], 3), [2, 0, 1]);
    assert!(divide(&[], usize::MAX).is_empty());
}

#[test]
fn half_a_scheduler_is_refused() {
    assert_eq!(from(&[]), Err(PartitionError::NotInEnvironment));
    assert_eq!(from(&[(INDEX, "")]), Err(PartitionError::NotInEnvironment));
    for (variables, expected) in [
        (vec![("JOB_COMPLETION_INDEX", "0")], TOTAL),
        (vec![(INDEX, "2"), (TOTAL, "2")], "part 2"),
        (vec![(INDEX, "x"), (TOTAL, "2")], "`x`"),
        (vec![("SLURM_ARRAY_TASK_ID", "1")], "SLURM_ARRAY_TASK_COUNT is not: set it to the number"),
        (
            vec![("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_COUNT", "2")],
            "SLURM_ARRAY_TASK_MIN is not: set it to the least number",
        ),
    ] {
        let error = from(&variables).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
