//! Every part of a map against what its definition says.

use std::cmp::Reverse;
use std::collections::HashMap;

use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use voxtune_cuda::{CudaError, DeviceKernelMap, MapBuilder, RowOrder};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::{Direction, KernelSize, Voxel};

use crate::Error;

/// Rows that the sorted order keeps together.
const SEGMENT_ROWS: usize = 32_768;
/// Offsets that a sort key holds.
const KEY_BITS: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave larger clouds out.
    #[arg(long, default_value_t = usize::MAX)]
    most_rows: usize,
}

pub(crate) fn run(builder: &MapBuilder, options: &Options) -> Result<bool, Error> {
    let mut wrong = 0;
    let mut checked = 0;
    for (name, voxels) in clouds() {
        if voxels.len() > options.most_rows {
            continue;
        }
        for extents in kernels(voxels.len()) {
            let kernel = KernelSize::try_from(extents)?;
            if let Err(difference) = compare(builder, &voxels, kernel) {
                println!("{name}, kernel {kernel}: {difference}");
                wrong += 1;
            }
            checked += 1;
        }
    }
    wrong += duplicates(builder)?;
    println!("kernel map: {checked} maps and 9 clouds with duplicates, {wrong} wrong");
    Ok(wrong == 0)
}

fn kernels(n: usize) -> Vec<[u8; 3]> {
    let mut kernels = vec![[1, 1, 1], [3, 3, 3], [5, 5, 5]];
    if n < 5000 {
        kernels.extend([
            [2, 2, 2],
            [3, 3, 1],
            [1, 3, 3],
            [7, 2, 4],
            [4, 5, 6],
            [1, 7, 7],
            [2, 6, 7],
        ]);
    }
    kernels
}

fn clouds() -> Vec<(String, Vec<Voxel>)> {
    let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
    let cube = |edge: i32| {
        (0..edge.pow(3))
            .map(move |i| Voxel::new(0, i / edge / edge - 3, i / edge % edge - 7, i % edge))
    };
    let corners =
        (0..343).map(|i| Voxel::new(ends[i % 3], ends[i / 49], ends[i / 7 % 7], ends[i % 7]));
    let mut clouds: Vec<(String, Vec<Voxel>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("one".to_owned(), vec![Voxel::new(0, 7, -3, 0)]),
        ("corners".to_owned(), corners.collect()),
        ("full".to_owned(), cube(13).collect()),
        ("isolated".to_owned(), (0..3000).map(|i| Voxel::new(i % 3, i * 10, -i * 10, 0)).collect()),
        // Across the edges of what a packed key holds.
        ("edges of keys".to_owned(), at_edges(&[-524_289, -524_288, 524_287, 524_288], 8190)),
        ("edges of keys, low".to_owned(), at_edges(&[-32_769, -32_768, 32_767, 32_768], -1)),
        ("a line".to_owned(), (0..2049).map(|i| Voxel::new(-1, 5, 5, i - 1000)).collect()),
    ];
    for generator in [Generator::Uniform, Generator::Surface] {
        for n in [2, 63, 65, 127, 129, 511, 513, 1025, 2047, 2049, 4097, 32_768, 32_769, 70_001] {
            if let Ok(cloud) = generate(generator, n, (1 + n % 3).min(n), 7) {
                let moved = cloud.into_iter().map(|v| Voxel::new(v.batch, v.x - 20, v.y - 5, v.z));
                clouds.push((format!("{generator:?} {n}"), moved.collect()));
            }
        }
    }
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let shuffled: Vec<_> = clouds
        .iter()
        .filter(|(_, cloud)| cloud.len() > 500)
        .map(|(name, cloud)| {
            let mut cloud = cloud.clone();
            cloud.shuffle(&mut random);
            (format!("{name}, shuffled"), cloud)
        })
        .collect();
    clouds.extend(shuffled);
    clouds
}

/// All cells with these coordinates along each axis, in batches around one.
fn at_edges(axis: &[i32], batch: i32) -> Vec<Voxel> {
    let mut cells = Vec::new();
    for batch in [batch - 1, batch, batch + 1] {
        for &x in axis {
            for &y in axis {
                cells.extend(axis.iter().map(|&z| Voxel::new(batch, x, y, z)));
            }
        }
    }
    cells
}

/// The row that each row meets at each offset: (volume, n).
fn expected_table(voxels: &[Voxel], kernel: KernelSize, sign: i32) -> Vec<i32> {
    let row_of: HashMap<Voxel, i32> = voxels.iter().copied().zip(0..).collect();
    let meets = |voxel: Voxel, offset: [i32; 3]| {
        let at = voxel.checked_offset(offset.map(|step| step * sign))?;
        row_of.get(&at).copied()
    };
    let offsets = kernel.offsets();
    let lines = offsets.iter().flat_map(|&offset| voxels.iter().map(move |&voxel| (voxel, offset)));
    lines.map(|(voxel, offset)| meets(voxel, offset).unwrap_or(-1)).collect()
}

