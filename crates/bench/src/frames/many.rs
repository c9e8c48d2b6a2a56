//! Many different frames of one sweep, as a vehicle sees them: turned, and cropped to other
//! numbers of voxels.

use std::collections::HashSet;
use std::f64::consts::TAU;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune::{AxisOrder, Voxel};

use super::FrameError;
use super::fit::Fit;
use super::measure::Meter;
use super::report::{ManyReport, Spread};
use super::statistics::{median, quantile};
use super::subject::Subject;
use super::way::{Compiled, Inference, Way};

/// The fewest voxels of a frame, if the sweep has several times as many.
const LEAST_VOXELS: usize = 10_000;
/// The most voxels of a frame, if copies of the sweep have as many.
const MOST_VOXELS: usize = 135_000;
/// Turned copies of the sweep that are laid over each other at most.
const COPIES: usize = 2;
/// Frames before those that are measured, the largest ones.
const WARM_UPS: usize = 5;

/// Runs so many different frames in each of the ways that see new voxels.
pub(super) fn measure(
    meter: &Meter<'_>,
    subject: &Subject<'_>,
    inference: &Inference,
    count: usize,
) -> Result<Vec<ManyReport>, FrameError> {
    let frames = frames(subject, count);
    let mut largest: Vec<&Vec<Voxel>> = frames.iter().collect();
    largest.sort_by_key(|cells| std::cmp::Reverse(cells.len()));
    let mut reports = Vec::new();
    // Every eighth by size, so that each class has one of its own.
    let shown = largest.iter().step_by(8).chain(largest.last());
    let shown: Vec<_> = shown.map(|cells| subject.with_cells((*cells).clone())).collect();
    let mut compiled = Compiled::new(subject, &shown)?;
    for way in Way::OF_NEW_VOXELS.into_iter().filter(|way| way.is_of(subject.device)) {
        let mut frame = |cells: &[Voxel]| {
            let subject = subject.with_cells(cells.to_vec());
            match way {
                Way::Graph => meter.frame_or_again(&mut compiled.as_way(&subject)),
                _ => meter.frame_or_again(&mut inference.as_way(way, &subject)),
            }
        };
        for cells in largest.iter().take(WARM_UPS) {
            frame(cells)?;
        }
        let (mut samples, mut hosts_ms, mut repeats) = (Vec::new(), Vec::new(), 0);
        for cells in &frames {
            let (measured, again) = frame(cells)?;
            samples.push((cells.len(), measured.wall_ms));
            hosts_ms.push(measured.host_ms);
            repeats += usize::from(again);
        }
        reports.push(summary(way, samples, median(&hosts_ms), repeats));
    }
    Ok(reports)
}

fn summary(way: Way, samples: Vec<(usize, f64)>, host_ms: f64, repeats: usize) -> ManyReport {
    let fit = Fit::through(&samples);
    let over: Vec<f64> = samples.iter().map(|&(voxels, ms)| ms / fit.at(voxels)).collect();
    let walls_ms: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
    let voxels = samples.iter().map(|sample| sample.0);
    ManyReport {
        way,
        frames: samples.len(),
        voxels: [voxels.clone().min().unwrap_or(0), voxels.max().unwrap_or(0)],
        wall_ms: Spread::of(&walls_ms),
        host_ms,
        fit,
        over_fit_p95: quantile(&over, 0.95),
        over_fit_largest: quantile(&over, 1.0),
        repeats,
        samples,
    }
}

/// Frames of evenly spread numbers of voxels, in a random order.
fn frames(subject: &Subject<'_>, count: usize) -> Vec<Vec<Voxel>> {
    let mut random = ChaCha8Rng::seed_from_u64(subject.seed);
    let all = subject.cells.len();
    let (least, most) = (LEAST_VOXELS.min(all / 8).max(1), MOST_VOXELS.min(COPIES * all));
    let step = |number: usize| {
        least + most.saturating_sub(least) * number / count.saturating_sub(1).max(1)
    };
    let mut wanted: Vec<usize> = (0..count).map(step).collect();
    for place in (1..count).rev() {
        wanted.swap(place, random.random_range(0..=place));
    }
    wanted.into_iter().map(|voxels| one(subject, voxels, &mut random)).collect()
}

