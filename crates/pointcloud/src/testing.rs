//! The density of a cloud, counted plainly.

use voxtune_types::Voxel;

/// Occupied cells of the 27 around and at a voxel, mean over a sorted cloud.
pub(crate) fn mean_neighbours(cloud: &[Voxel]) -> f64 {
    let pairs: usize = cloud.chunk_by(|a, b| a.batch == b.batch).map(pairs).sum();
    pairs as f64 / cloud.len() as f64
}

fn pairs(sample: &[Voxel]) -> usize {
    let corner = |pick: fn(i32, i32) -> i32| {
        let first = [sample[0].x, sample[0].y, sample[0].z];
        sample.iter().fold(first, |found, voxel| {
            [pick(found[0], voxel.x), pick(found[1], voxel.y), pick(found[2], voxel.z)]
        })
    };
    let (least, most) = (corner(i32::min), corner(i32::max));
    // One empty cell around the box, so that no neighbour lies outside it.
    let edges: Vec<usize> = (0..3).map(|axis| (most[axis] - least[axis] + 3) as usize).collect();
    let index = |voxel: &Voxel| {
        let inner = [voxel.x - least[0] + 1, voxel.y - least[1] + 1, voxel.z - least[2] + 1];
        (inner[0] as usize * edges[1] + inner[1] as usize) * edges[2] + inner[2] as usize
    };
    let mut occupied = vec![false; edges.iter().product()];
    for voxel in sample {
        occupied[index(voxel)] = true;
    }
    let around = |centre: usize| {
        (0..9_usize)
            .map(|column| {
                let below = centre + (column / 3) * edges[1] * edges[2] + (column % 3) * edges[2];
                let first = below - edges[1] * edges[2] - edges[2] - 1;
                occupied[first..first + 3].iter().filter(|&&cell| cell).count()
            })
            .sum::<usize>()
    };
    sample.iter().map(|voxel| around(index(voxel))).sum()
}

#[test]
fn blocks_and_planes_are_counted() {
    let block = |edges: [i32; 3]| {
        let mut voxels = Vec::new();
        for x in 0..edges[0] {
            for y in 0..edges[1] {
                voxels.extend((0..edges[2]).map(|z| Voxel::new(0, x - 5, y, z)));
            }
        }
        voxels
    };
    let mean = |edge: f64| 3.0 - 2.0 / edge;
    assert!((mean_neighbours(&block([4, 5, 6])) - mean(4.0) * mean(5.0) * mean(6.0)).abs() < 1e-9);
    assert!((mean_neighbours(&block([9, 9, 1])) - mean(9.0) * mean(9.0)).abs() < 1e-9);
    assert_eq!(mean_neighbours(&block([1, 1, 1])), 1.0);
}