fn compare(builder: &MapBuilder, voxels: &[Voxel], kernel: KernelSize) -> Result<(), Error> {
    let mut map = builder.submanifold(voxels, kernel)?;
    builder.add_reverse(&mut map)?;
    let (n, volume) = (voxels.len(), kernel.volume());
    let table = expected_table(voxels, kernel, 1);
    let pairs: Vec<usize> = (0..volume)
        .map(|k| table[k * n..(k + 1) * n].iter().filter(|row| **row >= 0).count())
        .collect();
    ensure(map.counts()?.pairs == pairs, "counts")?;
    ensure((map.n_in(), map.n_out()) == (n, n), "row counts")?;
    ensure(map.download_table()? == table, "table")?;
    let reverse = map.download_reverse_table()?;
    ensure(reverse == Some(expected_table(voxels, kernel, -1)), "reverse table")?;
    for k in 0..volume {
        let expected = table[k * n..(k + 1) * n].iter().zip(0..).filter(|(row, _)| **row >= 0);
        let (in_rows, out_rows): (Vec<i32>, Vec<i32>) = expected.unzip();
        ensure(map.download_pairs(k)? == (in_rows, out_rows), "pair list")?;
    }
    let masks = expected_masks(&table, n, volume);
    ensure(map.download_masks(RowOrder::Natural)? == masks.concat(), "masks")?;
    for order in [RowOrder::Sorted, RowOrder::Global] {
        compare_order(builder, &map, order, &table, &masks, &pairs)
            .map_err(|difference| format!("{}: {difference}", order.as_str()))?;
    }
    // Rows by brick are placed by atomics; whatever leaves must not depend on that.
    let again = builder.submanifold(voxels, kernel)?;
    for order in [RowOrder::Sorted, RowOrder::Global] {
        builder.add_order(&again, Direction::Forward, order)?;
        ensure(again.download_order(order)? == map.download_order(order)?, "second order")?;
    }
    Ok(())
}

fn ensure(right: bool, what: &str) -> Result<(), Error> {
    if right { Ok(()) } else { Err(format!("{what} differs").into()) }
}

fn words(volume: usize) -> usize {
    [1, 1, 2, 4, 4][volume.div_ceil(32)]
}

fn expected_masks(table: &[i32], n: usize, volume: usize) -> Vec<Vec<u32>> {
    let bit = |k: usize, row: usize| u32::from(table[k * n + row] >= 0) << (k % 32);
    let word = |w: usize, row: usize| {
        (w * 32..volume.min(w * 32 + 32)).fold(0, |word, k| word | bit(k, row))
    };
    (0..n).map(|row| (0..words(volume)).map(|w| word(w, row)).collect()).collect()
}

/// Rows sorted by the Gray code that the key is defined as, stably and within segments.
fn compare_order(
    builder: &MapBuilder,
    map: &DeviceKernelMap,
    order: RowOrder,
    table: &[i32],
    masks: &[Vec<u32>],
    pairs: &[usize],
) -> Result<(), Error> {
    builder.add_order(map, Direction::Forward, order)?;
    let n = masks.len();
    let mut by_frequency: Vec<usize> = (0..pairs.len()).collect();
    by_frequency.sort_by_key(|&k| (Reverse(pairs[k]), k));
    by_frequency.truncate(KEY_BITS);
    let key = |row: usize| {
        let bit = |k: usize| masks[row][k / 32] >> (k % 32) & 1;
        let code = by_frequency.iter().enumerate().fold(0, |code, (i, &k)| code | bit(k) << i);
        (0..32).fold(0, |gray, shift| gray ^ code >> shift)
    };
    let segment = |row: usize| if order == RowOrder::Sorted { row / SEGMENT_ROWS } else { 0 };
    let mut rows: Vec<usize> = (0..n).collect();
    rows.sort_by_key(|&row| (segment(row), key(row)));
    let found = map.download_order(order)?.unwrap_or_default();
    ensure(found.iter().map(|&row| row as usize).eq(rows.iter().copied()), "order")?;
    let permuted = table.chunks(n.max(1)).flat_map(|line| rows.iter().map(|&row| line[row]));
    ensure(map.download_ordered_table(order)?.into_iter().eq(permuted), "table")?;
    let permuted = rows.iter().flat_map(|&row| masks[row].iter().copied());
    ensure(map.download_masks(order)?.into_iter().eq(permuted), "masks")
}

/// Duplicates are found, named by the first row that repeats, and harm nothing.
fn duplicates(builder: &MapBuilder) -> Result<usize, Error> {
    let mut wrong = 0;
    let kernel = KernelSize::submanifold(3)?;
    for (batch, far) in [(1, 0), (-7, 0), (3, i32::MAX - 7)] {
        let cell = |i: i32| Voxel::new(batch, far + i / 64, i / 8 % 8, -(i % 8));
        let cube: Vec<Voxel> = (0..512).map(cell).collect();
        for (repeated, at) in [(100, 512), (0, 1), (300, 301)] {
            let mut voxels = cube.clone();
            voxels.insert(at, cube[repeated]);
            voxels.push(cube[7]);
            let map = builder.submanifold(&voxels, kernel)?;
            builder.add_order(&map, Direction::Forward, RowOrder::Sorted)?;
            let found = map.counts().cloned();
            let expected = (cube[repeated], at);
            if !matches!(found, Err(CudaError::DuplicateVoxel { voxel, row }) if (voxel, row) == expected)
            {
                println!("a duplicate in row {at} gave {found:?}");
                wrong += 1;
            }
        }
    }
    Ok(wrong)
}