/// The cells turned about the middle of their grid, without those that leave it. Where one has too
/// few, a second such copy lies over them. Of these the ones nearest to one of them: a square
/// around it.
fn one(subject: &Subject<'_>, voxels: usize, random: &mut ChaCha8Rng) -> Vec<Voxel> {
    let plane = match subject.network.axes() {
        AxisOrder::Xyz => [0, 1],
        AxisOrder::Zyx => [1, 2],
    };
    let mut turned = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..COPIES {
        if turned.len() < voxels {
            let cells = turn(subject, plane, random.random_range(0.0..TAU));
            turned.extend(cells.filter(|cell| seen.insert(*cell)));
        }
    }
    if turned.len() <= voxels {
        return turned;
    }
    let along = |cell: &Voxel| {
        let at = [cell.x, cell.y, cell.z];
        plane.map(|axis| i64::from(at[axis]))
    };
    let centre = along(&turned[random.random_range(0..turned.len())]);
    let away = |cell: &Voxel| {
        let [u, v] = along(cell);
        (u - centre[0]).abs().max((v - centre[1]).abs())
    };
    let mut distances: Vec<i64> = turned.iter().map(away).collect();
    let (_, &mut furthest, _) = distances.select_nth_unstable(voxels - 1);
    // Of those at the edge of the square as many as there is room for.
    let inner = turned.iter().filter(|cell| away(cell) < furthest).count();
    let mut room = voxels - inner;
    turned.retain(|cell| {
        let distance = away(cell);
        let is_edge = distance == furthest && room > 0;
        room -= usize::from(is_edge);
        distance < furthest || is_edge
    });
    turned
}

/// The cells turned by an angle, some of them on each other, without those that leave the grid.
fn turn<'a>(
    subject: &'a Subject<'_>,
    plane: [usize; 2],
    angle: f64,
) -> impl Iterator<Item = Voxel> + 'a {
    let (sin, cos) = angle.sin_cos();
    let middle = plane.map(|axis| f64::from(subject.shape[axis]) / 2.0);
    subject.cells.iter().filter_map(move |cell| {
        let mut at = [cell.x, cell.y, cell.z];
        let [u, v] = [0, 1].map(|one| f64::from(at[plane[one]]) + 0.5 - middle[one]);
        at[plane[0]] = (u * cos - v * sin + middle[0]).floor() as i32;
        at[plane[1]] = (u * sin + v * cos + middle[1]).floor() as i32;
        let mut inside = at.iter().zip(subject.shape);
        let is_inside = inside.all(|(at, size)| u32::try_from(*at).is_ok_and(|at| at < size));
        is_inside.then_some(Voxel::new(cell.batch, at[0], at[1], at[2]))
    })
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Device};

    use super::super::options::FrameOptions;
    use super::*;
    use crate::named_cloud::NamedCloud;

    fn options() -> FrameOptions {
        FrameOptions {
            models: Vec::new(),
            clouds: Vec::new(),
            dtypes: Vec::new(),
            frames: 1,
            warm_ups: 0,
            training: false,
            many: None,
            grid: Some([60, 50, 9]),
            profiles: Vec::new(),
            seed: 3,
            peers: None,
        }
    }

    #[test]
    fn frames_are_different_crops_of_the_sweep() {
        let cells = (0..2_000).map(|at| Voxel::new(0, at % 50, at / 50, at % 7)).collect();
        let cloud = NamedCloud { label: "sweep".to_owned(), cells, warnings: Vec::new() };
        let device = Device::cpu_with_threads(1).unwrap();
        for name in ["centerpoint", "spunet"] {
            let spec = name.parse().unwrap();
            let subject = Subject::new(&device, &spec, &cloud, DType::Float32, &options());
            let all = frames(&subject, 12);
            assert_eq!(all, frames(&subject, 12), "{name}");
            let mut counts: Vec<usize> = all.iter().map(Vec::len).collect();
            counts.sort_unstable();
            // Evenly spread from an eighth of the sweep to two copies of it, as far as cells are
            // left.
            assert_eq!(counts[..8], [250, 590, 931, 1272, 1613, 1954, 2295, 2636], "{name}");
            assert!(counts[11] < 4_000, "{counts:?}");
            for cells in &all {
                let distinct: HashSet<&Voxel> = cells.iter().collect();
                assert_eq!(distinct.len(), cells.len());
                let [x, y, z] = subject.shape.map(|size| 0..size as i32);
                let is_inside = |cell: &Voxel| {
                    x.contains(&cell.x) && y.contains(&cell.y) && z.contains(&cell.z)
                };
                assert!(cells.iter().all(is_inside), "{name}");
            }
            // Turning leaves heights alone.
            let height = |cell: &Voxel| if name == "spunet" { cell.z } else { cell.x };
            assert!(all.iter().flatten().all(|cell| height(cell) < 7));
        }
    }

    #[test]
    fn times_are_compared_with_the_line_through_them() {
        let samples = vec![(1_000, 1.0), (2_000, 5.0), (3_000, 3.0)];
        let report = summary(Way::Fresh, samples, 0.5, 1);
        // The line is 2, 3, 4: the ratios are 0.5, 5/3, 0.75.
        assert!((report.over_fit_largest - 5.0 / 3.0).abs() < 1e-9);
        assert!((report.over_fit_p95 - (0.75 + 0.9 * (5.0 / 3.0 - 0.75))).abs() < 1e-9);
        assert_eq!((report.voxels, report.repeats, report.frames), ([1_000, 3_000], 1, 3));
    }
}
