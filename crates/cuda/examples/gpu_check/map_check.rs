//! The kernel map against the host's.

use voxtune_cloud::{Generator, generate};
use voxtune_cpu::KernelMap;
use voxtune_cuda::{CudaError, MapBuilder, Result, RowOrder};
use voxtune_shape::{KernelSize, Voxel};

/// Clouds with a name each: generated ones around block sizes, and hostile ones.
fn clouds(quick: bool) -> Vec<(String, Vec<Voxel>)> {
    let mut clouds = vec![
        ("empty".to_owned(), Vec::new()),
        ("one".to_owned(), vec![Voxel::new(0, 7, -3, 0)]),
        ("corners".to_owned(), corners()),
        ("full".to_owned(), full_cube()),
        ("isolated".to_owned(), (0..300).map(|i| Voxel::new(i % 3, i * 10, -i * 10, 0)).collect()),
    ];
    let counts: &[usize] = if quick {
        &[65, 1025]
    } else {
        &[2, 63, 64, 65, 127, 129, 1023, 1024, 1025, 4095, 4097, 32_769, 70_001]
    };
    for generator in [Generator::Uniform, Generator::Surface] {
        for &n in counts {
            let batches = 1 + n % 3;
            if let Ok(cloud) = generate(generator, n, batches.min(n), 7) {
                let moved = cloud
                    .into_iter()
                    .map(|v| Voxel::new(v.batch, v.x - 20, v.y - 5, v.z))
                    .collect();
                clouds.push((format!("{generator:?} {n}"), moved));
            }
        }
    }
    clouds
}

/// Cells at the ends of int32, whose neighbours do not exist.
fn corners() -> Vec<Voxel> {
    let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
    let mut cells = Vec::new();
    for x in ends {
        for y in ends {
            for z in ends {
                cells.push(Voxel::new(0, x, y, z));
            }
        }
    }
    cells
}

fn full_cube() -> Vec<Voxel> {
    (0..512).map(|i| Voxel::new(0, i / 64, i / 8 % 8, i % 8)).collect()
}

/// Lines that say what differs.
pub(crate) fn check(builder: &MapBuilder, quick: bool) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let mut checked = 0;
    for (name, voxels) in clouds(quick) {
        for extent in [1, 3, 5] {
            let kernel = KernelSize::submanifold(extent).expect("a submanifold extent");
            if let Err(difference) = compare(builder, &voxels, kernel)? {
                failures.push(format!("map of {name}, kernel {extent}: {difference}"));
            }
            checked += 1;
        }
    }
    let mut twice = full_cube();
    twice.push(twice[100]);
    match builder.submanifold(&twice, KernelSize::submanifold(3).expect("3 is one")) {
        Err(CudaError::DuplicateVoxel { voxel, row: 512 }) if voxel == twice[100] => {}
        other => failures
            .push(format!("a duplicate voxel gave {:?}", other.map(|map| map.counts().clone()))),
    }
    println!("kernel map: {checked} maps against the host's, {} wrong", failures.len());
    Ok(failures)
}

fn compare(
    builder: &MapBuilder,
    voxels: &[Voxel],
    kernel: KernelSize,
) -> Result<std::result::Result<(), String>> {
    let mut map = builder.submanifold(voxels, kernel)?;
    builder.add_order(&mut map, RowOrder::Sorted)?;
    builder.add_order(&mut map, RowOrder::Global)?;
    builder.add_reverse(&mut map)?;
    let (n, volume) = (voxels.len(), kernel.volume());
    let host = match KernelMap::submanifold(voxels, kernel) {
        Ok(host) => host,
        Err(error) => return Ok(Err(format!("the host refuses it: {error}"))),
    };
    let table = map.download_table()?;
    let reverse = map.download_reverse_table()?.unwrap_or_default();
    for k in 0..volume {
        let mut expected: Vec<(i32, i32)> = host
            .pair_list(k)
            .iter()
            .map(|pair| (pair.out_row as i32, pair.in_row as i32))
            .collect();
        expected.sort_unstable();
        let (in_rows, out_rows) = map.download_pairs(k)?;
        let listed: Vec<(i32, i32)> = out_rows.into_iter().zip(in_rows).collect();
        if listed != expected {
            return Ok(Err(format!("pair list of offset {k} differs")));
        }
        let line = &table[k * n..(k + 1) * n];
        let in_table: Vec<(i32, i32)> =
            (0..n as i32).zip(line.iter().copied()).filter(|(_, found)| *found >= 0).collect();
        if in_table != expected {
            return Ok(Err(format!("table of offset {k} differs")));
        }
        if reverse[k * n..(k + 1) * n] != table[(volume - 1 - k) * n..(volume - k) * n] {
            return Ok(Err(format!("reverse table of offset {k} is not the mirror image")));
        }
    }
    for order in [RowOrder::Sorted, RowOrder::Global] {
        let mut rows = map.download_order(order)?.unwrap_or_default();
        let in_segments = order == RowOrder::Global
            || rows.iter().enumerate().all(|(at, &row)| at / 32_768 == row as usize / 32_768);
        rows.sort_unstable();
        if !rows.iter().copied().eq(0..n as i32) || !in_segments {
            return Ok(Err(format!(
                "{} order is no permutation within its segments",
                order.as_str()
            )));
        }
    }
    Ok(Ok(()))
}
